"""What the swarm's experience says about the effect of a change.

This file decides how gains measured anywhere in the swarm become an estimate, with its uncertainty,
of what a change would bring on the present head. It refuses to know how changes are made and which
one to try.

Theory of operation. Effects are measured in *units*: a gain divided by the swarm's smallest gain
of interest τ, compressed by a signed logarithm, because a gain of thirty τ should not silence all
else.
Every kind of change has a broad prior over effects. It is the only prior knowledge in the search:
it says that structure tends to matter more than the third digit of a constant, never which
structure. An experience counts fully on the head that it was made on and less on every other, since
effects are not additive: what lost before may win on the next head. Crashes count as a clear loss.

What is believed of a constant is a smooth curve over its values, on a logarithmic scale: a Gaussian
process (Rasmussen and Williams, 2006, chapter 2) of which every experience shows the difference
between two points, the value that was tried and the one that its parent had. So a step that paid
speaks for going on in its direction and against turning back, and a small step promises less than a
large one.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Final, TypeAlias

from node.agent.catalogue.constants import doublings, parse_assignment

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Mapping

    from node.agent.proposal import Experience

OLDER_WEIGHT: Final = 0.35
"""Weight of an experience on another entry than the head."""

NOISE_UNITS: Final = 0.6
"""Standard deviation of one experience: a screening is one or two seeds."""

LOSS_UNITS: Final = -1.0
"""What a change counts that crashed or was screened out without a measured gain."""

KIND_PRIOR_COUNT: Final = 3.0
"""How many experiences the prior mean of a kind is worth."""

CURVE_DOUBLINGS: Final = 1.5
"""Distance over which the effect of a constant's value bends."""

CURVE_SPREAD: Final = 1.3
"""Spread of the curve's height over the kind's spread: a usual step then has about the latter."""

CURVE_POINTS_MAX: Final = 12
"""How many of the latest experiences with a constant are looked at."""

DUE_UNITS: Final = 0.4
"""An effect from which a change that is not in the head is due to be tried again."""


@dataclasses.dataclass(frozen=True, slots=True)
class Prior:
    """Belief about the effects of a kind before anything was tried.

    Attributes:
        mean: expected effect in units.
        spread: standard deviation of the effects of its changes, in units.
    """

    mean: float
    spread: float


STRUCTURE: Final = Prior(0.5, 1.8)
"""Optimizer, positions and attention decide how information and gradients flow: wide spread."""

PART: Final = Prior(0.3, 1.1)
"""Exchanging one part for another of the same role."""

VALUE: Final = Prior(0.2, 0.8)
"""The value of a constant that matters: the default is rarely far off."""

FINE: Final = Prior(0.1, 0.4)
"""Constants with flat optima."""

PRIORS: Final[Mapping[str, Prior]] = {
    "optimizer": STRUCTURE,
    "positions": STRUCTURE,
    "attention": STRUCTURE,
    "activation": PART,
    "normalisation": PART,
    "initialisation": PART,
    "schedule": PART,
    "head": PART,
    "bundle": PART,
    "batch": PART,
    "wording": PART,
    "paragraphs": VALUE,
    "setting": VALUE,
    "shape": VALUE,
    "rate": VALUE,
    "moments": FINE,
    "regularisation": FINE,
}
"""Broad prior belief per kind; `VALUE` for kinds that are not listed."""


def effect_units(experience: Experience) -> float | None:
    """Returns the effect of one experience in units, or None if it says nothing."""
    if experience.status in {"duplicate", "conflict"}:
        return None
    if experience.status == "crashed":
        return LOSS_UNITS
    if experience.gain_micro is None:
        return None if experience.status in {"undecided", "verified"} else LOSS_UNITS
    # A peer's numbers are bounded here: no single experience can outweigh the rest.
    ratio = max(-1e3, min(1e3, experience.gain_micro / max(1, experience.tau_micro)))
    return math.copysign(math.log1p(abs(ratio)), ratio)


@dataclasses.dataclass(frozen=True, slots=True)
class _Observation:
    units: float
    weight: float


@dataclasses.dataclass(frozen=True, slots=True)
class _Step:
    """An observed difference between two values of a constant; `before` may be unknown."""

    before: float | None
    after: float
    seen: _Observation


