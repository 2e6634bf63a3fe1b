"""Calibration: which runs are made, and what follows from them."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from node.calibration import CalibrationError, Plan, calibrate, conclude
from node.cli.main import cli
from node.harmless import harmless_edits
from protocol.sources import join_files
from tests.trainer.tiny import write_task
from trainer.job import Outcome
from trainer.task import built_in_task

SCRIPT = built_in_task().genesis_script("smoke")


def _ok(metric_micro: int, cpu_ms: int = 1_000) -> Outcome:
    return Outcome("ok", metric_micro, train_cpu_ms=cpu_ms, peak_memory_kib=5, wall_ms=7)


async def test_every_planned_run_is_made_and_pairs_share_their_seed() -> None:
    made: list[tuple[str, int]] = []
    edits = [edit.script for edit in harmless_edits(SCRIPT)[:2]]

    async def run(script: str, seed: int) -> Outcome:
        made.append((script, seed))
        gain = {SCRIPT: 0, edits[0]: 400, edits[1]: 40}[script] * seed
        return _ok(3_000_000 + 10_000 * seed - gain)

    plan = Plan(seeds=3, edits=2, repeats=2)
    found = await calibrate(SCRIPT, plan, run, lambda parent, child: parent - child)
    assert len(made) == plan.runs == 11
    assert sorted(made[:9]) == sorted((text, n) for text in (SCRIPT, *edits) for n in (1, 2, 3))
    assert made[9:] == [(SCRIPT, 1), (SCRIPT, 1)]
    assert found.pairs == 6
    assert found.metric_micro == 3_020_000
    assert found.seed_sd_micro == 10_000
    # Gains of 400, 800 and 1200 by one kind, a tenth of that by the other: the noisier one counts.
    assert found.kinds_sd_micro == {"rename": 400, "draws": 40}
    assert found.pair_sd_micro == 400
    assert (found.machine_range_micro, found.tau_micro) == (0, 200)


async def test_a_script_that_does_not_run_is_told() -> None:
    async def run(_script: str, _seed: int) -> Outcome:
        return Outcome("crashed", reason="boom")

    with pytest.raises(CalibrationError, match="ended as crashed on seed 1: boom"):
        await calibrate(SCRIPT, Plan(2, 1, 1), run, lambda a, b: a - b)


def test_proposals_follow_the_noise() -> None:
    seeds = [_ok(1_000_000), _ok(1_040_000)]
    few = {"sums": [10, -10]}
    quiet = conclude(seeds, few, [_ok(5), _ok(5)])
    assert (quiet.tau_micro, quiet.cost_ratio_permille) == (100, 1_500)
    noisy = conclude(seeds, few | {"draws": [24_000, -24_000]}, [_ok(5), _ok(5)])
    assert noisy.tau_micro == 20_000
    restless = conclude(seeds, few, [_ok(0, 1_000), _ok(3_000, 1_500)])
    assert restless.tau_micro == 10_000
    assert restless.cost_ratio_permille == 3_400
    without_edits = conclude(seeds, {}, [_ok(5), _ok(5)])
    assert (without_edits.pair_sd_micro, without_edits.tau_micro) == (40_000, 20_000)


@pytest.mark.parametrize(
    ("sd", "tau"), [(200, 100), (202, 200), (2_001, 2_000), (4_100, 5_000), (11_000, 10_000)]
)
def test_tau_is_a_round_number(sd: int, tau: int) -> None:
    # Two gains d and -d have a standard deviation of d times the root of two.
    half = round(sd / 2**0.5)
    same = [_ok(5), _ok(5)]
    assert conclude(same, {"draws": [half, -half]}, same).tau_micro == tau


@pytest.mark.sandbox
def test_the_command_measures_a_task(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path_factory.mktemp("calibrate")
    monkeypatch.setenv("XDG_CACHE_HOME", str(directory / "cache"))
    task = write_task(directory / "task")
    script = directory / "head.py"
    text = (task / "train.py").read_text()
    assert "LEARNING_RATE = 0.01" in text
    script.write_text(text.replace("LEARNING_RATE = 0.01", "LEARNING_RATE = 0.0"))
    result = CliRunner().invoke(
        cli,
        ["calibrate", "--task", str(task), "--seeds", "2", "--repeats", "1", "--json",
         "--script", str(script)],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["command"].endswith(f"--seeds 2 --edits 3 --repeats 1 --script {script}")
    assert found["machine_range_micro"] == 0
    assert found["pairs"] == 2 * 3
    assert set(found["kinds_sd_micro"]) == {"rename", "draws", "sums"}
    assert found["tau_micro"] >= 100
    assert found["cpu_ms"] > 0
    # What learns nothing costs eight bits a byte: it was that script.
    assert found["metric_micro"] > 7_900_000


async def test_what_is_no_script_has_no_edits_that_mean_nothing() -> None:
    ran: set[str] = set()

    async def run(source: str, seed: int) -> Outcome:
        ran.add(source)
        return Outcome("ok", 20_000 + seed, train_cpu_ms=100, peak_memory_kib=1_000)

    source = join_files({"page.toml": "x = 1\n"})
    found = await calibrate(source, Plan(seeds=3, edits=3, repeats=1), run, lambda a, b: b - a)
    assert ran == {source}
    assert found.pairs == 0
