"""Each fault of stock py-libp2p, shown, and its fix: when a first half fails, a fix can go."""

import logging
import socket
import subprocess
import sys
from typing import Any

import pytest
import trio
from google.protobuf.message import DecodeError
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.network.connection import swarm_connection
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import SUBSCRIPTION_CHANNEL_SIZE, Pubsub
from libp2p.pubsub.rpc_queue import RpcQueue
from libp2p.stream_muxer.yamux.yamux import YamuxStream
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from gossip.errors import AddressInUseError
from gossip.net import fixes
from tests.gossip.networks import until

LOOPBACK = Multiaddr("/ip4/127.0.0.1/tcp/0")


def bare(number: int) -> Any:
    """A host as it comes."""
    return new_host(key_pair=create_new_key_pair(bytes([number]) * 32), listen_addrs=[LOOPBACK])


def stock(number: int, **settings: Any) -> tuple[Any, Any, Any]:
    """A host with pubsub as it comes; it accepts connections only while pubsub runs."""
    host = bare(number)
    router = GossipSub(
        [PROTOCOL_ID_V11],
        degree=2,
        degree_low=1,
        degree_high=4,
        heartbeat_interval=1,
        **settings,
    )
    return host, router, Pubsub(host, router)


def ignore(_: object) -> None:
    """Faults are of no interest here."""


class FakeStream:
    """A stream of a peer whose bytes are given."""

    def __init__(self, data: bytes, peer_id: Any) -> None:
        self.data = data
        self.muxed_conn = type("Connection", (), {"peer_id": peer_id})
        self.metric_send_channel = None
        self.was_reset = False

    async def read(self, count: int) -> bytes:
        part, self.data = self.data[:count], self.data[count:]
        return part

    async def reset(self) -> None:
        self.was_reset = True


GARBAGE_RPC = b"\x05" + b"\xff" * 5


async def test_garbage_protobuf_on_a_pubsub_stream() -> None:
    host, router, pubsub = stock(1)
    peer_id = bare(2).get_id()
    async with host.run([LOOPBACK]), background_trio_service(router):
        async with background_trio_service(pubsub):
            await pubsub.wait_until_ready()
            with pytest.raises(DecodeError):
                await pubsub.stream_handler(FakeStream(GARBAGE_RPC, peer_id))
            faults: list[Any] = []
            fixes.contain_pubsub(pubsub, faults.append)
            stream = FakeStream(GARBAGE_RPC, peer_id)
            await pubsub.stream_handler(stream)
            assert stream.was_reset
            assert faults == [peer_id]
        await fixes.close_host(host)


async def test_exception_in_a_validator_or_a_malformed_key() -> None:
    host, router, pubsub = stock(1)
    peer_id = bare(2).get_id()
    # A `from` that names no key makes the signature check read `key`, which is no key either.
    message = rpc_pb2.Message(
        data=b"x", topicIDs=["t"], from_id=b"\x12\x20" + bytes(32), seqno=b"1", key=b"\xff"
    )
    message.signature = b"s"
    async with host.run([LOOPBACK]), background_trio_service(router):
        async with background_trio_service(pubsub):
            await pubsub.wait_until_ready()
            with pytest.raises(DecodeError):
                await pubsub.push_msg(peer_id, message)
            faults: list[Any] = []
            fixes.contain_pubsub(pubsub, faults.append)
            await pubsub.push_msg(peer_id, message)
            assert faults == [peer_id]
            # Our own message that fails is our own fault, and is not hidden.
            pubsub.validate_msg = broken
            with pytest.raises(ZeroDivisionError):
                await pubsub.publish("t", b"x")
        await fixes.close_host(host)


async def broken(*_: object) -> None:
    raise ZeroDivisionError


async def test_exception_in_a_stream_handler() -> None:
    host = bare(1)
    peer_id = bare(2).get_id()

    async def handler(stream: object) -> None:
        raise ZeroDivisionError

    async def negotiate(*_: object) -> tuple[str, Any]:
        return "/broken/1", handler

    host.multiselect.negotiate = negotiate
    host.set_stream_handler("/broken/1", handler)

    class Stream(FakeStream):
        def set_protocol(self, protocol: str) -> None:
            assert protocol == "/broken/1"

    with pytest.raises(ZeroDivisionError):
        await host.get_network().common_stream_handler(Stream(b"", peer_id))
    faults: list[Any] = []
    fixes.contain_stream_handlers(host, faults.append)
    stream = Stream(b"", peer_id)
    await host.get_network().common_stream_handler(stream)
    assert stream.was_reset
    assert faults == [peer_id]


