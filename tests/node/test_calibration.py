"""Calibration: which runs are made, and what follows from them."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from node.calibration import CalibrationError, Plan, calibrate, conclude, harmless_edits
from node.cli.main import cli
from tests.trainer.tiny import write_task
from trainer.job import Outcome
from trainer.task import built_in_task

SCRIPT = "RATE = 0.5\nSIZE = 3\nLEARNING_RATE = 0.01\n"


def _ok(metric_micro: int, cpu_ms: int = 1_000) -> Outcome:
    return Outcome("ok", metric_micro, train_cpu_ms=cpu_ms, peak_memory_kib=5, wall_ms=7)


def test_edits_change_one_float_a_little() -> None:
    assert harmless_edits(SCRIPT, 3) == [
        SCRIPT.replace("0.01", repr(0.01 * 1.001)),
        SCRIPT.replace("0.5", repr(0.5 * 1.001)),
        SCRIPT.replace("0.01", repr(0.01 * 1.002)),
    ]
    assert harmless_edits("SIZE = 3\n", 3) == []
    assert len(set(harmless_edits(built_in_task().genesis_script("smoke"), 8))) == 8


async def test_every_planned_run_is_made_and_pairs_share_their_seed() -> None:
    made: list[tuple[str, int]] = []

    async def run(script: str, seed: int) -> Outcome:
        made.append((script, seed))
        edited = script != SCRIPT
        return _ok(3_000_000 + 10_000 * seed + (400 * seed if edited else 0))

    plan = Plan(seeds=3, edits=2, repeats=2)
    found = await calibrate(SCRIPT, plan, run, lambda parent, child: parent - child)
    assert len(made) == plan.runs == 11
    assert [seed for _, seed in made] == [1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 1]
    assert found.pairs == 6
    assert found.metric_micro == 3_020_000
    assert found.seed_sd_micro == 10_000
    # Gains of -400, -800, -1200, twice: much less noise than between seeds.
    assert found.pair_sd_micro == 358
    assert (found.machine_range_micro, found.tau_micro) == (0, 3_000)


async def test_a_script_that_does_not_run_is_told() -> None:
    async def run(_script: str, _seed: int) -> Outcome:
        return Outcome("crashed", reason="boom")

    with pytest.raises(CalibrationError, match="ended as crashed on seed 1: boom"):
        await calibrate(SCRIPT, Plan(2, 1, 1), run, lambda a, b: a - b)


def test_proposals_follow_the_noise() -> None:
    seeds = [_ok(1_000_000), _ok(1_040_000)]
    quiet = conclude(seeds, [10, -10], [_ok(5), _ok(5)])
    assert (quiet.tau_micro, quiet.cost_ratio_permille) == (8_000, 1_500)
    assert conclude([_ok(5), _ok(5)], [10, -10], [_ok(5), _ok(5)]).tau_micro == 100
    noisy = conclude(seeds, [60_000, -60_000], [_ok(5), _ok(5)])
    assert noisy.tau_micro == 50_000
    restless = conclude(seeds, [10, -10], [_ok(0, 1_000), _ok(3_000, 1_500)])
    assert restless.tau_micro == 9_000
    assert restless.cost_ratio_permille == 3_400
    without_edits = conclude(seeds, [], [_ok(5), _ok(5)])
    assert without_edits.pair_sd_micro == 40_000


@pytest.mark.sandbox
def test_the_command_measures_a_task(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path_factory.mktemp("calibrate")
    monkeypatch.setenv("XDG_CACHE_HOME", str(directory / "cache"))
    task = write_task(directory / "task")
    result = CliRunner().invoke(
        cli, ["calibrate", "--task", str(task), "--seeds", "2", "--repeats", "1", "--json"]
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["command"].endswith("--seeds 2 --edits 1 --repeats 1")
    assert found["machine_range_micro"] == 0
    assert found["pairs"] == 2
    assert found["tau_micro"] >= 100
    assert found["cpu_ms"] > 0
