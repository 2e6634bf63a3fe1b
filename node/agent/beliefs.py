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
effects are not additive: what lost before may win on the next head. A constant's value also learns
from values near it. Crashes count as a clear loss.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Final

from node.agent.catalogue.constants import distance, parse_assignment

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

NEAR_DOUBLINGS: Final = 0.6
"""Distance at which a constant's value says little about another one."""

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
    change: str
    units: float
    weight: float


class Beliefs:
    """Estimates of effects, from the experiences given at construction."""

    def __init__(self, experiences: Iterable[Experience], spent: frozenset[str]) -> None:
        """Takes the swarm's experiences.

        Args:
            experiences: what was tried, anywhere.
            spent: changes that are in the head already: they say nothing of what is left.
        """
        self._changes: dict[str, list[_Observation]] = {}
        self._constants: dict[str, list[tuple[float, _Observation]]] = {}
        sums: dict[str, tuple[float, float]] = {}
        for experience in experiences:
            units = effect_units(experience)
            if units is None or experience.change in spent:
                continue
            weight = 1.0 if experience.on_head else OLDER_WEIGHT
            observation = _Observation(experience.change, units, weight)
            assignment = parse_assignment(experience.change)
            if assignment is None:
                self._changes.setdefault(experience.change, []).append(observation)
            else:
                name, value = assignment
                self._constants.setdefault(name, []).append((value, observation))
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
        prior = self.kind(kind)
        precision = 1.0 / prior.spread**2
        total = precision * prior.mean
        for weight, units in self._evidence(change):
            precision += weight / NOISE_UNITS**2
            total += weight * units / NOISE_UNITS**2
        return Prior(total / precision, precision**-0.5)

    def draw_kind(self, kind: str, rng: random.Random) -> float:
        """Draws how good the best that is left of a kind may be."""
        believed = self.kind(kind)
        return rng.gauss(believed.mean, believed.spread)

    def draw_change(self, kind: str, change: str, rng: random.Random) -> float:
        """Draws an effect from what is believed of one change."""
        believed = self.change(kind, change)
        return rng.gauss(believed.mean, believed.spread)

    def _evidence(self, change: str) -> Iterable[tuple[float, float]]:
        assignment = parse_assignment(change)
        if assignment is None:
            for observation in self._changes.get(change, ()):
                yield observation.weight, observation.units
            return
        name, value = assignment
        for other, observation in self._constants.get(name, ()):
            apart = distance(name, value, other) / NEAR_DOUBLINGS
            if apart < 3.0:
                yield observation.weight * math.exp(-0.5 * apart**2), observation.units
