"""Evidence that liars cannot make, and can hardly unmake.

At most `liars` (f) verifiers may say anything. Whoever they are, evidence that stands after leaving
out any f verifiers stands on honest pairs alone: the *minimum over all ways of leaving out f*.
Under a worthless change it reaches 1/alpha with chance at most alpha, whatever liars report,
because the minimum is at most the value for the set that holds all of them.

Taken alone that would hand every liar a veto: the sets that keep a liar in are in the minimum too,
and one huge loss makes them hopeless. So the evidence of what remains is a mixture of alternatives:
that all of it shows the gain, or that up to f of its verifiers stand apart (`e_value_apart`). Each
part is an e-process under the same null hypothesis, so the mixture is one. A verifier that reports
something unlike the others then only costs the logarithm of the number of alternatives. To
delay a true gain a liar has to report what an honest null result would look like; the rates are in
docs/adr/0001-verdict.md.

An alternative in which some stand apart could be favoured by outliers alone, without any gain among
the rest (real noise is not normal). It therefore counts in full only where the rest, looked at
alone, speak 20 to 1 for a gain; where they do not, their own evidence is its upper limit.

This file knows sums of pairs by verifier. It refuses to know who the verifiers are.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import comb
from typing import Final

from swarm.evidence import Gains, e_value_apart, pairs_min, remembered_e_value
from swarm.fixed_point import ONE

MIXTURE_CACHE_SIZE: Final = 1 << 14
"""Mixtures kept: a ledger asks for the same prefixes again each time a pair is added."""

REST_EVIDENCE_MIN: Final = 20 * ONE
"""Evidence that the rest must give by itself before those that stand apart help it."""

DOUBLINGS_MAX: Final = 64
"""Doublings when a bound is searched: more than a metric has bits."""


@dataclass(frozen=True, slots=True)
class Guard:
    """Against what evidence has to stand.

    Attributes:
        liars: Verifiers that may say anything.
        verifiers_max: Verifiers whose pairs may count. Weights depend on it and not on how many
            have come so far: a mixture's weights must not change while evidence comes in.
        floor_micro: The scale floor.
    """

    liars: int
    verifiers_max: int
    floor_micro: int


def leaving_out(by_verifier: Sequence[Gains], liars: int) -> Iterator[tuple[Gains, ...]]:
    """Every way of leaving out `liars` of the verifiers, the strongest left out first."""
    numbers = range(len(by_verifier))
    strongest_first = sorted(numbers, key=lambda number: _mean(by_verifier[number]), reverse=True)
    for left_out in combinations(strongest_first, min(liars, len(by_verifier))):
        yield tuple(by_verifier[number] for number in numbers if number not in left_out)


def evidence(by_verifier: Sequence[Gains], guard: Guard) -> int:
    """Evidence for a mean gain above zero, in fixed point, whoever the liars are."""
    return min(_mixture(kept, guard) for kept in leaving_out(by_verifier, guard.liars))


def is_shown(by_verifier: Sequence[Gains], guard: Guard, threshold: int) -> bool:
    """Whether `evidence` reaches a threshold; stops at the first set that does not."""
    if len(by_verifier) <= guard.liars:
        return False
    if sum(gains.count for gains in by_verifier) < pairs_min(threshold):
        return False
    return all(_reaches(kept, guard, threshold) for kept in leaving_out(by_verifier, guard.liars))


def is_doubted(by_verifier: Sequence[Gains], guard: Guard, below: int) -> bool:
    """Whether evidence stays low even after leaving out whichever `liars` verifiers lower it."""
    return all(
        remembered_e_value(sum(kept, Gains()), guard.floor_micro) < below
        for kept in leaving_out(by_verifier, guard.liars)
    )


def lower_bound(by_verifier: Sequence[Gains], guard: Guard, threshold: int) -> int | None:
    """Largest m such that "the mean gain is at most m" is rejected, whoever the liars are.

    Inverting an e-process gives a bound that holds at every stopping time. The evidence falls as m
    rises, so the bound is found by doubling steps down from the highest verifier's mean, where it
    is below any threshold, and halving back.

    Returns:
        The bound in micro-units; None when so few pairs reject nothing, however low.
    """
    if len(by_verifier) <= guard.liars:
        return None
    bound = max(_mean(gains) for gains in by_verifier)
    for kept in leaving_out(by_verifier, guard.liars):

        def rejects(micro: int, kept: tuple[Gains, ...] = kept) -> bool:
            shifted = tuple(gains.above(micro) for gains in kept)
            return _reaches(shifted, guard, threshold)

        if sum(gains.count for gains in kept) < pairs_min(threshold):
            return None
        found = _largest_where(rejects, at_most=bound, step=guard.floor_micro)
        if found is None:
            return None
        bound = found
    return bound


def _largest_where(holds: Callable[[int], bool], *, at_most: int, step: int) -> int | None:
    """Largest integer up to `at_most` where a condition that fails upwards holds."""
    if holds(at_most):
        return at_most
    high = at_most
    for doublings in range(DOUBLINGS_MAX):
        low = at_most - (step << doublings)
        if holds(low):
            break
        high = low
    else:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _reaches(kept: tuple[Gains, ...], guard: Guard, threshold: int) -> bool:
    """Whether the evidence of some verifiers' pairs reaches a threshold of at least one."""
    together = sum(kept, Gains())
    if together.count < pairs_min(threshold):
        return False
    if guard.liars == 0 and together.total <= 0:
        return False
    return _mixture(kept, guard) >= threshold


@lru_cache(maxsize=MIXTURE_CACHE_SIZE)
def _mixture(kept: tuple[Gains, ...], guard: Guard) -> int:
    """Evidence of the verifiers that were not left out, in fixed point."""
    everything = sum(kept, Gains())
    together = remembered_e_value(everything, guard.floor_micro)
    if guard.liars == 0 or everything.count == 0:
        return together
    shares = _shares(guard.liars)
    slots = max(len(kept), guard.verifiers_max - guard.liars)
    total = shares[0] * together
    for size in range(1, min(guard.liars, len(kept) - 1) + 1):
        parts = 0
        for apart in combinations(range(len(kept)), size):
            parts += _evidence_apart(
                sum((gains for number, gains in enumerate(kept) if number not in apart), Gains()),
                [kept[number] for number in apart],
                guard.floor_micro,
            )
        total += shares[size] * parts // comb(slots, size)
    return total // sum(shares)


def _evidence_apart(rest: Gains, apart: Sequence[Gains], floor_micro: int) -> int:
    """Evidence if these verifiers stand apart: half for a mean of zero, half for means anywhere."""
    alone = remembered_e_value(rest, floor_micro)
    zero = e_value_apart(rest, apart, floor_micro, own_means=False)
    anywhere = e_value_apart(rest, apart, floor_micro, own_means=True)
    if alone < REST_EVIDENCE_MIN:
        zero, anywhere = min(zero, alone), min(anywhere, alone)
    return (zero + anywhere) // 2


def _shares(liars: int) -> list[int]:
    """Weights of the alternatives by the number of verifiers that stand apart, 0 to `liars`.

    Two fifths for none, two fifths for as many as there may be, the rest for those between.
    """
    between = [1] * (liars - 1)
    ends = 2 * max(1, len(between))
    return [ends, *between, ends]


def _mean(gains: Gains) -> int:
    return gains.total // gains.count if gains.count else 0
