"""Liars among the verifiers: they neither make evidence nor, when they stand apart, unmake it."""

import random
from dataclasses import replace

import pytest

from protocol.policy import LAB
from swarm.evidence import Gains
from swarm.fixed_point import ONE
from swarm.liars import Guard, evidence, is_doubted, leaving_out, lower_bound
from swarm.verdict import Pair, conclude
from tests.swarm.helpers import PARENT_MICRO, TAU, digest

GUARD = Guard(liars=2, verifiers_max=7, floor_micro=TAU // 8)


def deal(columns: list[list[int]]) -> list[Pair]:
    """Pairs of seven verifiers in canonical order, one column each."""
    return [
        Pair(
            trial=digest(f"{row} {number}"),
            verifier=digest(f"verifier {number}"),
            seat=digest(f"verifier {number}"),
            gain_micro=columns[number][row],
            failure=None,
            child_micro=PARENT_MICRO - columns[number][row],
            cost_permille=1_000,
        )
        for row in range(len(columns[0]))
        for number in range(len(columns))
    ]


def columns_of(seed: int, honest_mean: float, liar_mean: float | None) -> list[list[int]]:
    rng = random.Random(seed)
    columns = [[round(rng.gauss(honest_mean, TAU)) for _ in range(4)] for _ in range(7)]
    if liar_mean is not None:
        for number in rng.sample(range(7), 2):
            columns[number] = [round(rng.gauss(liar_mean, TAU)) for _ in range(4)]
    return columns


def statuses(honest_mean: float, liar_mean: float | None, runs: int) -> list[str]:
    return [
        conclude(deal(columns_of(seed, honest_mean, liar_mean)), LAB, LAB.liars).status
        for seed in range(runs)
    ]


@pytest.mark.parametrize("liar_mean", [2 * TAU, 5 * TAU, 1000 * TAU])
def test_two_liars_cannot_verify(liar_mean: float) -> None:
    assert "verified" not in statuses(0, liar_mean, 25)


@pytest.mark.parametrize("liar_mean", [-1000 * TAU, -20 * TAU, 0, 1000 * TAU])
def test_two_liars_cannot_stop_a_clear_gain(liar_mean: float) -> None:
    assert statuses(5 * TAU, liar_mean, 12).count("verified") >= 11


@pytest.mark.parametrize("liar_mean", [20 * TAU, 1000 * TAU])
def test_two_liars_cannot_stop_a_refutation(liar_mean: float) -> None:
    assert statuses(-5 * TAU, liar_mean, 6) == ["refuted"] * 6


def test_two_liars_cannot_refute_a_gain() -> None:
    assert "refuted" not in statuses(2 * TAU, -20 * TAU, 20)


def test_two_liars_cannot_park() -> None:
    columns = columns_of(5, 2 * TAU, -100 * TAU)
    for count in range(4, 9):
        assert conclude(deal(columns)[:count], LAB, 2).status != "parked"


def test_a_minimum_over_every_choice() -> None:
    by_verifier = [Gains().plus(number) for number in range(7)]
    kept = list(leaving_out(by_verifier, 2))
    assert len(kept) == 21
    assert len(set(kept)) == 21
    assert all(len(item) == 5 for item in kept)
    assert list(leaving_out(by_verifier[:2], 2)) == [()]


def test_outliers_alone_are_no_gain() -> None:
    # Three honest verifiers saw a rare failure, the rest saw nothing: the pairs are far from
    # normal, and that must not be taken for a gain.
    columns = [[100 * (number + 1), -150, 60, -120 * (number % 2)] for number in range(7)]
    for number in range(3):
        columns[number][1] = -60 * TAU
    sums = [sum((Gains().plus(value) for value in column), Gains()) for column in columns]
    assert evidence(sums, GUARD) < ONE


def test_nothing_is_evidence_one() -> None:
    assert evidence([], GUARD) == ONE
    assert not is_doubted([], GUARD, ONE // 2)
    assert lower_bound([], GUARD, 40 * ONE) is None


def test_the_interval_stands_against_liars() -> None:
    sums = [
        sum((Gains().plus(value) for value in column), Gains())
        for column in columns_of(3, 8 * TAU, -1000 * TAU)
    ]
    low = lower_bound(sums, GUARD, 40 * ONE)
    assert low is not None
    assert 0 < low < 8 * TAU


def test_a_voided_verifier_is_one_of_the_liars() -> None:
    columns = columns_of(8, 5 * TAU, None)[:6]
    pairs = [
        replace(item, verifier=digest(f"verifier {index % 6}"))
        for index, item in enumerate(deal(columns))
    ]
    assert conclude(pairs, LAB, 1).decided_at < conclude(pairs, LAB, 2).decided_at
