"""A peer in this process: a real libp2p host whose records need not make sense."""

import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio

from gossip.errors import BlobUnavailableError
from gossip.interface import NetworkConfig, Verdict
from gossip.net.host import Network
from protocol.envelope import open_envelope, peek_id, seal
from protocol.ids import entry_id
from protocol.records import Body, Genesis, Hypothesis, Origin, Record, Trial
from tests.e2e.processes import POLL_S
from tests.gossip.fakes import FakeStore
from tests.swarm.helpers import arm, key

BASELINE_MICRO = 2_300_000
"""About what the tiny task's genesis script reaches."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class PeerStore(FakeStore):
    """Keeps every well-formed record of one swarm."""

    def __init__(self) -> None:
        super().__init__()
        self.swarm: bytes | None = None

    def add(self, envelope: bytes) -> Verdict:
        if peek_id(envelope) in self.records:
            return "known"
        record = open_envelope(envelope, swarm=self.swarm)
        self.plant(envelope, record.created_ms)
        self._wake()
        return "accepted"


class Peer:
    """A peer with an identity of its own, in the swarm of the node that it was pointed at."""

    def __init__(self, number: int, folder: Path) -> None:
        self.key = key(number)
        self.store = PeerStore()
        self.network = Network(
            NetworkConfig(seed=self.key.seed, sync_period_s=0.3, hello_period_s=0.5), self.store
        )
        self._folder = folder
        self._folder.mkdir(exist_ok=True)
        self.genesis: Record

    @property
    def body(self) -> Genesis:
        assert isinstance(self.genesis.body, Genesis)
        return self.genesis.body

    @property
    def root(self) -> bytes:
        """The lineage's first entry."""
        return entry_id((self.genesis.id,), self.body.source)

    async def join(self, address: str) -> None:
        """Learn the genesis from a node and enter its swarm."""
        envelope = await self.network.fetch_genesis(address)
        self.genesis = open_envelope(envelope, swarm=None)
        self.store.add(envelope)
        self.store.swarm = self.genesis.id
        await self.network.enter(self.genesis.id)

    def offer(self, script: bytes) -> bytes:
        """Have a blob for whoever asks; returns its digest."""
        digest = hashlib.sha256(script).digest()
        path = self._folder / digest.hex()
        path.write_bytes(script)
        self.store.blobs[digest] = path
        return digest

    async def script(self, digest: bytes) -> str:
        """Fetch a script from the node, once it knows that we are of its swarm."""
        sink = self._folder / "fetched"
        with trio.fail_after(20):
            while not sink.exists():
                with suppress(BlobUnavailableError):
                    await self.network.fetch_blob(digest, 1 << 20, sink)
                await trio.sleep(POLL_S)
        text = sink.read_text()
        sink.unlink()
        return text

    async def publish(self, body: Body) -> bytes:
        """Sign a record and send it; reconciliation would bring it too."""
        envelope = seal(body, key=self.key, swarm=self.genesis.id, created_ms=now_ms())
        return await self.publish_bytes(envelope)

    async def publish_bytes(self, envelope: bytes) -> bytes:
        """Send what looks like a record."""
        self.store.plant(envelope, now_ms())
        await self.network.publish_record(envelope)
        return peek_id(envelope)

    async def propose(self, source: bytes, title: str, gain_micro: int | None = None) -> bytes:
        """Publish a hypothesis on the genesis; with a gain, claim to have screened it."""
        identity = await self.publish(hypothesis(self.root, source, title))
        if gain_micro is not None:
            await self.publish(screening(identity, gain_micro))
        return identity


def hypothesis(parent: bytes, source: bytes, title: str, rationale: str = "why") -> Hypothesis:
    origin = Origin(proposer="person", model="", category="other", change=title)
    return Hypothesis((parent,), source, title, rationale, origin)


def screening(identity: bytes, gain_micro: int) -> Trial:
    """An author's claim that a hypothesis gained so much on its machine."""
    return Trial(
        hypothesis=identity,
        purpose="screen",
        pair=0,
        seed=1,
        seed_proof=b"",
        parent=arm(BASELINE_MICRO),
        child=arm(BASELINE_MICRO - gain_micro),
        genesis_cpu_ms=0,
        genesis_wall_ms=0,
        genesis_memory_kib=0,
        genesis_tokens=0,
        device="a test",
        runtime="a test",
    )


@asynccontextmanager
async def peer_of(address: str, number: int, folder: Path) -> AsyncIterator[Peer]:
    """A peer that takes part in the swarm of the node at an address for the block's length."""
    peer = Peer(number, folder / f"peer-{number}")
    async with trio.open_nursery() as nursery:
        await nursery.start(peer.network.serve)
        with trio.fail_after(20):
            await peer.join(address)
        yield peer
        nursery.cancel_scope.cancel()
