"""The verdict in vectorised floating point, for simulations of many hypotheses with liars.

A mirror of `swarm.liars` for one case: seven verifiers, two liars, pairs dealt in turn. The real
code decides verdicts; this only makes tens of thousands of them affordable, and the benchmark
compares both on the same draws. Arrays are (hypotheses, verifiers) of counts, sums and sums of
squares.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt

from swarm.evidence import APART_PRECISION, EFFECT_PRECISION

Array = npt.NDArray[np.float64]

C: Final = EFFECT_PRECISION[0] / EFFECT_PRECISION[1]
A: Final = APART_PRECISION[0] / APART_PRECISION[1]
LIARS: Final = 2
VERIFIERS: Final = 7
LOG_GATE: Final = math.log(20)
SHARES: Final = (0.4, 0.2, 0.4)
_TINY: Final = 1e-300


def student_cdf(degrees: int, sine_squared: Array, negative: npt.NDArray[np.bool_]) -> Array:
    """See `swarm.fixed_point.student_t_cdf`."""
    sine, cosine_squared = np.sqrt(sine_squared), 1 - sine_squared
    cosine = np.sqrt(cosine_squared)
    term = np.ones_like(sine) if degrees % 2 == 0 else cosine
    total = term.copy()
    for before in range(degrees % 2 + 1, degrees - 2, 2):
        term = term * cosine_squared * before / (before + 1)
        total = total + term
    if degrees % 2 == 0:
        within = sine * total
    else:
        theta = np.arctan2(sine, cosine)
        within = (theta + sine * total if degrees > 1 else theta) / (math.pi / 2)
    within = np.minimum(within, 1)
    return np.asarray(np.where(negative, 1 - within, 1 + within) / 2, dtype=np.float64)


def log_e_value(
    count: int,
    total: Array,
    squares: Array,
    floor: float,
    apart: Sequence[tuple[int, Array]] = (),
    *,
    own_means: bool = False,
) -> Array:
    """See `swarm.evidence.e_value_apart`; `squares` are those of all pairs, `apart` included."""
    n = count + sum(number for number, _ in apart)
    spread = squares + n * floor**2
    explained = total**2 / (count + C)
    residual = spread - explained
    log_factor = math.log(C / (count + C))
    if own_means:
        for number, sums in apart:
            residual = residual - sums**2 / (number + A)
            log_factor += math.log(A / (number + A))
    tail = student_cdf(n, explained / (explained + residual), total < 0)
    log_tail = np.log(np.maximum(tail, _TINY))
    ratio = np.log(spread) - np.log(residual)
    return np.asarray(math.log(2) + log_factor / 2 + n / 2 * ratio + log_tail)


@dataclass(frozen=True)
class Sums:
    """Sums by verifier; verifiers with the same number of pairs may be in any order.

    Attributes:
        counts: Pairs of each verifier, the same for all hypotheses up to order.
        totals: Sums of gains.
        squares: Sums of squared gains.
    """

    counts: npt.NDArray[np.int64]
    totals: Array
    squares: Array

    def rows(self, rows: npt.NDArray[np.int64]) -> "Sums":
        """Some hypotheses only."""
        return Sums(self.counts, self.totals[rows], self.squares[rows])

    def below(self, micro: float) -> "Sums":
        """Sums of `micro - gain`."""
        return Sums(
            self.counts,
            self.counts * micro - self.totals,
            self.squares - 2 * micro * self.totals + self.counts * micro**2,
        )


def log_mixture(sums: Sums, kept: Sequence[int], floor: float) -> Array:
    """See `swarm.liars`: evidence of the verifiers that were not left out."""
    count = int(sums.counts[list(kept)].sum())
    total = sums.totals[:, kept].sum(1)
    squares = sums.squares[:, kept].sum(1)
    parts = [log_e_value(count, total, squares, floor) + math.log(SHARES[0])]
    for size in range(1, LIARS + 1):
        groups = list(combinations(kept, size))
        weight = math.log(SHARES[size] / math.comb(VERIFIERS - LIARS, size) / 2)
        for group in groups:
            apart = [(int(sums.counts[item]), sums.totals[:, item]) for item in group]
            rest_count = count - sum(number for number, _ in apart)
            rest_total = total - sums.totals[:, group].sum(1)
            rest_squares = squares - sums.squares[:, group].sum(1)
            alone = log_e_value(rest_count, rest_total, rest_squares, floor)
            for own_means in (False, True):
                value = log_e_value(
                    rest_count, rest_total, squares, floor, apart, own_means=own_means
                )
                gated = np.where(alone >= LOG_GATE, value, np.minimum(value, alone))
                parts.append(gated + weight)
    stacked = np.array(parts)
    top = stacked.max(0)
    return np.asarray(top + np.log(np.exp(stacked - top).sum(0)))


def shown(sums: Sums, floor: float, log_threshold: float) -> npt.NDArray[np.bool_]:
    """Which hypotheses show a gain after leaving out any two verifiers."""
    alive = np.arange(len(sums.totals))
    for left_out in combinations(range(VERIFIERS), LIARS):
        if not len(alive):
            break
        kept = [number for number in range(VERIFIERS) if number not in left_out]
        alive = alive[log_mixture(sums.rows(alive), kept, floor) >= log_threshold]
    result = np.zeros(len(sums.totals), dtype=bool)
    result[alive] = True
    return result


def doubted(sums: Sums, floor: float) -> npt.NDArray[np.bool_]:
    """Which hypotheses have evidence below one half whichever two verifiers are left out."""
    present = [number for number in range(VERIFIERS) if sums.counts[number]]
    alive = np.arange(len(sums.totals))
    for left_out in combinations(present, LIARS):
        kept = [number for number in present if number not in left_out]
        some = sums.rows(alive)
        value = log_e_value(
            int(sums.counts[kept].sum()),
            some.totals[:, kept].sum(1),
            some.squares[:, kept].sum(1),
            floor,
        )
        alive = alive[value < math.log(0.5)]
    result = np.zeros(len(sums.totals), dtype=bool)
    result[alive] = True
    return result


def decide(gains: Array, floor: float, tau: float, alpha: float) -> tuple[Array, Array]:
    """Scan hypotheses whose pairs arrive in canonical order.

    Args:
        gains: (hypotheses, verifiers, rounds), in micro-units.
        floor: The scale floor.
        tau: The smallest gain that matters.
        alpha: Error bound.

    Returns:
        For every hypothesis what it became (0 undecided, 1 verified, 2 refuted, 3 parked) and
        after how many pairs. Parked hypotheses get no more pairs.
    """
    count, verifiers, rounds = gains.shape
    status, pairs = np.zeros(count), np.full(count, float(verifiers * rounds))
    alive = np.arange(count)
    log_threshold = math.log(1 / alpha)
    for n in range(1, verifiers * rounds + 1):
        if not len(alive):
            break
        full, extra = divmod(n, verifiers)
        counts = np.array([full + (number < extra) for number in range(verifiers)])
        mask = np.arange(rounds)[None, :] < counts[:, None]
        seen = gains[alive] * mask
        sums = Sums(counts, seen.sum(2), (seen**2).sum(2))
        outcome = np.zeros(len(alive))
        if n >= VERIFIERS:  # With fewer, what is left after the exclusions is too little to cross.
            outcome[shown(_ordered(sums), floor, log_threshold)] = 1
            outcome[shown(_ordered(sums.below(tau)), floor, log_threshold)] = 2
        if n >= 4:
            outcome[(outcome == 0) & doubted(sums, floor)] = 3
        done = outcome > 0
        status[alive[done]], pairs[alive[done]] = outcome[done], n
        alive = alive[~done]
    return status, pairs


def _ordered(sums: Sums) -> Sums:
    """Sort verifiers with equally many pairs, strongest first.

    The first exclusion then decides most hypotheses; evidence does not depend on the order.
    """
    totals, squares = sums.totals.copy(), sums.squares.copy()
    for number in np.unique(sums.counts):
        columns = np.flatnonzero(sums.counts == number)
        order = np.argsort(-totals[:, columns], axis=1)
        totals[:, columns] = np.take_along_axis(totals[:, columns], order, 1)
        squares[:, columns] = np.take_along_axis(squares[:, columns], order, 1)
    return Sums(sums.counts, totals, squares)
