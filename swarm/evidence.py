"""The e-process behind a verdict: how strongly pairs speak for a gain above zero.

Model: gains d_1, d_2, ... of pairs are independent normal with mean mu and standard deviation
sigma, both unknown. The e-process tests mu <= 0 against a standardised effect mu / sigma that is
half-normal, |N(0, 1/c)| with c = `EFFECT_PRECISION`. Both hypotheses get the right-Haar prior
d(sigma) / sigma, which makes the ratio of the two marginal likelihoods an e-process whatever sigma
is: a non-negative process whose chance of ever reaching 1/alpha is at most alpha when mu <= 0.

With n pairs, S their sum, V = sum of squares + n floor^2 and Q = V - S^2 / (n + c):

    e_n = 2 sqrt(c / (n + c)) (V / Q)^(n/2) T_n(S / sqrt(n + c) sqrt(n / Q))

where T_n is the distribution function of Student's t with n degrees of freedom: integrate the
effect out first (a Gaussian integral, which leaves a normal distribution function), then sigma (a
gamma integral, which turns it into Student's). Sources: T. L. Lai (1976), "On confidence
sequences"; M. Pérez-Ortiz, T. Lardy, R. de Heide, P. Grünwald (2022), "E-statistics, group
invariance and anytime valid testing"; H. Wang, A. Ramdas (2023), "Anytime-valid t-tests and
confidence sequences for Gaussian means with unknown variance". The derivation is repeated in
docs/adr/0001-verdict.md.

The same null hypothesis can be tested against an alternative in which some verifiers' pairs stand
apart: theirs come from N(b sigma, sigma^2) with b = 0, or with a wide b ~ N(0, 1/a) for each of
them, a = `APART_PRECISION`. Only Q and the factors change (`e_value_apart`); it is an e-process for
the same reason.

The floor is a scale below which differences are not credited with precision: on one machine the
same arithmetic noise can shift every pair by the same few millionths, and a scale learnt from them
alone would call that significant. It only ever adds to V, which can only lower e where S > 0; where
S <= 0, e stays below 1 either way, so the bound alpha is kept.

This file knows sums of integers. It refuses to know what a record or a verifier is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from math import prod
from typing import Final

from swarm.fixed_point import BITS, multiply, power, ratio, square_root, student_t_cdf

EFFECT_PRECISION: Final = (1, 10)
"""c = 1/10: effects of about three standard deviations are expected. Smaller values decide very
large effects a pair earlier and 2-sigma effects later; measured by `make bench-verdict`."""

APART_PRECISION: Final = (1, 20)
"""a = 1/20: a verifier that stands apart may do so by about four or five standard deviations."""

FLOOR_DIVISOR: Final = 8
"""The scale floor is tau / 8: noise an eighth of the smallest gain that matters costs nothing."""

EVIDENCE_CACHE_SIZE: Final = 1 << 16
"""E-values kept: a ledger asks for the same prefixes again each time a pair is added."""

COUNT_SEARCHED_MAX: Final = 64
"""Pairs up to which `pairs_min` looks: the largest cap that a policy may set."""


@dataclass(frozen=True, slots=True)
class Gains:
    """Sufficient statistics of some pairs' gains, in micro-units.

    Attributes:
        count: Number of pairs.
        total: Sum of the gains.
        squares: Sum of the squared gains.
    """

    count: int = 0
    total: int = 0
    squares: int = 0

    def plus(self, gain_micro: int) -> "Gains":
        """These pairs and one more."""
        return Gains(self.count + 1, self.total + gain_micro, self.squares + gain_micro**2)

    def __add__(self, other: "Gains") -> "Gains":
        return Gains(
            self.count + other.count, self.total + other.total, self.squares + other.squares
        )

    def above(self, micro: int) -> "Gains":
        """The statistics of `gain - micro`."""
        return Gains(
            self.count,
            self.total - self.count * micro,
            self.squares - 2 * micro * self.total + self.count * micro**2,
        )

    def below(self, micro: int) -> "Gains":
        """The statistics of `micro - gain`."""
        flipped = self.above(micro)
        return Gains(flipped.count, -flipped.total, flipped.squares)


def scale_floor_micro(tau_micro: int) -> int:
    """The scale floor that goes with the smallest gain that matters."""
    return max(1, tau_micro // FLOOR_DIVISOR)


def e_value(gains: Gains, floor_micro: int) -> int:
    """Evidence for a mean gain above zero, in fixed point; see the module's docstring.

    All of V / Q and Student's angle are ratios of integers, so the only roundings are the divisions
    and roots of `swarm.fixed_point`. No pairs are evidence 1.
    """
    if gains.count == 0:
        return 1 << BITS
    c_above, c_below = EFFECT_PRECISION
    n = gains.count
    weight = n * c_below + c_above  # (n + c) in units of 1 / c_below
    spread = (gains.squares + n * floor_micro**2) * weight  # V (n + c)
    explained = gains.total**2 * c_below  # S^2
    assert spread > explained, "the floor keeps the residual positive"
    likelihood = power(ratio(spread, spread - explained), n)  # (V / Q)^n
    mixture = square_root(likelihood * c_above // weight)
    tail = student_t_cdf(n, ratio(explained, spread), negative=gains.total < 0)
    return 2 * multiply(mixture, tail)


remembered_e_value: Final = lru_cache(maxsize=EVIDENCE_CACHE_SIZE)(e_value)
"""`e_value` for arguments that will be asked for again."""


@cache
def pairs_min(threshold: int) -> int:
    """Fewest pairs whose evidence can reach a threshold, however large and steady the gain is.

    With equal gains and no floor V / Q is (n + c) / c and Student's tail is below 1.
    """
    c_above, c_below = EFFECT_PRECISION
    for n in range(1, COUNT_SEARCHED_MAX):
        largest = ratio(n * c_below + c_above, c_above)
        bound = 2 * square_root(power(largest, n) * c_above // (n * c_below + c_above))
        if bound >= threshold:
            return n
    return COUNT_SEARCHED_MAX


def e_value_apart(
    gains: Gains, apart: Sequence[Gains], floor_micro: int, *, own_means: bool
) -> int:
    """Evidence for a mean gain above zero when some verifiers' pairs stand apart.

    Args:
        gains: The pairs of all other verifiers, at least one.
        apart: The pairs of each verifier that stands apart, at least one each.
        floor_micro: The scale floor.
        own_means: Whether each of them has a mean of its own; else theirs is zero.
    """
    c_above, c_below = EFFECT_PRECISION
    weight = gains.count * c_below + c_above
    together = sum(apart, gains)
    n = together.count
    # Everything is multiplied by all denominators, so that the ratios below are exact.
    scale = weight
    factor = ratio(c_above, weight)
    explained_apart = 0
    if own_means:
        a_above, a_below = APART_PRECISION
        weights = [item.count * a_below + a_above for item in apart]
        scale *= prod(weights)
        for item, own_weight in zip(apart, weights, strict=True):
            factor = factor * a_above // own_weight
            explained_apart += item.total**2 * a_below * (scale // own_weight)
    spread = (together.squares + n * floor_micro**2) * scale
    explained = gains.total**2 * c_below * (scale // weight)
    residual = spread - explained - explained_apart
    assert residual > 0, "the floor keeps the residual positive"
    likelihood = power(ratio(spread, residual), n)
    mixture = square_root(multiply(likelihood, factor))
    tail = student_t_cdf(n, ratio(explained, explained + residual), negative=gains.total < 0)
    return 2 * multiply(mixture, tail)