class Beliefs:
    """Estimates of effects, from the experiences given at construction."""

    def __init__(
        self,
        experiences: Iterable[Experience],
        spent: frozenset[str],
        constants: Mapping[str, float] | None = None,
        *,
        older_weight: float = OLDER_WEIGHT,
    ) -> None:
        """Takes the swarm's experiences.

        Args:
            experiences: what was tried, anywhere.
            spent: changes that are in the head already: they say nothing of what is left, but for
                where a constant has come from.
            constants: the head's constants.
            older_weight: weight of an experience on another entry than the head.
        """
        self._constants = constants or {}
        self._changes: dict[str, list[_Observation]] = {}
        self._steps: dict[str, list[_Step]] = {}
        self._believed: dict[tuple[str, str], Prior] = {}
        sums: dict[str, tuple[float, float]] = {}
        for experience in experiences:
            units = effect_units(experience)
            if units is None:
                continue
            weight = 1.0 if experience.on_head else older_weight
            seen = _Observation(units, weight)
            assignment = parse_assignment(experience.change)
            if assignment is not None:
                name, value = assignment
                self._steps.setdefault(name, []).append(_Step(experience.before, value, seen))
            if experience.change in spent:
                continue
            if assignment is None:
                self._changes.setdefault(experience.change, []).append(seen)
            total, count = sums.get(experience.kind, (0.0, 0.0))
            sums[experience.kind] = (total + weight * units, count + weight)
        self._kinds = sums

    def kind(self, kind: str) -> Prior:
        """Returns what is believed of an untried change of this kind."""
        prior = PRIORS.get(kind, VALUE)
        total, count = self._kinds.get(kind, (0.0, 0.0))
        mean = (KIND_PRIOR_COUNT * prior.mean + total) / (KIND_PRIOR_COUNT + count)
        return Prior(mean, prior.spread)

    def change(self, kind: str, change: str) -> Prior:
        """Returns what is believed of one change."""
        key = (kind, change)
        if key not in self._believed:
            assignment = parse_assignment(change)
            self._believed[key] = (
                self._of_change(kind, change)
                if assignment is None
                else self._of_constant(kind, *assignment)
            )
        return self._believed[key]

    def draw_kind(self, kind: str, rng: random.Random) -> float:
        """Draws how good the best that is left of a kind may be."""
        believed = self.kind(kind)
        return rng.gauss(believed.mean, believed.spread)

    def draw_change(self, kind: str, change: str, rng: random.Random) -> float:
        """Draws an effect from what is believed of one change."""
        believed = self.change(kind, change)
        return rng.gauss(believed.mean, believed.spread)

    def _of_change(self, kind: str, change: str) -> Prior:
        prior = self.kind(kind)
        precision = 1.0 / prior.spread**2
        total = precision * prior.mean
        for seen in self._changes.get(change, ()):
            precision += seen.weight / NOISE_UNITS**2
            total += seen.weight * seen.units / NOISE_UNITS**2
        return Prior(total / precision, precision**-0.5)

    def _of_constant(self, kind: str, name: str, value: float) -> Prior:
        """What the curve of a constant says of going from the head's value to another."""
        prior = self.kind(kind)
        steps = self._steps.get(name, [])[-CURVE_POINTS_MAX:]
        wanted = (_place(name, self._constants.get(name)), _place(name, value))
        pairs = [(_place(name, step.before), _place(name, step.after)) for step in steps]
        height = (CURVE_SPREAD * prior.spread) ** 2
        rows = [[height * _shared(a, b) for b in pairs] for a in pairs]
        for row, step, number in zip(rows, steps, range(len(steps)), strict=True):
            row[number] += NOISE_UNITS**2 / step.seen.weight
        cross = [height * _shared(wanted, pair) for pair in pairs]
        weights = _solve(rows, cross)
        mean = prior.mean + sum(
            weight * (step.seen.units - prior.mean)
            for weight, step in zip(weights, steps, strict=True)
        )
        explained = sum(weight * shared for weight, shared in zip(weights, cross, strict=True))
        variance = height * _shared(wanted, wanted) - explained
        return Prior(mean, math.sqrt(max(variance, 1e-4)))


_Place: TypeAlias = float | None
"""Where a value lies, in doublings; None for zero, which is no doublings from anywhere."""

_UNKNOWN: Final = math.nan
"""A place of which nothing is known: the difference is then taken to an average value."""


def _place(name: str, value: float | None) -> _Place:
    return _UNKNOWN if value is None else doublings(name, value)


def _near(a: _Place, b: _Place) -> float:
    """Correlation of the curve at two places."""
    if a is None or b is None:
        return float(a is b)
    if math.isnan(a) or math.isnan(b):
        return 0.0
    return math.exp(-0.5 * ((a - b) / CURVE_DOUBLINGS) ** 2)


def _shared(one: tuple[_Place, _Place], other: tuple[_Place, _Place]) -> float:
    """Covariance of two differences along a curve of unit height."""
    (a, b), (c, d) = one, other
    return _near(b, d) - _near(b, c) - _near(a, d) + _near(a, c)


def _solve(rows: list[list[float]], right: list[float]) -> list[float]:
    """Solves a small system with a symmetric positive definite matrix, by elimination."""
    rows = [[*row, value] for row, value in zip(rows, right, strict=True)]
    for index, pivot in enumerate(rows):
        for row in rows[index + 1 :]:
            factor = row[index] / pivot[index]
            for column in range(index, len(row)):
                row[column] -= factor * pivot[column]
    result = [0.0] * len(rows)
    for index in reversed(range(len(rows))):
        row = rows[index]
        known = sum(row[later] * result[later] for later in range(index + 1, len(rows)))
        result[index] = (row[-1] - known) / row[index]
    return result
