"""What a task's noise is, from runs of its genesis script, and which policy values follow.

Three kinds of noise: between seeds; between the two arms of a pair whose change should not matter
(one constant, a thousandth larger); and between runs of the same script and seed on this machine.
This file decides which runs are made and what they propose. It refuses to know how scripts run.

The rules for the proposals:

* `tau_micro` is half the standard deviation of a pair's gain, rounded up to one digit. Twelve
  pairs, the smallest cap of a built-in policy, then tell a gain of tau from none at about 1.7
  standard errors. A real change moves a run further off its parent's path than a harmless edit
  does, so a pair's deviation is taken to be at least half of that over seeds; and tau is never
  below three times the difference between runs that should be equal.
* `cost_ratio_permille` is half more than twice the spread of CPU time between equal runs: two
  measurements are compared, and either may be the lucky one. It is never below 1,500.
"""

from __future__ import annotations

import ast
import dataclasses
import math
import statistics
from typing import TYPE_CHECKING, Final

from protocol.syntax import parse_tree
from trainer.constants import set_constants

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from trainer.job import Outcome

EDIT_STEP: Final = 1e-3
TAU_MICRO_MIN: Final = 100
COST_RATIO_PERMILLE_MIN: Final = 1_500


class CalibrationError(Exception):
    """The genesis script does not run, so that there is nothing to measure."""


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        seeds: seeds of the genesis script.
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
        metric_micro: mean metric of the genesis script.
        seed_sd_micro: standard deviation over seeds.
        pair_sd_micro: standard deviation of a pair's gain under harmless edits.
        pairs: pairs behind it.
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
    pairs: int
    machine_range_micro: int
    cpu_ms: int
    cpu_spread: float
    memory_kib: int
    wall_ms: int
    tau_micro: int
    cost_ratio_permille: int


def harmless_edits(script: str, count: int) -> list[str]:
    """Returns up to `count` versions of a script with one float constant a thousandth larger.

    Raises:
        TaskError: the script cannot be parsed.
    """
    tree = parse_tree(script)
    assert isinstance(tree, ast.Module)
    values: dict[str, float] = {}
    for node in tree.body:
        match node:
            case ast.Assign(
                targets=[ast.Name(id=name)], value=ast.Constant(value=float() as value)
            ) if value and math.isfinite(value):
                values[name] = value
            case _:
                continue
    names = sorted(values, key=lambda name: (name != "LEARNING_RATE", name))
    edits = []
    for number in range(count if names else 0):
        name, steps = names[number % len(names)], number // len(names) + 1
        edits.append(set_constants(script, {name: values[name] * (1 + EDIT_STEP * steps)}))
    return edits


async def calibrate(
    script: str,
    plan: Plan,
    run: Callable[[str, int], Awaitable[Outcome]],
    gain: Callable[[int, int], int],
) -> Calibration:
    """Measures a script's noise.

    Args:
        script: the genesis script.
        plan: how much to measure.
        run: runs a script on a seed.
        gain: sign-normalised difference of two metrics, the parent's first.

    Raises:
        CalibrationError: a run of the genesis script did not end well.
    """
    first = [await _ok(run, script, seed) for seed in range(1, plan.seeds + 1)]
    gains = []
    for edit in harmless_edits(script, plan.edits):
        for seed, before in enumerate(first, 1):
            after = await run(edit, seed)
            if after.metric_micro is not None and before.metric_micro is not None:
                gains.append(gain(before.metric_micro, after.metric_micro))
    same = [first[0], *[await _ok(run, script, 1) for _ in range(plan.repeats)]]
    return conclude(first, gains, same)


async def _ok(run: Callable[[str, int], Awaitable[Outcome]], script: str, seed: int) -> Outcome:
    outcome = await run(script, seed)
    if outcome.metric_micro is None:
        raise CalibrationError(
            f"the genesis script ended as {outcome.status} on seed {seed}: {outcome.reason}"
        )
    return outcome


def conclude(
    seeds: Sequence[Outcome], gains: Sequence[int], same: Sequence[Outcome]
) -> Calibration:
    """Returns what runs amount to.

    Args:
        seeds: runs of the genesis script on different seeds, all well.
        gains: gains of harmless edits on the same seeds.
        same: runs of one script and seed, all well.
    """
    metrics = [_metric(outcome) for outcome in seeds]
    equal = [_metric(outcome) for outcome in same]
    machine = max(equal) - min(equal)
    costs = [max(1, outcome.train_cpu_ms + outcome.score_cpu_ms) for outcome in same]
    spread = max(costs) / min(costs)
    # A script without a constant to edit: pairs differ at least as seeds would, unpaired.
    pair_sd = _sd(gains) if gains else _sd(metrics) * math.sqrt(2)
    tau = _round_up(max(pair_sd / 2, _sd(metrics) / 4, 3.0 * machine, TAU_MICRO_MIN))
    ratio = max(COST_RATIO_PERMILLE_MIN, math.ceil(spread * spread * 15) * 100)
    return Calibration(
        metric_micro=round(statistics.fmean(metrics)),
        seed_sd_micro=round(_sd(metrics)),
        pair_sd_micro=round(pair_sd),
        pairs=len(gains),
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
    """A number rounded up to one significant digit."""
    power: int = 10 ** math.floor(math.log10(value))
    return math.ceil(value / power) * power