async def connections_kept(*, repair: bool) -> int:
    """Inbound slots still taken after five connections came and went."""
    host = bare(1)
    swarm = host.get_network()
    if repair:
        fixes.release_inbound_slots(swarm)
    async with host.run([LOOPBACK]):
        address = listening(host)
        for number in range(10, 15):
            guest = bare(number)
            async with guest.run([LOOPBACK]):
                with trio.fail_after(10):
                    await guest.get_network().dial_addr(address, host.get_id())
                await fixes.close_host(guest)
        with trio.move_on_after(2 if repair else 0.5):
            await until(lambda: not swarm._inbound_limiter.borrowed_tokens)
        kept = int(swarm._inbound_limiter.borrowed_tokens)
        await fixes.close_host(host)
    return kept


def listening(host: Any) -> Any:
    (address,) = [
        address
        for listener in host.get_network().listeners.values()
        for address in listener.get_addrs()
    ]
    return address


async def test_inbound_slots_leak() -> None:
    assert await connections_kept(repair=False) == 5
    assert await connections_kept(repair=True) == 0


async def test_small_queues() -> None:
    queue = RpcQueue()
    assert sum(queue.push(rpc_pb2.RPC()) for _ in range(100)) == 32
    assert SUBSCRIPTION_CHANNEL_SIZE == 32
    host, _, pubsub = stock(1)
    fixes.enlarge_queues(pubsub)
    queue = RpcQueue()
    pubsub.peer_queues[host.get_id()] = queue
    assert pubsub.peer_queues == {host.get_id(): queue}
    assert sum(queue.push(rpc_pb2.RPC()) for _ in range(10_000)) == fixes.QUEUE_MESSAGES_MAX


async def test_spam_limit_drops_bursts_silently() -> None:
    _, router, _ = stock(1)
    peer_id = bare(2).get_id()
    messages = [rpc_pb2.Message(topicIDs=["t"], seqno=bytes([n])) for n in range(30)]
    assert sum(router._check_spam_protection(peer_id, message) for message in messages) == 10
    _, router, _ = stock(1, spam_protection_enabled=False)
    assert all(router._check_spam_protection(peer_id, message) for message in messages)


async def test_copies_are_validated_and_delivered_several_times() -> None:
    for repair, expected in ((False, 3), (True, 1)):
        host, router, pubsub = stock(1)
        author, _, author_pubsub = stock(2)
        pushed: list[Any] = []

        async def keep(forwarder: object, message: Any, pushed: list[Any] = pushed) -> None:
            pushed.append(message)

        author_pubsub.push_msg = keep
        await author_pubsub.publish("t", b"x")
        validated: list[bytes] = []
        delivered: list[object] = []

        async def validate(
            forwarder: object, message: Any, validated: list[bytes] = validated
        ) -> bool:
            validated.append(message.data)
            await trio.sleep(0.05)
            return True

        async def publish(*_: object, delivered: list[object] = delivered) -> None:
            delivered.append(1)

        router.publish = publish
        pubsub.set_topic_validator("t", validate, True)
        if repair:
            fixes.deliver_in_validator(pubsub, lambda _forwarder, _message: True)
        async with trio.open_nursery() as nursery:
            for number in range(3, 6):
                nursery.start_soon(pubsub.push_msg, bare(number).get_id(), pushed[0])
        assert len(validated) == len(delivered) == expected
        # Whatever comes later is a known message in both.
        await pubsub.push_msg(author.get_id(), pushed[0])
        assert len(validated) == expected
        assert host.get_id() != author.get_id()
        pubsub.seen_messages.stop()


async def test_seen_cache_reads_wall_time_grows_and_leaves_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import time

    _, _, pubsub = stock(1)
    cache = pubsub.seen_messages
    assert cache._thread.is_alive()
    cache.add(b"message")
    monkeypatch.setattr(time, "time", lambda: 1e11)
    cache._sweep()
    assert not cache.has(b"message")
    for number in range(100_000):
        cache.add(number.to_bytes(8, "big"))
    assert cache.length() == 100_000
    now_s = 50.0
    fixes.bound_seen_cache(pubsub, lambda: now_s)
    assert not cache._thread.is_alive()
    ours = pubsub.seen_messages
    assert ours.add(b"message")
    assert ours.has(b"message")
    for number in range(100_000):
        ours.add(number.to_bytes(8, "big"))
    assert ours.length() < 70_000


async def test_a_failed_dial_bars_a_peer_for_a_minute() -> None:
    host = bare(1)
    swarm = host.get_network()
    swarm._negative_peer_cache.mark_failed("peer")
    assert swarm._negative_peer_cache.is_blocked("peer")
    fixes.forget_failed_dials(swarm)
    cache = swarm._negative_peer_cache
    cache.mark_failed("peer")
    assert not cache.is_blocked("peer")
    cache.evict("peer")
    cache.clear()


