"""How a swarm grows: what is made, sent and verified, a node and an hour, for 10 to 3,500 nodes.

    python -m tests.sim.scale              10, 35 and 100 nodes simulated, 350 and 3,500 reckoned
    python -m tests.sim.scale --sizes 10   fewer

The simulated swarms have no faults and no liars: the node's own door, duties and scheduling, ideas
of which a seventh help, and runs of a few virtual seconds. Everything that they do is counted in
runs of an arm, because that is the clock of a swarm: a run of five seconds and one of five minutes
make the same records, at another pace. What a record and a message cost is measured here with the
node's real code, and multiplied for sizes that cannot be simulated; every line says which it is.
"""

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from protocol.policy import LAB
from protocol.records import Trial, kind_of
from tests.sim.carrying import Idea
from tests.sim.memo import remembered
from tests.sim.peer import Peer
from tests.sim.plan import Plan
from tests.sim.run import LOOK_S
from tests.sim.scale_costs import Costs, measure
from tests.sim.world import World

SIZES: Final = {10: 1_200.0, 35: 120.0, 100: 30.0}
"""Nodes, and virtual seconds that they run."""
RECKONED: Final = (10, 35, 350, 3_500)
RUNS_S: Final = (5.0, 300.0)
"""Length of a run: the smoke tier on a laptop's core, and five minutes on a GPU."""
HELPING: Final = 1 / 7
IDEAS: Final = 20_000
SEED: Final = 5
MESH_COPIES: Final = 5
"""Copies of a message that a node sends on: its mesh has six partners, one of whom it came from."""
PRESENCE_BYTES: Final = 700
PRESENCES_PER_S: Final = 4.0
"""Most that a node hears, at any size: see `node.presences`."""


class ScalePeer(Peer):
    """A node that never runs out of ideas, and counts what it sends.

    Attributes:
        bundles: Bundles that came first here, its own included.
        bundle_bytes: Their bytes.
    """

    def __init__(self, world: World, number: int) -> None:
        super().__init__(world, number)
        self.bundles = 0
        self.bundle_bytes = 0

    def relay(self, data: bytes, source: int | None) -> None:
        self.bundles += 1
        self.bundle_bytes += len(data)
        super().relay(data, source)

    def _explore(self) -> bool:
        head = self.ledger.head
        have = self.world.truth.changes(head.source)
        change = self.rng.randrange(IDEAS)
        while change in have:
            change = self.rng.randrange(IDEAS)
        source = self.world.truth.with_change(head.source, change)
        self._screen(Idea((head.id,), source, f"change {change}", str(change)), [])
        return True

    @property
    def busy_s(self) -> dict[str, float]:
        """Virtual seconds of work by kind."""
        return self._busy_s


@dataclass(frozen=True)
class Counted:
    """What one simulated swarm did.

    Attributes:
        nodes: Nodes.
        runs: Runs of an arm that a node could have made in the time.
        records: Records by kind.
        record_bytes: Bytes of all records.
        bundles: Bundles that reached a node, in the mean.
        bundle_bytes: Their bytes.
        verifying: Share of the working time that went to verifying.
        promising: Hypotheses that their authors' runs speak for.
        verified: Those that were verified.
        decided: Those with a verdict, or parked.
        useless_pairs: Share of the pairs that went to hypotheses which the head left behind.
        waiting: Most that waited on a head at a time.
        depth: Depth of the head.
        cpu_s: CPU seconds of the simulation.
    """

    nodes: int
    runs: float
    records: Counter[str]
    record_bytes: int
    bundles: float
    bundle_bytes: float
    verifying: float
    promising: int
    verified: int
    decided: int
    useless_pairs: float
    waiting: int
    depth: int
    cpu_s: float


def plan_of(nodes: int, lasts_s: float) -> Plan:
    """A healthy swarm of so many nodes."""
    rng = random.Random(SEED)
    tau = LAB.tau_micro
    effects = tuple(
        round(tau * rng.choice((2, 3, 6, 20)))
        if rng.random() < HELPING
        else -rng.randrange(3 * tau)
        for _ in range(IDEAS)
    )
    return Plan(
        seed=SEED, nodes=nodes, policy=replace(LAB, liars=0), noise_micro=tau // 2,
        effects_micro=effects, latency_s=0.1, loss=0.0, duplication=0.0, skew_s=0.0,
        bad_s=lasts_s, events=(), hostile=(), sync_bytes_max=256 * 1024,
    )  # fmt: skip


def simulate(nodes: int, lasts_s: float) -> Counted:
    """Let a swarm work, and count."""
    began_s = time.process_time()
    with remembered():
        world = World(plan_of(nodes, lasts_s))
        peers = [ScalePeer(world, number) for number in range(nodes)]
        world.peers = list(peers)
        for peer in peers:
            peer.start()
        waiting = 0
        while world.now_s < lasts_s:
            world.run_until(min(lasts_s, world.now_s + LOOK_S))
            ledger = peers[0].ledger
            on_head = ledger.hypotheses_on(ledger.head.id)
            waiting = max(waiting, sum(item.status in {"claimed", "undecided"} for item in on_head))
        return _count(peers, lasts_s, waiting, time.process_time() - began_s)


