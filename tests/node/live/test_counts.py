"""Counting real answers: who counts when, where visitors are sent, and the paired difference."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from node.errors import NodeError, UsageError
from node.live.counts import BLOCK_VISITS, EVEN_SHARE, PATIENCE_MS, Counts, paired_difference

if TYPE_CHECKING:
    from pathlib import Path

ARMS = {"baseline": b"1" * 32, "other": b"2" * 32}


def token(number: int) -> bytes:
    return number.to_bytes(16, "big")


def simulate(counts: Counts, rates: dict[str, float], visits: int, seed: int = 1) -> dict[str, int]:
    """Lets visitors come, one each ten seconds; returns how many each arm got."""
    rng = random.Random(seed)
    given = dict.fromkeys(rates, 0)
    for number in range(visits):
        now_ms = 10_000 * number
        arm = counts.begin(token(number), now_ms, rng)
        assert arm is not None
        given[arm] += 1
        if rng.random() < rates[arm]:
            assert counts.answer(token(number), now_ms + 5_000)
    return given


def test_a_visit_counts_once_and_only_when_it_is_old_enough(tmp_path: Path) -> None:
    counts = Counts(tmp_path / "c.sqlite", ARMS)
    arm = counts.begin(token(1), 0, random.Random(1))
    assert arm is not None
    assert counts.arm_of(token(1)) == arm
    assert counts.answer(token(1), 1_000)
    assert counts.answer(token(1), 2_000)
    assert not counts.answer(token(2), 1_000)
    young = next(item for item in counts.report(PATIENCE_MS - 1) if item.name == arm)
    assert (young.visits, young.waiting, young.responses, young.rate) == (0, 1, 0, None)
    old = next(item for item in counts.report(PATIENCE_MS) if item.name == arm)
    assert (old.visits, old.waiting, old.responses, old.rate) == (1, 0, 1, 1.0)


def test_counts_outlive_the_process_and_belong_to_their_arms(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    first = Counts(path, ARMS)
    simulate(first, {"baseline": 0.2, "other": 0.3}, 60)
    before = first.report(10**9)
    first.close()
    assert Counts(path, ARMS).report(10**9) == before
    assert Counts(path).report(10**9) == before
    with pytest.raises(UsageError, match="counts other variants"):
        Counts(path, {**ARMS, "other": b"3" * 32})
    with pytest.raises(UsageError, match="counts other variants"):
        Counts(path, dict(reversed(ARMS.items())))
    (tmp_path / "text").write_text("no database, but long enough to be told apart from one" * 20)
    with pytest.raises(NodeError, match="cannot use"):
        Counts(tmp_path / "text", ARMS)


def test_visitors_are_sent_where_more_of_them_say_yes(tmp_path: Path) -> None:
    counts = Counts(tmp_path / "c.sqlite", ARMS, patience_ms=60_000)
    given = simulate(counts, {"baseline": 0.05, "other": 0.25}, 800)
    assert given["other"] > 4 * given["baseline"]
    # The loser is never without fresh visits.
    assert given["baseline"] > 800 * EVEN_SHARE / 4
    baseline, other = counts.report(10**9)
    assert baseline.gain is None
    assert other.gain is not None
    assert other.error is not None
    assert other.gain - 2 * other.error > 0
    assert abs(other.gain - 0.2) < 3 * other.error
    assert other.blocks == 800 // BLOCK_VISITS


def test_of_equal_arms_neither_gains(tmp_path: Path) -> None:
    counts = Counts(tmp_path / "c.sqlite", ARMS, patience_ms=60_000)
    simulate(counts, {"baseline": 0.2, "other": 0.2}, 400, seed=3)
    _, other = counts.report(10**9)
    assert other.gain is not None
    assert other.error is not None
    assert abs(other.gain) < 3 * other.error


def test_hours_that_differ_do_not_pass_for_a_difference_of_arms() -> None:
    # A good hour in which the baseline got nearly all, a bad one in which the arm did.
    blocks = [[(90, 45), (10, 5)], [(10, 1), (90, 9)]]
    gain, error, count = paired_difference(blocks)
    assert gain == pytest.approx(0.0)
    assert error is not None
    assert error > 0
    assert count == 2
    # Pooled over both hours the arm would have seemed far worse.
    assert 14 / 100 < 46 / 100
    assert paired_difference([]) == (None, None, 0)
