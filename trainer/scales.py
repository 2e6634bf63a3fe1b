"""Running a lineage's scripts at another size: a tier of the task, or a factor that it offers.

This file decides what a scale may say in `task.toml`, and how a script is brought to one. A lineage
begins at the genesis script of the swarm's own tier and changes from there, so a constant is never
set to the other tier's value but multiplied: where the genesis grows from 64 to 96, a script that
had made it 80 grows to 120. The genesis script thus becomes exactly what a swarm of the other tier
would begin with, and whatever an entry changed keeps its proportion.

The script may be a stranger's: whatever it holds, only `TaskError` leaves this file.
"""

from __future__ import annotations

import dataclasses
import math
import re
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from trainer.constants import read_constants, set_constants
from trainer.fields import Table, TaskError
from trainer.job import Budget, Limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer.constants import Constant
    from trainer.job import Job
    from trainer.task import Task

_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
CONSTANTS_MAX: Final = 8
FACTORS_MAX: Final = 8
FACTOR_MAX: Final = 64
EXPONENT_MAX: Final = 4
_BUDGET_MAX: Final = 2**53


@dataclasses.dataclass(frozen=True, slots=True)
class Scale:
    """A direction in which a task's scripts can be made larger, such as width.

    Attributes:
        name: word for it.
        constants: names of the top-level constants that are multiplied together.
        factors: what they may be multiplied by.
        budget_exponent: the budget and the limits are multiplied by the factor to this power.
    """

    name: str
    constants: tuple[str, ...]
    factors: tuple[int, ...]
    budget_exponent: int


def read_scale(name: str, table: Table) -> Scale:
    """Returns one table of `[scales]`."""
    scale = Scale(
        name=name,
        constants=table.texts("constants", _NAME, "constants' names", most=CONSTANTS_MAX),
        factors=table.integers("factors", 2, FACTOR_MAX, most=FACTORS_MAX),
        budget_exponent=table.integer("budget_exponent", 0, EXPONENT_MAX),
    )
    if not scale.constants or not scale.factors:
        raise table.fault("constants" if not scale.constants else "factors", "must not be empty")
    table.finish()
    return scale


@dataclasses.dataclass(frozen=True, slots=True)
class Scaling:
    """How the scripts of a lineage are run at another scale.

    Attributes:
        name: what was asked for: a tier, or `SCALE=FACTOR`.
        tier: the tier whose evaluation is used.
        factors: what each named constant is multiplied by.
        budget: what a run may spend.
        limits: bounds enforced from outside.
    """

    name: str
    tier: str
    factors: Mapping[str, Fraction]
    budget: Budget
    limits: Limits

    def script(self, source: str) -> str:
        """Returns a script of the lineage at this scale.

        Raises:
            TaskError: it does not assign one of the constants exactly once, a plain number.
        """
        values = read_constants(source, tuple(self.factors))
        return set_constants(
            source, {name: _times(value, self.factors[name]) for name, value in values.items()}
        )

    def job(self, task: Task, source: str, seed: int, *, device: str = "cpu") -> Job:
        """Returns the job of running a script of the lineage at this scale.

        Raises:
            TaskError: as `script` does.
        """
        job = task.job(self.tier, self.script(source), seed, device=device)
        return dataclasses.replace(job, budget=self.budget, limits=self.limits)


def offered_scales(task: Task, tier: str) -> list[str]:
    """Names of everything that the lineage of a tier can be run at: other tiers, then factors."""
    factors = [
        f"{scale.name}={factor}"
        for scale in task.manifest.scales.values()
        for factor in scale.factors
    ]
    return [*(name for name in task.tiers if name != tier), *factors]


def find_scaling(task: Task, tier: str, name: str) -> Scaling:
    """Returns how to run the lineage of a swarm on `tier` at a scale.

    Raises:
        TaskError: the task does not offer it; the message says what it offers.
    """
    if name not in offered_scales(task, tier):
        offered = ", ".join(offered_scales(task, tier)) or "none"
        raise TaskError(
            f"{task.name} has no scale {name!r} beside its {tier} tier; it has {offered}"
        )
    own = task.tier(tier)
    if name in task.tiers:
        other = task.tier(name)
        names = tuple(sorted(own.constants.keys() | other.constants.keys()))
        before = read_constants(task.genesis_script(tier), names)
        after = read_constants(task.genesis_script(name), names)
        return Scaling(name, name, _ratios(before, after), other.budget, other.limits)
    word, _, number = name.partition("=")
    scale, factor = task.manifest.scales[word], int(number)
    times = factor**scale.budget_exponent
    return Scaling(
        name=name,
        tier=tier,
        factors=dict.fromkeys(scale.constants, Fraction(factor)),
        budget=Budget(own.budget.kind, min(_BUDGET_MAX, own.budget.amount * times)),
        limits=_grown(own.limits, times),
    )


def _ratios(before: Mapping[str, Constant], after: Mapping[str, Constant]) -> dict[str, Fraction]:
    ratios = {}
    for name, value in before.items():
        if after[name] == value:
            continue
        if value == 0:
            raise TaskError(f"{name} is 0 in one tier, so that a script cannot be scaled by it")
        ratios[name] = Fraction(after[name]) / Fraction(value)
    return ratios


def _times(value: Constant, factor: Fraction) -> Constant:
    """A constant times a factor; a whole number stays one, and does not become 0."""
    if isinstance(value, float):
        return float(Fraction(value) * factor)
    grown = math.floor(value * factor + Fraction(1, 2))
    return grown if grown or not value else 1


def _grown(limits: Limits, times: int) -> Limits:
    return dataclasses.replace(
        limits,
        train_wall_s=limits.train_wall_s * times,
        score_wall_s=limits.score_wall_s * times,
        memory_bytes=limits.memory_bytes * times,
        weights_bytes=limits.weights_bytes * times,
        cpu_s=limits.cpu_s * times,
    )
