"""What a replay of the lineage at another scale says: which improvements carry over.

A transfer record holds the metric of every script of a path on the same few seeds, so that each
script is paired with the one before it and with the genesis. What the pairs add up to is computed
here, from the record alone, and equal everywhere. Nothing of it enters a verdict, a weight or the
head: one member's measurement at one scale says where an improvement holds, not whether it is one.

Each step is judged by the evidence of a verdict (`swarm.evidence`) at the error of the intervals
that are shown: *carried* when the 95 % interval of its gain lies above zero, *lost* when it lies
below tau, *failed* when the script did not run at that scale, else *undecided*. The first boundary
that is crossed stands. A lost improvement is thus called carried with chance at most 2.5 %, however
often one looks; why alpha is not asked for is in docs/adr/0013-transfer.md.

The same rule says which run a replay needs next, so that it stops where its reader would.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final, Literal, TypeAlias

from protocol.limits import TRANSFER_SEEDS_MAX
from protocol.records import Metric, Record, Transfer
from swarm.evidence import Gains, scale_floor_micro
from swarm.fixed_point import ONE
from swarm.liars import Guard, is_shown, lower_bound
from swarm.verdict import INTERVAL_ERROR_PPM

StepStatus: TypeAlias = Literal["carried", "lost", "undecided", "failed"]

SCALES_MAX: Final = 8
"""Scales of one author about one entry that are shown."""

REPORTS_CACHE_SIZE: Final = 1 << 10
"""Reports kept: whoever shows the lineage asks for all of them again and again."""

THRESHOLD: Final = ONE * 1_000_000 // INTERVAL_ERROR_PPM


@dataclass(frozen=True, slots=True)
class Comparison:
    """A script against an earlier one on the seeds that both ran.

    Attributes:
        status: What the pairs say.
        pairs: Their number.
        gain_micro: Mean gain; None without a pair.
        low_micro: Lower bound of the gain, 97.5 % sure at every stopping time; None while there is
            none.
        high_micro: Upper bound likewise.
    """

    status: StepStatus
    pairs: int
    gain_micro: int | None
    low_micro: int | None
    high_micro: int | None


@dataclass(frozen=True, slots=True)
class Step:
    """One script of the path.

    Attributes:
        entry: Its entry.
        baseline: The entry that ran before it: its parent, unless some were left out.
        metric_micro: Its mean metric; None when it gave none.
        step: Against the baseline.
        whole: Against the genesis.
        cpu_ms: CPU time of all its runs.
    """

    entry: bytes
    baseline: bytes
    metric_micro: int | None
    step: Comparison
    whole: Comparison
    cpu_ms: int


@dataclass(frozen=True, slots=True)
class Report:
    """What one transfer record says.

    Attributes:
        entry: The entry whose lineage was replayed.
        scale: At which scale.
        genesis_micro: Mean metric of the genesis script there.
        steps: Every further script of the path.
    """

    entry: bytes
    scale: str
    genesis_micro: int | None
    steps: tuple[Step, ...]

    @property
    def carried(self) -> int:
        """Number of steps whose improvement carries over."""
        return sum(step.step.status == "carried" for step in self.steps)


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges the pairs of one swarm.

    Attributes:
        metric: The swarm's metric.
        tau_micro: The smallest gain that matters to it.
    """

    metric: Metric
    tau_micro: int

    @property
    def _guard(self) -> Guard:
        """One measurer, whom the reader believes or not: nobody is left out."""
        return Guard(0, 1, scale_floor_micro(self.tau_micro))

    def compare(
        self, before: Sequence[int | None], after: Sequence[int | None]
    ) -> tuple[Comparison, bool]:
        """Judge a script against an earlier one, by their metrics on seeds 0, 1, 2 ...

        Returns:
            The comparison, and whether more pairs cannot change its status.
        """
        gains = Gains()
        status: StepStatus = "undecided"
        for parent_micro, child_micro in zip(before, after, strict=False):
            if parent_micro is None or child_micro is None:
                break
            gains = gains.plus(self.metric.gain_micro(parent_micro, child_micro))
            if status == "undecided":
                status = self._crossed(gains)
        over = status != "undecided" or None in before or None in after
        if None in after:
            status = "failed"
        if not gains.count:
            return Comparison(status, 0, None, None, None), over
        low = lower_bound((gains,), self._guard, THRESHOLD)
        minus_high = lower_bound((gains.below(0),), self._guard, THRESHOLD)
        high = None if minus_high is None else -minus_high
        return Comparison(status, gains.count, gains.total // gains.count, low, high), over

    def _crossed(self, gains: Gains) -> StepStatus:
        if is_shown((gains.below(self.tau_micro),), self._guard, THRESHOLD):
            return "lost"
        return "carried" if is_shown((gains,), self._guard, THRESHOLD) else "undecided"

    def next_run(
        self, metrics: Sequence[Sequence[int | None]], seeds_max: int
    ) -> tuple[int, int] | None:
        """Which run a replay needs next, given what its scripts gave so far.

        Seed by seed, and on each along the path; a script rests once every comparison that it is
        part of is over. The last script is compared with the genesis too.

        Args:
            metrics: What each script of the path gave on seeds 0, 1, 2 ...; None for a failure.
            seeds_max: Seeds after which a replay ends, decided or not.

        Returns:
            Number of the script and of the seed; None when nothing is needed any more.
        """
        last = len(metrics) - 1
        pairs = [(number, number + 1) for number in range(last)]
        pairs += [(0, last)] if last > 1 else []
        needed: set[int] = set()
        for before, after in pairs:
            if not self.compare(metrics[before], metrics[after])[1]:
                needed |= {before, after}
        waiting = [
            (len(metrics[number]), number)
            for number in needed
            if len(metrics[number]) < min(seeds_max, TRANSFER_SEEDS_MAX)
        ]
        if not waiting:
            return None
        seed, number = min(waiting)
        return number, seed


@lru_cache(maxsize=REPORTS_CACHE_SIZE)
def report(body: Transfer, judge: Judge) -> Report:
    """Work out what a transfer record says."""
    genesis = body.runs[0]
    return Report(
        entry=body.entry,
        scale=body.scale,
        genesis_micro=_mean(genesis.metrics),
        steps=tuple(
            Step(
                entry=run.entry,
                baseline=before.entry,
                metric_micro=_mean(run.metrics),
                step=judge.compare(before.metrics, run.metrics)[0],
                whole=judge.compare(genesis.metrics, run.metrics)[0],
                cpu_ms=run.cpu_ms,
            )
            for before, run in pairwise(body.runs)
        ),
    )


class TransferFile:
    """The transfer records of a ledger.

    Of several by one author about one entry at one scale the longest stands: a replay that was
    carried on. Equal ones are told apart by their ids, so that the order of arrival is nothing.
    """

    def __init__(self) -> None:
        self._standing: dict[tuple[bytes, bytes, str], tuple[Record, Transfer]] = {}

    def add(self, record: Record, body: Transfer) -> None:
        """File a record."""
        slot = (record.author, body.entry, body.scale)
        before = self._standing.get(slot)
        if before is None or _rank(record, body) > _rank(*before):
            self._standing[slot] = record, body

    def standing(self) -> list[tuple[Record, Transfer]]:
        """The records that stand, by scale, then author; a function of the set of records.

        A scale is any text, so only the first `SCALES_MAX` of an author about an entry stand.
        """
        kept: list[tuple[Record, Transfer]] = []
        counts: Counter[tuple[bytes, bytes]] = Counter()
        for (author, entry, _), item in sorted(self._standing.items()):
            counts[author, entry] += 1
            if counts[author, entry] <= SCALES_MAX:
                kept.append(item)
        return sorted(kept, key=lambda item: (item[1].scale, item[0].author, item[0].id))


def _rank(record: Record, body: Transfer) -> tuple[int, bytes]:
    return sum(len(run.metrics) for run in body.runs), record.id


def _mean(metrics: Sequence[int | None]) -> int | None:
    values = [value for value in metrics if value is not None]
    return sum(values) // len(values) if values else None
