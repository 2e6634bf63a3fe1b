"""The simulator itself: a hundred seeds hold, a run replays exactly, and planted bugs are found."""

from dataclasses import replace

import pytest

from tests.sim.__main__ import main, report
from tests.sim.campaign import Summary, campaign, seeds_to_find
from tests.sim.plan import draw
from tests.sim.plants import PLANTS, planted
from tests.sim.run import run
from tests.sim.shrink import shrink, with_nodes

SEEDS = 100
SEEDS_TO_FIND_MAX = 150


@pytest.mark.timeout(600)
def test_a_hundred_swarms_keep_every_invariant() -> None:
    summary = campaign(range(SEEDS), large=False)
    lines: list[str] = []
    report(summary, lines.append)
    assert lines[-1] == "every invariant held", "\n".join(lines)
    assert summary.runs == SEEDS
    # The runs are about something: records, gains that were merged, and worthless ideas tested.
    assert summary.records > 50 * SEEDS
    assert summary.tally.good > SEEDS
    assert summary.tally.nulls > SEEDS // 4


def test_a_large_swarm_settles() -> None:
    plan = replace(with_nodes(draw(93), 50), bad_s=40.0)
    result = run(plan)
    assert not result.violation, result.detail
    assert result.depth >= 1


def test_a_seed_replays_to_the_last_event() -> None:
    runs = [run(draw(2), tracing=True) for _ in range(2)]
    assert runs[0] == runs[1]
    assert len(runs[0].trace) > 50
    assert run(draw(3)).events != runs[0].events


@pytest.mark.parametrize("name", ["low_threshold", "liars_trusted", "signatures_ignored"])
def test_without_its_bug_a_shaped_plan_holds(name: str) -> None:
    summary = Summary()
    for seed in range(6):
        summary.add(seed, run(PLANTS[name].shape(draw(seed))))
    assert not summary.failures
    assert not summary.excesses()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", PLANTS)
def test_planted_bugs_are_found(name: str) -> None:
    found = seeds_to_find(name, SEEDS_TO_FIND_MAX)
    assert found is not None, f"not found in {SEEDS_TO_FIND_MAX} seeds"
    assert found[1] in PLANTS[name].caught_by


def test_a_failure_is_reduced_to_a_small_plan() -> None:
    with planted("pairs_repeated"):
        plan = draw(0)
        violation = run(plan).violation
        assert violation
        small = shrink(plan, violation)
        assert run(small).violation == violation
    assert len(small.events) < max(1, len(plan.events))
    assert (small.nodes, small.bad_s) < (plan.nodes, plan.bad_s)
    assert not run(small).violation


def test_the_command_line_says_what_failed_and_how() -> None:
    lines: list[str] = []
    assert main(["--seed", "0", "--shrink", "--plant", "pairs_repeated"], lines.append) == 1
    text = "\n".join(lines)
    assert "still fails with" in text
    assert "VIOLATION honest voided" in text
    lines.clear()
    assert main(["--seed", "0", "--trace"], lines.append) == 0
    assert any("merges" in line for line in lines)
