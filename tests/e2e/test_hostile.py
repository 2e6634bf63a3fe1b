"""Garbage and hostile hypotheses against a running node: it lives on, and still does its work."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from libp2p.custom_types import TProtocol
from libp2p.exceptions import BaseLibp2pError

from gossip.core.addresses import parse_address
from gossip.net.blobs import BLOB_PROTOCOL
from gossip.net.meetings import HELLO_PROTOCOL, PEERS_PROTOCOL
from gossip.net.streams import libp2p_id
from gossip.net.sync import SYNC_PROTOCOL
from node.control import ask
from node.errors import NodeError
from node.home import Home
from protocol import ids, limits
from protocol.schema import to_map
from protocol.signed import seal_statement
from tests.e2e.peers import Peer, hypothesis, now_ms, peer_of
from tests.e2e.processes import NodeProcess, cli, found, running, until
from tests.gossip.test_hostile import MESHSUB, garbage, spit

pytestmark = pytest.mark.e2e

PROTOCOLS = (HELLO_PROTOCOL, SYNC_PROTOCOL, BLOB_PROTOCOL, PEERS_PROTOCOL, MESHSUB)


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory, tiny_task: Path) -> Iterator[NodeProcess]:
    """A founder that only verifies."""
    home = found(Home(tmp_path_factory.mktemp("victim") / "home"), tiny_task)
    with running(home, "--agent", "none") as node:
        yield node


async def lives_on(victim: NodeProcess, number: int, folder: Path) -> None:
    """The node answers, and a newcomer learns everything it knows."""
    assert victim.alive
    status = await trio.to_thread.run_sync(cli, "status", "--home", str(victim.home.root))
    assert status.code == 0, status.err
    wanted = victim.stored()
    async with peer_of(victim.address, number, folder) as newcomer:
        await until(lambda: newcomer.store.records.keys() >= wanted.keys(), "a joiner's sync")
    assert "Traceback" not in victim.errors


async def test_raw_garbage(victim: NodeProcess, tmp_path: Path) -> None:
    rng = random.Random(1)
    place = parse_address(victim.address)
    for number in range(30):
        async with await trio.open_tcp_stream(place.host, place.port) as stream:
            head = b"\x13/multistream/1.0.0\n" if number % 2 else b""
            head += b"\x07/noise\n" if number % 4 == 1 else b""
            await stream.send_all(head + rng.randbytes(rng.randrange(3_000)))
    await lives_on(victim, 101, tmp_path)


async def test_garbage_of_peers(victim: NodeProcess, tmp_path: Path) -> None:
    # A node bans who sends such things, so each protocol gets an attacker of its own.
    for number, protocol in enumerate(PROTOCOLS):
        rng = random.Random(protocol)
        pieces = garbage(rng)
        rng.shuffle(pieces)
        async with peer_of(victim.address, 110 + number, tmp_path) as attacker:
            heard = 0
            for piece in pieces:
                heard += await attack(attacker, victim, protocol, piece)
            assert heard, "not one piece was sent"
    await lives_on(victim, 120, tmp_path)


async def attack(attacker: Peer, victim: NodeProcess, protocol: str, piece: bytes) -> bool:
    """Send something on a stream of a protocol; False when the node refuses to listen."""
    node_id = parse_address(victim.address).node_id
    parts = attacker.network._running
    assert node_id is not None
    assert parts is not None
    try:
        with trio.fail_after(5):
            stream: Any = await parts.engine.host.new_stream(
                libp2p_id(node_id), [TProtocol(protocol)]
            )
            await spit(stream, piece)
            await stream.close()
    except (BaseLibp2pError, trio.TooSlowError):
        return False
    return True


async def test_garbage_over_pubsub(victim: NodeProcess, tmp_path: Path) -> None:
    rng = random.Random(2)
    before = victim.stored()
    async with peer_of(victim.address, 130, tmp_path) as attacker:
        await until(lambda: bool(attacker.network.peers()), "a connection")
        for size in (1, 100, 1_000, 60_000):
            await attacker.publish_bytes(rng.randbytes(limits.SIGNATURE_BYTES + size))
            await attacker.network.publish_notice(rng.randbytes(min(size, 1_000)))
        # What only looks like records is offered in reconciliation as well.
        await until(lambda: "rejected a record" in victim.home.log.read_text(), "a rejection")
    await lives_on(victim, 131, tmp_path)
    assert victim.stored() == before


async def test_hostile_hypotheses_do_not_stop_the_work(victim: NodeProcess, tmp_path: Path) -> None:
    async with peer_of(victim.address, 200, tmp_path) as author:
        genesis = await author.script(author.body.source)
        crash = author.offer(
            genesis.replace("def build_model(run):", "def build_model(run):\n    1 / 0", 1).encode()
        )
        huge = author.offer((genesis + "\n" + "x = 1\n" * 4_000).encode())
        broken = author.offer(b"def build_model(:")
        no_text = author.offer(b"\xff\xfe\x00")
        good = author.offer(genesis.replace("TRAIN_CONTEXT = 32", "TRAIN_CONTEXT = 16", 1).encode())
        assert good != author.body.source != crash

        forged = await author.publish_bytes(with_title(author, crash, "red \x1b[31m alert"))
        # The best claims come first, so the honest one has to wait for all of the others.
        crashing = await author.propose(crash, "it crashes", 900_000)
        unusable = [
            await author.propose(source, title, gain_micro)
            for source, title, gain_micro in (
                (bytes(32), "nobody has it", 800_000),
                (huge, "over the limits", 700_000),
                (broken, "no Python", 600_000),
                (no_text, "no text", 500_000),
            )
        ]
        honest = await author.propose(good, "shorter context", 400_000)

        def show(identity: bytes) -> dict[str, Any]:
            value = ask(victim.home.control, "show", {"id": identity.hex()})
            assert isinstance(value, dict)
            return value

        def verified_gains(identity: bytes) -> list[float | None]:
            return [
                trial["gain"] for trial in show(identity)["trials"] if trial["purpose"] == "verify"
            ]

        await until(lambda: bool(verified_gains(honest)), "the honest one's trial", victim)
        await until(lambda: show(crashing)["status"] == "refuted", "a verdict on the crash", victim)
        (gain, *_) = verified_gains(honest)
        assert gain is not None
        assert gain > 0
        for identity in unusable:
            assert show(identity)["status"] == "claimed"
            assert not verified_gains(identity)
        # Every record was taken in but the one with the control characters.
        with pytest.raises(NodeError, match="nothing here"):
            show(forged)
    assert forged not in victim.stored()
    await lives_on(victim, 201, tmp_path)


def with_title(author: Peer, source: bytes, title: str) -> bytes:
    """A hypothesis that no honest program would sign: its title is not a title."""
    fields = to_map(hypothesis(author.root, source, "title"))
    return seal_statement(
        "hypothesis",
        fields | {"title": title},
        key=author.key,
        swarm=author.genesis.id,
        created_ms=now_ms(),
        tag=ids.RECORD_SIGNATURE_TAG,
        bytes_max=limits.ENVELOPE_BYTES_MAX,
    )
