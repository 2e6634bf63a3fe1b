"""Reported tasks: an autoresearch repository, imported, checked, run in the sandbox and founded."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
import trio
from click.testing import CliRunner

from node.cli.main import cli
from node.founding import SWARM_SETTING, load_genesis
from node.home import Home
from node.runner import Runner
from node.runner_data import run_data, wanted
from node.runner_launch import stage_code
from node.sandbox import select_sandbox
from node.store import RecordStore
from protocol.records import Genesis
from tests.trainer.contract import TRAIN, write_repository
from trainer.data import cached
from trainer.importing import Import, import_task
from trainer.task import Task, load_task

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trainer.job import Outcome

pytestmark = pytest.mark.sandbox


class Imported:
    """The imported repository with a runner of its own."""

    def __init__(self, directory: Path) -> None:
        self.repository = write_repository(directory)
        import_task(
            self.repository, Import(name="research", device="cpu", cache=directory / "cache")
        )
        self.task: Task = load_task(self.repository)
        files = {
            name: cached(directory / "blobs", self.repository, self.task.pins[name])
            for name in wanted(self.task)
        }
        data = run_data(self.task, files, directory / "stage")
        self.runner = Runner(
            select_sandbox(),
            code=stage_code(directory / "stage", data.workspace),
            train=directory / "nothing",
            validation=data.scored(),
            slots=1,
            random_seed=lambda: 4,
        )
        (directory / "nothing").touch()

    def run(self, script: str, seed: int = 1, **limits: Any) -> Outcome:
        job = self.task.job("standard", script, seed)
        job = dataclasses.replace(job, limits=dataclasses.replace(job.limits, **limits))
        return trio.run(self.runner.run, job)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Imported]:
    imported = Imported(tmp_path_factory.mktemp("reported"))
    yield imported

    async def close() -> None:
        imported.runner.close()

    trio.run(close)


def test_an_imported_task_says_what_the_repository_does(imported: Imported) -> None:
    task = imported.task
    assert (task.name, task.scorer, task.editable) == ("research", "reported", ("train.py",))
    assert task.manifest.run == ("train.py",)
    assert set(task.files) == {"task.toml", "train.py", "prepare.py", "program.md"}
    tier = task.tiers["standard"]
    assert (tier.budget.kind, tier.budget.amount, tier.device) == ("seconds", 1, "cpu")
    assert (task.metric.name, task.metric.direction) == ("val_bpb", "min")
    assert sorted(pin.path for pin in task.pins.values()) == [
        ".cache/autoresearch/data/train.txt",
        ".cache/autoresearch/data/val.txt",
    ]


def test_its_last_line_is_the_metric(imported: Imported) -> None:
    outcome = imported.run(TRAIN)
    assert outcome.status == "ok", outcome
    assert outcome.metric_micro is not None
    assert 1_000_000 < outcome.metric_micro < 4_000_000
    assert f"val_bpb:          {outcome.metric_micro / 1e6:.6f}" in outcome.log_tail
    assert 0 < outcome.train_cpu_ms < 60_000
    assert outcome.score_cpu_ms == 0


def test_a_seed_of_its_own_is_mixed_with_the_runs(imported: Imported) -> None:
    script = TRAIN.replace("time.time() - started < TIME_BUDGET and steps", "steps")
    one, again, other = (imported.run(script, seed).metric_micro for seed in (1, 1, 2))
    assert one == again
    assert one != other


@pytest.mark.parametrize(
    ("script", "status", "reason"),
    [
        ("print('nothing')", "invalid", "printed no line `val_bpb: value`"),
        ("print('val_bpb: 1.0\\nval_bpb: nan')", "invalid", "printed no line"),
        ("raise SystemExit(3)", "crashed", "ended with exit code 3"),
        ("print('val_bpb: 1')\n1 / 0", "crashed", "division by zero (train.py line 2)"),
        ("open('x', 'w')", "crashed", "Error"),
        ("import socket; socket.socket()", "crashed", "Error"),
    ],
)
def test_a_program_that_fails_is_an_outcome(
    imported: Imported, script: str, status: str, reason: str
) -> None:
    outcome = imported.run(script)
    assert outcome.status == status, outcome
    assert reason in outcome.reason
    assert outcome.metric_micro is None


def test_a_program_that_overstays_its_seconds_is_stopped(imported: Imported) -> None:
    assert imported.task.job("standard", TRAIN, 1).train_wall_s == 422
    outcome = imported.run("while True: pass", train_wall_s=1.0)
    assert outcome.status == "timeout"


def test_a_swarm_can_be_founded_on_it(imported: Imported, tmp_path: Path) -> None:
    checked = CliRunner().invoke(cli, ["task", "check", str(imported.repository)])
    assert checked.exit_code in {0, None}, checked.output
    assert "what holds is called reproduced" in checked.output
    result = CliRunner().invoke(
        cli,
        ["init", "--home", str(tmp_path / "home"), "--task", str(imported.repository),
         "--tier", "standard"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    store = RecordStore(Home(tmp_path / "home").database)
    try:
        assert store.setting(SWARM_SETTING) is not None
        genesis = load_genesis(store)
    finally:
        store.close()
    assert genesis is not None
    assert isinstance(genesis.body, Genesis)
    assert genesis.body.task.scorer == "reported"
    assert {item.name for item in genesis.body.data} == {"file-0", "file-1"}