def _count(peers: Sequence[ScalePeer], lasts_s: float, waiting: int, cpu_s: float) -> Counted:
    ledger, nodes = peers[0].ledger, len(peers)
    records = Counter(
        f"{record.body.purpose} trial" if isinstance(record.body, Trial) else kind_of(record.body)
        for record in ledger.records()
    )
    items = [item for item in ledger.hypotheses() if item.screening.promising]
    pairs = {item.id: sum(_is_verify(record.body) for record in item.trials) for item in items}
    left = sum(pairs[item.id] for item in items if item.status == "stale")
    busy = Counter[str]()
    for peer in peers:
        busy.update(peer.busy_s)
    return Counted(
        nodes=nodes,
        runs=lasts_s * sum(1 / peer.arm_s for peer in peers) / nodes,
        records=records,
        record_bytes=sum(len(envelope) for envelope in peers[0].disk.values()),
        bundles=sum(peer.bundles for peer in peers) / nodes,
        bundle_bytes=sum(peer.bundle_bytes for peer in peers) / nodes,
        verifying=busy["verifying"] / max(1.0, sum(busy.values())),
        promising=len(items),
        verified=sum(item.status in {"merged", "verified"} for item in items),
        decided=sum(item.status not in {"claimed", "undecided", "stale"} for item in items),
        useless_pairs=left / max(1, sum(pairs.values())),
        waiting=waiting,
        depth=ledger.head.depth,
        cpu_s=cpu_s,
    )


def _is_verify(body: object) -> bool:
    return isinstance(body, Trial) and body.purpose == "verify"


@dataclass(frozen=True)
class Load:
    """What one node of a swarm bears in an hour.

    Attributes:
        records: Records that it stores.
        stored_bytes: Their bytes.
        sent_bytes: Bytes that it sends: copies of bundles and presences, and once what
            reconciliation brings.
        record_cores: Share of a core that records take.
        message_cores: Share of a core that pubsub messages take.
    """

    records: float
    stored_bytes: float
    sent_bytes: float
    record_cores: float
    message_cores: float


def reckon(counted: Counted, nodes: int, run_s: float, costs: Costs) -> Load:
    """What a node bears in a swarm of another size, if each node works as in the counted one."""
    hours_runs = 3_600 / run_s
    scale = hours_runs / counted.runs * nodes / counted.nodes
    records = sum(counted.records.values()) * scale
    bundles = counted.bundles * scale
    presences = 3_600 * min(PRESENCES_PER_S, nodes / 2.0)
    stored = counted.record_bytes * scale
    gossiped = counted.bundle_bytes * scale
    return Load(
        records=records,
        stored_bytes=stored,
        sent_bytes=MESH_COPIES * (gossiped + presences * PRESENCE_BYTES)
        + max(0.0, stored - gossiped),
        record_cores=records * costs.record_s / 3_600,
        message_cores=(bundles + presences) * costs.message_s / 3_600,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, measure, reckon and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim.scale", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--seconds", type=float, help="virtual seconds, instead of each size's own")
    options = parser.parse_args(arguments)
    counted = []
    _tell(
        "simulated   runs/node   ideas  records/run   bytes/record  bundles/record  verifying"
        "  promising  verified  left behind  most waiting  depth  CPU s"
    )
    for nodes in options.sizes:
        one = simulate(nodes, options.seconds or SIZES.get(nodes, 30.0))
        counted.append(one)
        total = sum(one.records.values())
        _tell(
            f"{nodes:>5} nodes  {one.runs:>9.0f}  {one.records['hypothesis']:>6}"
            f"  {total / one.runs / nodes:>11.2f}  {one.record_bytes / total:>12.0f}"
            f"  {one.bundles / total:>14.2f}  {one.verifying:>8.0%}  {one.promising:>9}"
            f"  {one.verified:>8}  {one.useless_pairs:>10.0%}  {one.waiting:>12}  {one.depth:>5}"
            f"  {one.cpu_s:>5.0f}"
        )
    costs = measure()
    _tell(f"\nmeasured here: {costs.describe()}\n")
    _tell(
        "reckoned: a node and an hour      run s  records  stored MB  sent MB"
        "  cores: records  messages"
    )
    largest = counted[-1]
    for run_s in RUNS_S:
        for nodes in RECKONED:
            basis = next((one for one in counted if one.nodes == nodes), largest)
            load = reckon(basis, nodes, run_s, costs)
            how = "simulated" if basis.nodes == nodes else f"as {basis.nodes} nodes"
            _tell(
                f"{nodes:>6} nodes, {how:<18} {run_s:>6.0f} {load.records:>9.0f}"
                f" {load.stored_bytes / 1e6:>9.1f} {load.sent_bytes / 1e6:>8.0f}"
                f" {load.record_cores:>15.3f} {load.message_cores:>9.3f}"
            )
    return 0


def _tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