async def test_two_listeners_on_one_port() -> None:
    one, two = bare(1), bare(2)
    async with one.run([LOOPBACK]):
        address = listening(one)
        port = int(address.value_for_protocol("tcp"))
        async with two.run([address]):
            assert two.get_network().listeners
            await fixes.close_host(two)
        with pytest.raises(AddressInUseError, match=str(port)):
            fixes.probe_port("127.0.0.1", port)
        await fixes.close_host(one)
    fixes.probe_port("127.0.0.1", port)
    fixes.probe_port("127.0.0.1", 0)
    with pytest.raises(AddressInUseError, match="cannot listen"):
        fixes.probe_port("192.0.2.1", port)


async def test_auto_connector_dials_though_both_minima_are_zero() -> None:
    from libp2p.network.config import ConnectionConfig

    for repair in (False, True):
        host = bare(1)
        swarm = host.get_network()
        swarm.connection_config = ConnectionConfig(
            min_connections=0, low_watermark=0, high_watermark=4, max_connections=4
        )
        connector = swarm.auto_connector
        looked: list[int] = []

        async def candidates(looked: list[int] = looked) -> list[Any]:
            looked.append(1)
            return []

        connector._get_candidate_peers = candidates
        connector._started = True
        if repair:
            fixes.stop_auto_dialling(swarm)
        await connector.maybe_connect()
        assert bool(looked) is not repair


async def test_a_prune_makes_the_router_dial() -> None:
    for repair in (False, True):
        host, router, _ = stock(1, do_px=False)
        other = bare(2).get_id()
        stranger = bare(3).get_id()
        host.get_peerstore().add_addrs(stranger, [Multiaddr("/ip4/127.0.0.1/tcp/9")], 60)
        dialled: list[Any] = []

        async def connect(info: Any, dialled: list[Any] = dialled) -> None:
            dialled.append(info.peer_id)

        host.connect = connect
        if repair:
            fixes.refuse_peer_exchange(router)
        prune = rpc_pb2.ControlPrune(topicID="t")
        prune.peers.add(peerID=stranger.to_bytes())
        router.mesh["t"] = {other}
        await router.handle_prune(prune, other)
        assert dialled == ([] if repair else [stranger])


async def test_every_small_read_sends_a_window_update() -> None:
    class Connection:
        def __init__(self) -> None:
            self.stream_buffers: dict[int, bytes] = {}

        def rtt(self) -> float:
            return 0.0

    for method, expected in (
        (fixes.STOCK_WINDOW_UPDATE, 100),
        (fixes._batched_window_update, 0),
    ):
        stream: Any = YamuxStream(1, Connection(), True)
        sent: list[int] = []

        async def send(increment: int, *, skip_lock: bool, sent: list[int] = sent) -> None:
            sent.append(increment)

        stream.send_window_update = send
        for _ in range(100):
            stream.recv_window -= 1
            await method(stream, bytes_read=1)
        assert len(sent) == expected
    for _ in range(40):
        stream.recv_window -= 1_000
        await fixes._batched_window_update(stream, bytes_read=1_000)
    assert 0 < len(sent) < 5
    fixes.batch_window_updates()
    fixes.batch_window_updates()
    assert YamuxStream._auto_tune_and_send_window_update is fixes._batched_window_update


async def test_leaving_the_host_leaks_its_listener_task() -> None:
    for repair in (False, True):
        before = trio.lowlevel.current_statistics().tasks_living
        host = bare(1)
        async with host.run([LOOPBACK]):
            listeners = list(host.get_network().listeners.values())
            if repair:
                with trio.CancelScope() as scope:
                    scope.cancel()
                    with trio.CancelScope(shield=True):
                        await fixes.close_host(host)
        await trio.sleep(0.05)
        open_sockets = [
            socket_listener.socket.fileno() >= 0
            for listener in listeners
            for socket_listener in listener.listeners
        ]
        if repair:
            assert not any(open_sockets)
            assert trio.lowlevel.current_statistics().tasks_living == before


def test_the_library_writes_to_stderr_and_takes_the_root_logger() -> None:
    show = (
        "import logging, sys; import libp2p; "
        "from libp2p.network.connection import swarm_connection; "
        "{}"
        "logging.getLogger('libp2p.x').warning('LEAK-ONE'); "
        "swarm_connection.logging.warning('LEAK-TWO'); "
        "sys.exit(len(logging.getLogger().handlers))"
    )

    def run(repair: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", show.format(repair)], capture_output=True, text=True, check=False
        )

    before = run("")
    assert "LEAK-ONE" in before.stderr
    assert "LEAK-TWO" in before.stderr
    assert before.returncode == 1
    after = run("from gossip.net import fixes; fixes.silence_logging(); ")
    assert "LEAK" not in after.stderr
    assert not after.stdout
    assert after.returncode == 0
    fixes.silence_logging()
    assert isinstance(swarm_connection.logging, logging.Logger)


def test_probe_finds_a_plain_listener_too() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(AddressInUseError):
            fixes.probe_port("127.0.0.1", taken.getsockname()[1])
