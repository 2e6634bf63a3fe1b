"""Garbage of every kind against a real node: it lives on, and still delivers."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import trio
from libp2p.custom_types import TProtocol
from libp2p.network.stream.exceptions import StreamError

from gossip.core.addresses import parse_address
from gossip.core.messages import Ranges, encode_sync
from gossip.net.blobs import BLOB_PROTOCOL
from gossip.net.host import Network
from gossip.net.meetings import HELLO_PROTOCOL, PEERS_PROTOCOL
from gossip.net.relay import records_topic
from gossip.net.streams import libp2p_id
from gossip.net.sync import SYNC_PROTOCOL
from protocol.canonical import encode
from protocol.limits_network import FRAME_BYTES_MAX, STREAMS_PER_PEER_MAX
from tests.gossip.fakes import BAD_MARK, SWARM, FakeStore, make_envelope
from tests.gossip.networks import serving, until, until_members, until_mesh

MESHSUB = "/meshsub/1.1.0"


@dataclass
class Scene:
    """A victim, an honest peer of it, and an attacker with a real host."""

    victim: Network
    victim_store: FakeStore
    honest: Network
    honest_store: FakeStore
    attacker: Network

    async def still_delivers(self, number: int) -> None:
        """The victim takes part as before: a record reaches the honest peer, and one comes back."""
        for store, network, other, offset in (
            (self.victim_store, self.victim, self.honest_store, 0),
            (self.honest_store, self.honest, self.victim_store, 1),
        ):
            record = make_envelope(1_000_000 + 2 * number + offset)
            store.add(record)
            await network.publish_record(record)
            with trio.fail_after(20):
                await until(partial(_has, other, record))

    async def open(self, protocol: str) -> Any:
        """A stream from the attacker to the victim; connects when it must."""
        running = self.attacker._running
        assert running is not None
        if not running.engine.host.is_peer_connected(libp2p_id(self.victim.node_id)):
            await self.attacker.meet(self.victim.addresses[0])
        return await running.engine.host.new_stream(
            libp2p_id(self.victim.node_id), [TProtocol(protocol)]
        )

    def forgive(self) -> None:
        """Clear the attacker's standing, so that one test can go on attacking."""
        self.victim._peers._standings._peers.clear()


def _has(store: FakeStore, record: bytes) -> bool:
    return record in store.records.values()


async def spit(stream: Any, data: bytes) -> None:
    """Write what the other side may well refuse to read."""
    with suppress(StreamError):
        await stream.write(data)


async def reads_nothing(stream: Any) -> bool:
    """Whether a stream ends without a byte."""
    try:
        with trio.fail_after(5):
            return not await stream.read(10)
    except StreamError:
        return True


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    stores = [FakeStore() for _ in range(3)]
    async with (
        serving(1, stores[0]) as victim,
        serving(2, stores[1], bootstrap=victim.addresses) as honest,
        serving(3, stores[2], wanted_peers=1) as attacker,
    ):
        await until_members(victim, 1)
        await until_mesh(honest, 1)
        await attacker.meet(victim.addresses[0])
        yield Scene(victim, stores[0], honest, stores[1], attacker)


async def test_raw_tcp_garbage() -> None:
    rng = random.Random(1)
    async with scene() as all_of:
        place = parse_address(all_of.victim.addresses[0])
        for number in range(30):
            stream = await trio.open_tcp_stream(place.host, place.port)
            async with stream:
                head = b"\x13/multistream/1.0.0\n" if number % 2 else b""
                head += b"\x07/noise\n" if number % 4 == 1 else b""
                await stream.send_all(head + rng.randbytes(rng.randrange(3_000)))
        await all_of.still_delivers(1)


def garbage(rng: random.Random) -> list[bytes]:
    """Frames that are wrong in different ways."""
    noise = rng.randbytes(rng.randrange(1, 400))
    return [
        noise,
        len(noise).to_bytes(4, "big") + noise,
        (FRAME_BYTES_MAX + 1).to_bytes(4, "big"),
        b"\xff\xff\xff\xff" + noise,
        (100).to_bytes(4, "big") + b"short",
        frame(encode({"surprise": [noise]})),
        frame(encode(["get", [noise]])),
        frame(encode_sync(Ranges(b"\x61" + noise))),
        frame(b"\xdd\xff\xff\xff\xff"),
        frame(b"\x91" * 1_000),
        b"",
    ]


