"""What a task's noise is, from runs of one of its scripts, and which policy values follow.

Three kinds of noise: between seeds; between the two arms of a pair whose change should not matter
(`node.harmless`); and between runs of the same script and seed on this machine. This file decides
which runs are made and what they propose. It refuses to know how scripts run.

The rules for the proposals:

* `tau_micro` is half the standard deviation of a pair's gain, rounded up to 1, 2 or 5 times a power
  of ten: a few dozen pairs tell it no better than that. Twelve pairs, the smallest cap of a
  built-in policy, then tell a gain of tau from none at about 1.7 standard errors. The deviation is
  that of the noisiest kind of harmless edit: one that starts from other draws moves a run as far
  off its parent's path as a real change does, while one that only rounds otherwise may not move it
  at all. Where no edit has a place in the script, both arms are taken to differ as two seeds do.
  Tau is never below three times the difference between runs that should be equal.
* `cost_ratio_permille` is half more than twice the spread of CPU time between equal runs: two
  measurements are compared, and either may be the lucky one. It is never below 1,500.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from node.harmless import harmless_edits
from protocol.sources import holds_files

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from trainer.job import Outcome

TAU_MICRO_MIN: Final = 100
COST_RATIO_PERMILLE_MIN: Final = 1_500


class CalibrationError(Exception):
    """The script does not run, so that there is nothing to measure."""


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        seeds: seeds of the script itself.
        edits: harmless edits, each run on every seed.
        repeats: further runs of the first seed.
    """

    seeds: int
    edits: int
    repeats: int

    @property
    def runs(self) -> int:
        """Runs in all."""
        return self.seeds * (1 + self.edits) + self.repeats


@dataclasses.dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured and what follows; metrics in millionths.

    Attributes:
        metric_micro: mean metric of the script.
        seed_sd_micro: standard deviation over seeds.
        pair_sd_micro: standard deviation of a pair's gain under the noisiest kind of harmless edit.
        kinds_sd_micro: the same of every kind that was measured.
        pairs: pairs behind all of them.
        machine_range_micro: largest difference between runs of one script and seed.
        cpu_ms: median CPU time of a run.
        cpu_spread: largest over smallest CPU time of runs of one script and seed.
        memory_kib: largest memory of a run.
        wall_ms: median wall time of a run.
        tau_micro: proposed smallest gain that matters.
        cost_ratio_permille: proposed highest cost.
    """

    metric_micro: int
    seed_sd_micro: int
    pair_sd_micro: int
    kinds_sd_micro: dict[str, int]
    pairs: int
    machine_range_micro: int
    cpu_ms: int
    cpu_spread: float
    memory_kib: int
    wall_ms: int
    tau_micro: int
    cost_ratio_permille: int


async def calibrate(
    script: str,
    plan: Plan,
    run: Callable[[str, int], Awaitable[Outcome]],
    gain: Callable[[int, int], int],
) -> Calibration:
    """Measures a script's noise.

    Args:
        script: the script, such as the genesis script.
        plan: how much to measure.
        run: runs a script on a seed.
        gain: sign-normalised difference of two metrics, the parent's first.

    Raises:
        CalibrationError: a run of the unchanged script did not end well.
    """
    # Only a training script has edits that are known to mean nothing.
    edits = [] if holds_files(script) else harmless_edits(script)[: plan.edits]
    seeds = range(1, plan.seeds + 1)
    texts = [script, *(edit.script for edit in edits)]
    outcomes = await _together(run, [(text, seed) for text in texts for seed in seeds])
    first = [_well(outcomes[script, seed], seed) for seed in seeds]
    gains: dict[str, list[int]] = {}
    for edit in edits:
        for before, seed in zip(first, seeds, strict=True):
            after = outcomes[edit.script, seed]
            if after.metric_micro is not None and before.metric_micro is not None:
                found = gain(before.metric_micro, after.metric_micro)
                gains.setdefault(edit.kind, []).append(found)
    # One after the other, so that they do not disturb each other.
    same = [first[0], *[_well(await run(script, 1), 1) for _ in range(plan.repeats)]]
    return conclude(first, gains, same)


async def _together(
    run: Callable[[str, int], Awaitable[Outcome]], wanted: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], Outcome]:
    """Makes many runs, as many at once as there are workers."""
    outcomes: dict[tuple[str, int], Outcome] = {}

    async def one(text: str, seed: int) -> None:
        outcomes[text, seed] = await run(text, seed)

    async with trio.open_nursery() as nursery:
        for text, seed in wanted:
            nursery.start_soon(partial(one, text, seed))
    return outcomes


def _well(outcome: Outcome, seed: int) -> Outcome:
    if outcome.metric_micro is None:
        raise CalibrationError(
            f"the script ended as {outcome.status} on seed {seed}: {outcome.reason}"
        )
    return outcome


def conclude(
    seeds: Sequence[Outcome], gains: Mapping[str, Sequence[int]], same: Sequence[Outcome]
) -> Calibration:
    """Returns what runs amount to.

    Args:
        seeds: runs of the script on different seeds, all well.
        gains: gains of harmless edits on the same seeds, by the edits' kind.
        same: runs of one script and seed, all well.
    """
    metrics = [_metric(outcome) for outcome in seeds]
    equal = [_metric(outcome) for outcome in same]
    machine = max(equal) - min(equal)
    costs = [max(1, outcome.train_cpu_ms + outcome.score_cpu_ms) for outcome in same]
    spread = max(costs) / min(costs)
    kinds = {kind: _sd(found) for kind, found in gains.items()}
    # A script without a place for any: both arms differ as two seeds do.
    pair_sd = max(kinds.values()) if kinds else _sd(metrics) * math.sqrt(2)
    tau = _round_up(max(pair_sd / 2, 3.0 * machine, TAU_MICRO_MIN))
    ratio = max(COST_RATIO_PERMILLE_MIN, math.ceil(spread * spread * 15) * 100)
    return Calibration(
        metric_micro=round(statistics.fmean(metrics)),
        seed_sd_micro=round(_sd(metrics)),
        pair_sd_micro=round(pair_sd),
        kinds_sd_micro={kind: round(sd) for kind, sd in kinds.items()},
        pairs=sum(len(found) for found in gains.values()),
        machine_range_micro=machine,
        cpu_ms=round(statistics.median(costs)),
        cpu_spread=round(spread, 3),
        memory_kib=max(outcome.peak_memory_kib for outcome in [*seeds, *same]),
        wall_ms=round(statistics.median(outcome.wall_ms for outcome in [*seeds, *same])),
        tau_micro=tau,
        cost_ratio_permille=ratio,
    )


def _metric(outcome: Outcome) -> int:
    assert outcome.metric_micro is not None
    return outcome.metric_micro


def _sd(values: Sequence[int]) -> float:
    """Standard deviation; of gains around their mean, of which one has none."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _round_up(value: float) -> int:
    """The next of 1, 2, 5, 10, 20, 50 and so on that is not below a number of at least 1."""
    power: int = 10 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)
