"""Verdicts over pairs: every boundary, their order, and the effect of the policy."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.policy import DEMO
from protocol.records import Status
from swarm.evidence import Gains
from swarm.liars import Guard, lower_bound
from swarm.verdict import Pair, Verdict, conclude
from tests.swarm.helpers import PARENT_MICRO, TAU, digest

POLICY = replace(DEMO, cap_pairs=24)
TRUSTED = Guard(0, 3, TAU // 8)


def pair(
    index: int,
    gain_micro: int | None,
    *,
    verifiers: int = 2,
    failure: Status | None = None,
    cost_permille: int | None = 1_000,
) -> Pair:
    """The pair at a place in the canonical order, dealt to the verifiers in turn."""
    return Pair(
        trial=digest(f"trial {index}"),
        verifier=digest(f"verifier {index % verifiers}"),
        seat=digest(f"verifier {index % verifiers}"),
        gain_micro=gain_micro,
        failure=failure,
        child_micro=None if gain_micro is None else PARENT_MICRO - gain_micro,
        cost_permille=cost_permille,
    )


def pairs_of(gains_micro: list[int], verifiers: int = 2) -> list[Pair]:
    return [pair(index, gain, verifiers=verifiers) for index, gain in enumerate(gains_micro)]


def normal(seed: int, mean: float, count: int, sigma: float = TAU) -> list[int]:
    rng = random.Random(seed)
    return [round(rng.gauss(mean, sigma)) for _ in range(count)]


def judged(gains_micro: list[int], verifiers: int = 2) -> Verdict:
    return conclude(pairs_of(gains_micro, verifiers), POLICY, 0)


def test_nothing_is_undecided() -> None:
    verdict = conclude([], POLICY, 0)
    assert (verdict.status, verdict.pairs, verdict.gain_micro) == ("undecided", 0, None)
    assert (verdict.low_micro, verdict.high_micro) == (None, None)
    assert verdict.evidence_milli == 1_000


def test_a_large_gain_is_verified_by_five_pairs() -> None:
    verdict = judged(normal(1, 40 * TAU, 24))
    assert verdict.status == "verified"
    assert verdict.decided_at == 5
    assert verdict.low_micro is not None
    assert verdict.high_micro is not None
    assert verdict.gain_micro is not None
    assert 0 < verdict.low_micro < verdict.gain_micro < verdict.high_micro
    assert verdict.metric_micro == pytest.approx(PARENT_MICRO - verdict.gain_micro, abs=1)
    assert verdict.evidence_milli >= 10**6


def test_the_first_crossing_stands_whatever_follows() -> None:
    crossing = normal(1, 40 * TAU, 5)
    before = judged(crossing)
    assert judged(crossing + [-(10**9)] * 19) == before


def test_a_gain_far_below_tau_is_refuted() -> None:
    verdict = judged([TAU // 50 + index % 3 for index in range(12)])
    assert verdict.status == "refuted"
    assert verdict.reason == "the gain is below the smallest that matters"


def test_a_gain_of_exactly_nothing_is_never_verified() -> None:
    # Identical scripts: every pair has gain zero. The scale floor stands in for their noise.
    assert judged([0] * 24).status == "refuted"


def test_a_steady_shift_far_below_tau_is_no_gain() -> None:
    # The same rounding noise on one machine can shift every pair alike.
    assert judged([TAU // 100] * 24).status == "refuted"


def test_losses_are_parked_and_resumed() -> None:
    losing = [-2_000, -15_000, 3_000, -9_000]
    assert judged(losing).status == "parked"
    assert judged(losing[:3]).status == "undecided"
    resumed = judged(losing + normal(3, 8 * TAU, 12))
    assert resumed.status == "verified"


def test_one_verifier_is_not_enough() -> None:
    gains = normal(1, 40 * TAU, 8)
    alone = judged(gains, verifiers=1)
    assert alone.status == "undecided"
    assert alone.awaits_verifiers
    assert judged(gains, verifiers=2).status == "verified"
    assert not judged(gains[:3], verifiers=1).awaits_verifiers


@pytest.mark.parametrize("status", ["crashed", "diverged", "timeout", "oom", "invalid"])
def test_a_failing_child_is_refuted_by_more_than_the_liars(status: Status) -> None:
    gains = pairs_of(normal(1, 5 * TAU, 6), verifiers=7)
    one = [*gains[:2], pair(2, None, verifiers=7, failure=status)]
    assert conclude(one, POLICY, 0).status == "refuted"
    assert status in conclude(one, POLICY, 0).reason
    assert conclude(one, POLICY, 1).status == "undecided"
    two = [*one, pair(3, None, verifiers=7, failure=status)]
    assert conclude(two, POLICY, 1).status == "refuted"
    again = [*one, pair(9, None, verifiers=7, failure=status)]
    assert conclude(again, POLICY, 1).status == "undecided", "one verifier twice is one verifier"


def test_a_failing_parent_says_nothing() -> None:
    broken = replace(pair(0, None), child_micro=PARENT_MICRO, cost_permille=None)
    verdict = conclude([broken] * 4, POLICY, 0)
    assert (verdict.status, verdict.pairs, verdict.decided_at) == ("undecided", 0, 4)


def test_gains_a_little_fails_badly() -> None:
    gains = [TAU, 2 * TAU, TAU, 2 * TAU, -50 * TAU]
    assert judged(gains).reason == "it fails badly on some seeds"
    liars_around = conclude(pairs_of(gains, verifiers=7), POLICY, 1)
    assert liars_around.status != "refuted", "one verifier's loss may be a lie"


def test_a_loss_within_the_noise_is_no_failure() -> None:
    assert judged([5 * TAU, -6 * TAU, 7 * TAU, -5 * TAU]).status == "parked"


def test_cost_is_the_median_verifiers() -> None:
    limit = POLICY.cost_ratio_permille
    gains = normal(1, 40 * TAU, 6)
    costly = [replace(item, cost_permille=limit + 1) for item in pairs_of(gains, verifiers=3)]
    assert conclude(costly, POLICY, 0).reason == "it costs more than the policy allows"
    one_says_so = [
        replace(item, cost_permille=10 * limit if index % 3 == 0 else limit)
        for index, item in enumerate(pairs_of(gains, verifiers=3))
    ]
    assert conclude(one_says_so, POLICY, 0).status == "verified"
    unmeasured = [replace(item, cost_permille=None) for item in pairs_of(gains)]
    assert conclude(unmeasured, POLICY, 0).status == "verified"


def test_the_cap_ends_it() -> None:
    policy = replace(DEMO, cap_pairs=4)
    verdict = conclude(pairs_of([TAU, 4 * TAU, -TAU, 3 * TAU]), policy, 0)
    assert (verdict.status, verdict.reason) == (
        "undecided",
        "the pairs that may count are used up",
    )


def test_a_loss_as_steady_as_a_gain_is_refuted() -> None:
    gains = normal(4, 5 * TAU, 12)
    assert judged(gains).status == "verified"
    assert judged([-gain for gain in gains]).status == "refuted"


@given(st.lists(st.integers(-(10**7), 10**7), min_size=3, max_size=16))
def test_the_interval_holds_the_mean(gains_micro: list[int]) -> None:
    verdict = judged(gains_micro)
    assert verdict.gain_micro is not None
    if verdict.low_micro is not None:
        assert verdict.low_micro <= verdict.gain_micro
    if verdict.high_micro is not None:
        assert verdict.gain_micro <= verdict.high_micro


@given(
    st.lists(st.integers(-(10**6), 10**6), min_size=6, max_size=12), st.integers(-(10**6), 10**6)
)
def test_the_lower_bound_moves_with_the_gains(values: list[int], shift: int) -> None:
    gains = sum((Gains().plus(value) for value in values), Gains())
    moved = sum((Gains().plus(value + shift) for value in values), Gains())
    low, moved_low = (lower_bound([item], TRUSTED, 40 << 512) for item in (gains, moved))
    assert low is not None
    assert moved_low == low + shift


def test_coverage_of_the_interval() -> None:
    inside = 0
    for seed in range(200):
        verdict = conclude(pairs_of(normal(seed, 2 * TAU, 12)), POLICY, 0)
        assert verdict.low_micro is not None
        assert verdict.high_micro is not None
        inside += verdict.low_micro <= 2 * TAU <= verdict.high_micro
    assert inside >= 190