def frame(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + payload


@pytest.mark.parametrize("protocol", [HELLO_PROTOCOL, SYNC_PROTOCOL, BLOB_PROTOCOL, PEERS_PROTOCOL])
async def test_garbage_on_our_protocols(protocol: str) -> None:
    rng = random.Random(protocol)
    async with scene() as all_of:
        for data in garbage(rng):
            all_of.forgive()
            stream = await all_of.open(protocol)
            await spit(stream, data)
            with suppress(StreamError):
                await stream.close()
        await all_of.still_delivers(1)


async def test_garbage_on_pubsub_streams() -> None:
    rng = random.Random(2)
    async with scene() as all_of:
        for number in range(40):
            all_of.forgive()
            stream = await all_of.open(MESHSUB)
            size = rng.randrange(1, 100)
            head = bytes([size]) if number % 3 else b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f"
            await spit(stream, head + rng.randbytes(size))
        await all_of.still_delivers(1)


async def test_malformed_pubsub_messages() -> None:
    from libp2p.pubsub.pb import rpc_pb2
    from libp2p.utils import encode_varint_prefixed

    rng = random.Random(3)
    async with scene() as all_of:
        topic = records_topic(SWARM)
        for _ in range(40):
            all_of.forgive()
            message = rpc_pb2.Message(
                topicIDs=[topic],
                data=rng.randbytes(20),
                from_id=rng.choice([b"", b"\x00", b"\x12\x20" + bytes(32), rng.randbytes(38)]),
                seqno=rng.randbytes(rng.randrange(9)),
                key=rng.randbytes(rng.randrange(40)),
                signature=rng.randbytes(rng.randrange(70)),
            )
            rpc = rpc_pb2.RPC(publish=[message])
            rpc.control.ihave.add(topicID="other", messageIDs=[b"\xff", b"abc"])
            rpc.control.prune.add(topicID=topic).peers.add(peerID=rng.randbytes(5))
            rpc.control.graft.add(topicID=rng.randbytes(3).hex())
            rpc.subscriptions.add(subscribe=True, topicid="no such topic")
            stream = await all_of.open(MESHSUB)
            await spit(stream, encode_varint_prefixed(rpc.SerializeToString()))
        await all_of.still_delivers(1)
        taken_from_attacker = [
            envelope
            for envelope, peer in all_of.victim_store.taken
            if peer == all_of.attacker.node_id
        ]
        assert taken_from_attacker == []


async def test_bad_records_in_bundles_lead_to_a_ban_and_are_not_relayed() -> None:
    async with scene() as all_of:
        await until_mesh(all_of.victim, 2)
        await until_mesh(all_of.attacker, 1)
        for number in range(12):
            await all_of.attacker.publish_record(make_envelope(number, mark=BAD_MARK))
            await trio.sleep(0.15)
            if all_of.victim._peers.refused(all_of.attacker.node_id):
                break
        await until(lambda: all_of.victim._peers.refused(all_of.attacker.node_id))
        await until(
            lambda: all_of.attacker.node_id not in {p.node_id for p in all_of.victim.peers()}
        )
        # The honest peer may have met the attacker too, but the victim has passed nothing on.
        relayed = [
            envelope
            for envelope, peer in all_of.honest_store.taken
            if peer == all_of.victim.node_id and BAD_MARK in envelope[:90]
        ]
        assert relayed == []
        await all_of.still_delivers(1)


async def test_rejected_records_in_a_reconciliation_are_charged() -> None:
    async with scene() as all_of:
        store = all_of.attacker._store
        assert isinstance(store, FakeStore)
        for number in range(20):
            store.plant(make_envelope(number, mark=BAD_MARK), number)
        await until(lambda: all_of.victim._peers.refused(all_of.attacker.node_id))
        assert all_of.victim_store.records == {}
        await all_of.still_delivers(1)


async def test_a_stranger_gets_nothing_but_a_hello() -> None:
    store, mine = FakeStore(), FakeStore()
    store.add(make_envelope(1))
    async with serving(1, store) as victim, serving(2, mine, swarm=None) as stranger:
        await stranger.meet(victim.addresses[0])
        for protocol in (SYNC_PROTOCOL, BLOB_PROTOCOL, PEERS_PROTOCOL):
            assert stranger._running is not None
            host = stranger._running.engine.host
            stream = await host.new_stream(libp2p_id(victim.node_id), [TProtocol(protocol)])
            await spit(stream, frame(encode(["get", [bytes(32)]])))
            assert await reads_nothing(stream)
        assert store.asked == []


async def test_streams_that_stay_open_are_bounded() -> None:
    async with scene() as all_of:
        streams = []
        for _ in range(3 * STREAMS_PER_PEER_MAX):
            stream = await all_of.open(SYNC_PROTOCOL)
            await spit(stream, b"\0")
            streams.append(stream)
        # The honest peer is served all the same.
        await all_of.honest.reconcile(all_of.victim.node_id)
        await all_of.still_delivers(1)
