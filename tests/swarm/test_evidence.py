"""The e-process: against direct integration of its definition, and its bound by simulation."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.evidence import (
    APART_PRECISION,
    EFFECT_PRECISION,
    Gains,
    e_value,
    e_value_apart,
    pairs_min,
    scale_floor_micro,
)
from swarm.fixed_point import ONE

C = EFFECT_PRECISION[0] / EFFECT_PRECISION[1]
A = APART_PRECISION[0] / APART_PRECISION[1]


def gains_of(values: list[int]) -> Gains:
    total = Gains()
    for value in values:
        total = total.plus(value)
    return total


def log_sigma_grid(squares: float, count: int) -> np.ndarray:
    centre = math.log(math.sqrt(squares / count))
    return np.linspace(centre - 11, centre + 11, 1501)


def integrate_over_sigma(log_density: np.ndarray, log_sigma: np.ndarray) -> float:
    """Log of the integral of a density over d(sigma) / sigma."""
    top = float(log_density.max())
    return top + math.log(float(np.trapezoid(np.exp(log_density - top), log_sigma)))


def log_evidence_by_definition(values: list[int], floor: int) -> float:
    """Marginal likelihood ratio by quadrature over the effect and over log sigma."""
    n, total = len(values), float(sum(values))
    squares = float(sum(value * value for value in values) + n * floor * floor)
    log_sigma = log_sigma_grid(squares, n)
    sigma = np.exp(log_sigma)[:, None]
    null = -n * log_sigma - squares / (2 * sigma[:, 0] ** 2)
    effect = np.linspace(0, 25, 4001)[None, :]
    log_likelihood = -n * np.log(sigma) - squares / (2 * sigma**2)
    log_likelihood = log_likelihood + effect * total / sigma - n * effect**2 / 2
    log_prior = math.log(2) + 0.5 * math.log(C / (2 * math.pi)) - C * effect**2 / 2
    joint = log_likelihood + log_prior
    top = joint.max(axis=1, keepdims=True)
    inner = top[:, 0] + np.log(np.trapezoid(np.exp(joint - top), effect[0], axis=1))
    return integrate_over_sigma(inner, log_sigma) - integrate_over_sigma(null, log_sigma)


@pytest.mark.parametrize(
    "values",
    [
        [15_000],
        [-4_000, 9_000],
        [20_000, 24_000, 15_000],
        [-20_000, -24_000, -15_000, 2_000],
        [30_000, 31_000, 29_500, 30_200, 30_900],
        [1_000, -3_000, 8_000, 4_000, 9_000, -2_000, 7_000, 12_000],
    ],
)
def test_closed_form_is_the_integral(values: list[int]) -> None:
    floor = scale_floor_micro(10_000)
    expected = log_evidence_by_definition(values, floor)
    assert math.log(e_value(gains_of(values), floor) / ONE) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("own_means", [False, True])
def test_closed_form_with_verifiers_apart_is_the_integral(own_means: bool) -> None:
    floor = 1_250
    rest = [21_000, 17_000, 26_000, 18_000]
    apart = [[-30_000, -28_000], [3_000, 500, -2_000]]
    n = len(rest) + sum(len(values) for values in apart)
    squares = float(sum(v * v for values in (rest, *apart) for v in values) + n * floor**2)
    log_sigma = log_sigma_grid(squares, n)
    sigma = np.exp(log_sigma)
    null = -n * log_sigma - squares / (2 * sigma**2)
    effect = np.linspace(0, 50, 1601)[:, None]

    def integrated(total: float, count: int, precision: float, one_sided: bool) -> np.ndarray:
        grid = effect if one_sided else np.concatenate([-effect[:0:-1], effect])
        factor = math.log(2) if one_sided else 0.0
        log_prior = factor + 0.5 * math.log(precision / (2 * math.pi)) - precision * grid**2 / 2
        joint = grid * total / sigma - count * grid**2 / 2 + log_prior
        top = joint.max(axis=0)
        return np.asarray(top + np.log(np.trapezoid(np.exp(joint - top), grid[:, 0], axis=0)))

    alternative = null + integrated(float(sum(rest)), len(rest), C, one_sided=True)
    if own_means:
        for values in apart:
            alternative = alternative + integrated(float(sum(values)), len(values), A, False)
    expected = integrate_over_sigma(alternative, log_sigma) - integrate_over_sigma(null, log_sigma)
    value = e_value_apart(
        gains_of(rest), [gains_of(values) for values in apart], floor, own_means=own_means
    )
    assert math.log(value / ONE) == pytest.approx(expected, abs=2e-4)


@given(st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=24), st.integers(1, 10**5))
def test_a_larger_floor_never_helps_a_gain(values: list[int], floor: int) -> None:
    gains = gains_of(values)
    value = e_value(gains, floor)
    if gains.total > 0:
        assert e_value(gains, 2 * floor) <= value + 1
    else:
        assert value < ONE


@given(
    st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=24),
    st.integers(-(10**6), 10**6),
    st.integers(1, 10**6),
)
def test_evidence_falls_as_the_tested_gain_rises(values: list[int], micro: int, step: int) -> None:
    gains = gains_of(values)
    assert e_value(gains.above(micro + step), 1_000) <= e_value(gains.above(micro), 1_000) + 1


@given(st.lists(st.integers(-(10**9), 10**9), max_size=20), st.integers(-(10**9), 10**9))
def test_shifted_statistics_are_those_of_shifted_gains(values: list[int], micro: int) -> None:
    assert gains_of(values).above(micro) == gains_of([value - micro for value in values])
    assert gains_of(values).below(micro) == gains_of([micro - value for value in values])


def test_fewest_pairs_that_can_reach_a_threshold() -> None:
    for threshold in (ONE, 40 * ONE, 1_000 * ONE, 10**6 * ONE):
        fewest = pairs_min(threshold)
        for count, reaches in ((fewest, True), (fewest - 1, False)):
            steady = gains_of([10**12] * count)
            assert (e_value(steady, 1) >= threshold) == reaches or count == 0


def test_values_are_pinned_to_the_bit() -> None:
    # Changing a bit changes verdicts: nodes of two versions would disagree about the head.
    value = e_value(gains_of([20_000, 24_000, 15_000, 9_000, 31_000]), 1_250)
    assert value >> 448 == PINNED_HIGH
    assert value % (1 << 64) == PINNED_LOW


PINNED_HIGH = 0x2238E469F51B699C5A
PINNED_LOW = 0xBEA1F605F4DE34D2


def test_the_bound_holds_by_simulation() -> None:
    rng = random.Random(11)
    crossed = 0
    runs = 600
    for _ in range(runs):
        gains = Gains()
        for _ in range(16):
            gains = gains.plus(round(rng.gauss(0, 10_000)))
            if e_value(gains, 1_250) >= 20 * ONE:
                crossed += 1
                break
    assert crossed / runs <= 1 / 20
    assert crossed > 0
