"""Real libp2p hosts with real ledgers and stores over a memory transport, in virtual time."""

import random
from pathlib import Path

import trio

from gossip.core.addresses import to_peer_id
from gossip.interface import NetworkConfig
from gossip.net.host import Network
from gossip.net.memory_transport import MemoryWire, Place
from node.blobs import BlobStore
from node.desk import Desk
from node.intake import Intake
from node.store import RecordStore
from protocol.envelope import peek_id, seal
from protocol.records import Admit, Body, Hypothesis, Merge, Origin, Record
from tests.sim.memo import key_of
from tests.sim.plan import POLICIES
from tests.sim.truth import arm
from tests.sim.world import EPOCH_MS, found
from tests.swarm.helpers import trial_body
from tests.virtual_time import virtually

SEED = 17
NODES = 10
GAIN_MICRO = 300_000


class Host:
    """One node: everything that is between the wire and the ledger, without research."""

    def __init__(self, path: Path, number: int, wire: MemoryWire, genesis: Record) -> None:
        self.number = number
        self.key = key_of(number)
        self.store = RecordStore(path / f"{number}.sqlite")
        self.desk = Desk(
            node_id=self.key.public,
            store=self.store,
            blobs=BlobStore(path / f"blobs-{number}"),
            role="agent",
        )
        self.intake = self.desk.intake = Intake(
            genesis=genesis, store=self.store, clock=trio.current_time, on_events=lambda _: None
        )
        self.place: Place = (f"10.0.0.{number + 1}", 4001)
        host, port = self.place
        bootstrap = () if number == 0 else (f"/ip4/10.0.0.1/tcp/4001/p2p/{_peer_id(0)}",)
        config = NetworkConfig(
            seed=self.key.seed,
            listen=f"/ip4/{host}/tcp/{port}",
            bootstrap=bootstrap,
            wanted_peers=6,
        )
        transport = wire.transport(host, port)
        self.network = Network(config, self.desk, rng=random.Random(number), transport=transport)
        self.clock_ms = EPOCH_MS

    async def publish(self, body: Body) -> bytes:
        """Sign, make durable, tell others."""
        self.clock_ms += 1
        ledger = self.intake.ledger
        envelope = seal(body, key=self.key, swarm=ledger.swarm, created_ms=self.clock_ms)
        assert await self.intake.submit(envelope, local=True) == "accepted"
        await self.network.publish_record(envelope)
        return peek_id(envelope)

    async def verify(self, hypothesis: bytes, pair: int) -> bytes:
        """A trial that finds a clear gain."""
        rng = random.Random(f"{self.number} {pair}")
        before = 3_000_000 + rng.randrange(2_000)
        arms = arm(before, rng), arm(before - GAIN_MICRO + rng.randrange(2_000), rng)
        return await self.publish(trial_body(hypothesis, self.key, pair, *arms, machine="sim"))

    async def propose(self, title: str) -> bytes:
        """A change to the genesis script."""
        origin = Origin("offline", "", "test", title)
        source = random.Random(title).randbytes(32)
        root = self.intake.ledger.root.id
        return await self.publish(Hypothesis((root,), source, title, "", origin))


def _peer_id(number: int) -> str:
    return to_peer_id(key_of(number).public)


async def _until(condition: object, hosts: list[Host]) -> None:
    assert callable(condition)
    with trio.fail_after(180):
        while not all(condition(host) for host in hosts):  # noqa: ASYNC110  (virtual time)
            await trio.sleep(0.5)


def test_ten_hosts_with_real_ledgers_agree_after_a_partition(tmp_path: Path) -> None:
    async def main() -> None:
        rng = random.Random(SEED)
        wire = MemoryWire(lambda _a, _b: rng.uniform(0.005, 0.08))
        genesis, _ = found(POLICIES[0])
        hosts = [Host(tmp_path, number, wire, genesis) for number in range(NODES)]
        async with trio.open_nursery() as nursery:
            for host in hosts:
                await nursery.start(host.intake.run)
                await nursery.start(host.network.serve)
                await host.network.enter(genesis.id)
            await _until(lambda host: len(host.network.peers()) >= 6, hosts)
            await trio.sleep(3)
            for host in hosts[1:]:
                await hosts[0].publish(Admit(host.key.public, False, genesis.id, 0))
            await _until(lambda host: len(host.intake.ledger.members) == NODES, hosts)

            # Each half verifies and merges a change of its own.
            left, right = hosts[: NODES // 2], hosts[NODES // 2 :]
            for one in left:
                for other in right:
                    await wire.cut(one.place, other.place)
            await trio.sleep(3)
            for half, name in ((left, "left"), (right, "right")):
                hypothesis = await half[0].propose(name)
                await _until(lambda host, one=hypothesis: one in host.intake.ledger, half)
                trials = [
                    await half[1 + pair % 2].verify(hypothesis, pair // 2) for pair in range(6)
                ]
                await _until(
                    lambda host, ids=trials: all(i in host.intake.ledger for i in ids), half
                )
                await half[1].publish(Merge(hypothesis, tuple(trials)))
                await _until(lambda host: host.intake.ledger.head.depth == 1, half)
            assert len({host.intake.ledger.head.id for host in hosts}) == 2

            healed_s = trio.current_time()
            for one in left:
                for other in right:
                    wire.mend(one.place, other.place)
            await _until(
                lambda host: host.intake.ledger.digest == hosts[0].intake.ledger.digest, hosts
            )
            assert trio.current_time() - healed_s < 120
            assert len({host.intake.ledger.head.id for host in hosts}) == 1
            assert len({host.intake.index.digest() for host in hosts}) == 1
            assert {len(host.intake.ledger.entries) for host in hosts} == {3}
            assert {len(host.store) for host in hosts} == {NODES - 1 + 2 * 8}
            nursery.cancel_scope.cancel()
        for host in hosts:
            host.store.close()

    virtually(main)
