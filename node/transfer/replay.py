"""The replay itself: which entries, in which order their scripts run, and the record at the end.

What the runs add up to, and hence when enough of them were made, is decided by `swarm.transfer`;
how a script is brought to a scale by `trainer.scales`. This file refuses to know where scripts and
data come from, and what becomes of the record.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from node.bench import RunsJobs
from node.devices import Device
from node.errors import NodeError, UsageError
from node.hardware import describe_runtime
from node.transfer.journal import Journal, Measured
from protocol.ids import transfer_seed
from protocol.keys import SigningKey
from protocol.limits import TRANSFER_RUNS_MAX
from protocol.records import Transfer, TransferRun
from swarm.ledger import Ledger
from swarm.lineage import Entry
from swarm.transfer import Judge
from trainer.fields import TaskError
from trainer.job import Job, Progress
from trainer.scales import Scaling
from trainer.scorer import Bits
from trainer.task import Task

STEPS_MAX: Final = TRANSFER_RUNS_MAX - 1
_PREFIX_MIN: Final = 4

OnRun: TypeAlias = Callable[[int, int, Progress], None]
"""Called with the number of the script, the number of the seed and how far the run is."""

OnEnd: TypeAlias = Callable[[int, int, Measured], None]
"""Called with the number of the script, the number of the seed and what was kept of the run."""


def find_entry(ledger: Ledger, prefix: str) -> Entry:
    """The entry whose id, or whose hypothesis's id, starts so; the head for an empty prefix.

    Raises:
        UsageError: No entry of the lineage, or more than one, starts so.
    """
    if not prefix:
        return ledger.head
    prefix = prefix.lower()
    if len(prefix) < _PREFIX_MIN:
        raise UsageError(f"give at least {_PREFIX_MIN} characters of an entry's id")
    found = [
        entry
        for entry in ledger.entries.values()
        if entry.id.hex().startswith(prefix)
        or (entry.hypothesis is not None and entry.hypothesis.hex().startswith(prefix))
    ]
    if not found:
        raise UsageError(f"no entry of the lineage has an id that starts with {prefix}")
    if len(found) > 1:
        raise UsageError(f"more than one entry has an id that starts with {prefix}")
    return found[0]


def path_to(ledger: Ledger, entry: Entry, steps_max: int) -> list[Entry]:
    """The entries from the genesis to an entry, evenly thinned out to at most so many steps.

    Raises:
        UsageError: The entry is the genesis.
    """
    path = [entry]
    while path[-1].parents and path[-1].hypothesis is not None:
        path.append(ledger.entries[path[-1].parents[0]])
    path.reverse()
    steps = len(path) - 1
    if not steps:
        raise UsageError("there is nothing to replay yet: this is the genesis")
    kept = min(steps, steps_max, STEPS_MAX)
    return [path[number * steps // kept] for number in range(kept + 1)]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is replayed.

    Attributes:
        task: The swarm's task.
        scaling: How scripts are brought to the scale.
        path: The entries from the genesis on.
        scripts: Their scripts at the swarm's own scale, by source digest.
        device: What runs compute on.
        seeds_max: Seeds after which it ends, decided or not.
    """

    task: Task
    scaling: Scaling
    path: Sequence[Entry]
    scripts: Mapping[bytes, str]
    device: Device
    seeds_max: int


class Replay:
    """Runs a plan to its end.

    Args:
        plan: What is replayed.
        judge: Says what runs add up to.
        journal: Keeps each run.
        key: The node's identity: all seeds follow from it.
    """

    def __init__(self, plan: Plan, judge: Judge, journal: Journal, key: SigningKey) -> None:
        self.plan = plan
        self._judge = judge
        self._journal = journal
        self._proof = key.prove_transfer(plan.path[-1].id, plan.scaling.name)

    def metrics(self) -> list[list[int | None]]:
        """What each script of the path gave on seeds 0, 1, 2 ...; None for a failure."""
        return [[run.metric_micro for run in self._runs_of(entry)] for entry in self.plan.path]

    def _runs_of(self, entry: Entry) -> list[Measured]:
        runs: list[Measured] = []
        while (run := self._journal.runs.get((entry.id, len(runs)))) is not None:
            if len(runs) >= self.plan.seeds_max:
                break
            runs.append(run)
            if run.metric_micro is None:
                break
        return runs

    @property
    def wanted(self) -> tuple[int, int] | None:
        """Number of the script and of the seed that run next; None when no run is needed."""
        return self._judge.next_run(self.metrics(), self.plan.seeds_max)

    async def run(self, runner: RunsJobs, on_run: OnRun, on_end: OnEnd) -> None:
        """Make every run that is needed and was not made yet.

        Args:
            runner: Trains and scores.
            on_run: Called while a run goes on.
            on_end: Called when one was kept.

        Raises:
            NodeError: The genesis script does not run at this scale, so that nothing can be
                compared; or a run cannot be kept.
        """
        while (wanted := self.wanted) is not None:
            number, seed = wanted
            measured = await self._measure(runner, number, seed, on_run)
            self._journal.add(self.plan.path[number].id, seed, measured)
            on_end(number, seed, measured)
        genesis = self._runs_of(self.plan.path[0])
        if genesis[-1].metric_micro is None:
            raise NodeError(
                f"the genesis script ended as {genesis[-1].status} at scale"
                f" {self.plan.scaling.name}: nothing can be compared"
            )

    async def _measure(self, runner: RunsJobs, number: int, seed: int, on_run: OnRun) -> Measured:
        try:
            job = self._job(number, seed)
        except TaskError:
            # An entry may have rewritten what the scale multiplies: a fault of the script.
            return Measured("invalid", None, 0)
        outcome = await runner.run(
            job,
            parent_bits=self._bits_before(runner, number, seed),
            on_progress=lambda progress: on_run(number, seed, progress),
        )
        return Measured(
            outcome.status, outcome.metric_micro, outcome.train_cpu_ms + outcome.score_cpu_ms
        )

    def _bits_before(self, runner: RunsJobs, number: int, seed: int) -> Bits | None:
        if number == 0:
            return None
        try:
            return runner.bits_of(self._job(number - 1, seed))
        except TaskError:
            return None

    def _job(self, number: int, seed: int) -> Job:
        plan = self.plan
        script = plan.scripts[plan.path[number].source]
        return plan.scaling.job(
            plan.task, script, transfer_seed(self._proof, seed), device=plan.device.kind
        )

    def body(self) -> Transfer:
        """The record of everything that was measured."""
        runs = []
        for entry in self.plan.path:
            measured = self._runs_of(entry)
            runs.append(
                TransferRun(
                    entry=entry.id,
                    status=measured[-1].status if measured else "ok",
                    metrics=tuple(run.metric_micro for run in measured),
                    cpu_ms=sum(run.cpu_ms for run in measured),
                )
            )
        return Transfer(
            scale=self.plan.scaling.name,
            seed_proof=self._proof,
            runs=tuple(runs),
            device=self.plan.device.words,
            runtime=describe_runtime(),
        )
