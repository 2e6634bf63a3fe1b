"""What slicing a gain earns in fork choice: the weight of the slices against that of the whole.

Both are verified by the same rule, pair by pair until the first boundary is crossed; the chain of
slices ends where one of them does not hold.
"""

import random
from typing import Final, NamedTuple

from benchmarks.report import Figure, figure
from benchmarks.verdict_pairs import TAU, TRUSTED, make_pair
from swarm.fork_choice import entry_weight
from swarm.verdict import Pair, Scan, conclude

SHARE_OF_COUNT: Final = 10
"""A sliced gain is as much work as this many ordinary hypotheses."""


class Sliced(NamedTuple):
    """A gain and into how many it is cut.

    Attributes:
        taus: The whole gain in units of tau.
        sigma: Standard deviation of a pair's gain in units of tau.
        slices: Entries that share it alike.
    """

    taus: float
    sigma: float
    slices: int


def slices_line(name: str, item: Sliced, count: int, seed: int) -> list[Figure]:
    """Verify one gain whole, and another time in slices.

    Args:
        name: What the line is called.
        item: The gain.
        count: Hypotheses of an ordinary line.
        seed: Seeds the draws.
    """
    wholes, chains, heavier = 0, 0, 0
    rounds = count // SHARE_OF_COUNT
    for number in range(rounds):
        rng = random.Random(f"{seed} {name} {number}")
        whole = _weight(rng, item.taus, item.sigma) or 0
        chain = 0
        for _ in range(item.slices):
            weight = _weight(rng, item.taus / item.slices, item.sigma)
            if weight is None:
                break
            chain += weight
        wholes, chains, heavier = wholes + whole, chains + chain, heavier + (chain > whole)
    return [
        figure(f"{name}: heavier than the whole", 100 * heavier / rounds, "%", at_most=0.1),
        figure(f"{name}: weight of the whole", wholes / rounds, "tau"),
        figure(f"{name}: weight of the slices", chains / rounds, "tau"),
    ]


def _weight(rng: random.Random, taus: float, sigma: float) -> int | None:
    """Weight of a gain that is verified; None for one that is not."""
    scan = Scan(TRUSTED, TRUSTED.liars)
    pairs: list[Pair] = []
    for number in range(TRUSTED.cap_pairs):
        pairs.append(make_pair(number, number % 2, rng.gauss(taus, sigma)))
        scan.take(pairs[-1])
        crossed = scan.crossed()
        if crossed is not None:
            break
    verdict = conclude(pairs, TRUSTED, TRUSTED.liars)
    if verdict.status != "verified" or verdict.low_micro is None:
        return None
    return entry_weight(verdict.low_micro, TAU)
