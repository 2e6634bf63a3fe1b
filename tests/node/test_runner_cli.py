"""`swarm-node run-task`: one number on stdout, everything else on stderr, honest exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.node.runner_support import HEAD
from tests.trainer.tiny import write_task

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_task(tmp_path_factory.mktemp("cli") / "task")


def _start(task: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "node", "run-task", *arguments],
        env=os.environ | {"XDG_CACHE_HOME": str(task.parent / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _run(task: Path, *arguments: str) -> tuple[int, str, str]:
    process = _start(task, *arguments)
    out, err = process.communicate(timeout=200)
    return process.returncode, out, err


def test_it_prints_the_same_number_each_time(task: Path) -> None:
    code, out, err = _run(task, str(task), "--seed", "3")
    assert (code, out.count("\n")) == (0, 1), err
    assert out.startswith("val_bpb: ")
    assert len(out.strip().partition(".")[2]) == 6
    assert [line.split()[0] for line in err.splitlines()] == ["start", "train", "score", "audit"]

    code, report, _ = _run(task, str(task), "--seed", "3", "--json")
    values = json.loads(report)
    assert code == 0
    assert out == f"val_bpb: {values['value']}\n"
    assert (values["status"], values["tier"], values["seed"]) == ("ok", "smoke", 3)
    assert values["metric_micro"] == round(float(values["value"]) * 1e6)


def test_a_script_that_crashes_is_exit_code_1(task: Path) -> None:
    script = task.parent / "crash.py"
    script.write_text(HEAD + "\nraise RuntimeError('broken on purpose')\n")
    code, out, err = _run(task, str(script))
    assert (code, out) == (1, "")
    assert "crashed: RuntimeError: broken on purpose (train.py line 32)" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "does not exist"),
        (["TASK", "--tier", "huge"], "has no tier 'huge'; it has smoke, tokens"),
        (["TASK", "--seed", "-1"], "-1 is not in the range"),
    ],
)
def test_wrong_usage_is_exit_code_2(task: Path, arguments: list[str], message: str) -> None:
    code, out, err = _run(task, *(str(task) if a == "TASK" else a for a in arguments))
    assert (code, out) == (2, "")
    assert message in err


def test_a_broken_task_is_exit_code_1_with_key_and_line(task: Path, tmp_path: Path) -> None:
    broken = write_task(tmp_path)
    manifest = broken / "task.toml"
    manifest.write_text(manifest.read_text().replace("windows = 48", "windows = 0", 1))
    code, out, err = _run(task, str(broken))
    assert (code, out) == (1, "")
    assert "windows must be an integer from 1 to 65536 (line 36)" in err


def test_an_interrupt_ends_it_in_order(task: Path) -> None:
    script = task.parent / "hang.py"
    script.write_text("import time; time.sleep(1000)")
    process = _start(task, str(script))
    assert process.stderr is not None
    assert process.stdout is not None
    with process.stderr, process.stdout:
        assert process.stderr.readline().startswith("start")
        process.send_signal(signal.SIGINT)
        err = process.stderr.read()
    assert process.wait(timeout=60) == 130
    assert "interrupted" in err
    assert "Traceback" not in err


def test_the_smoke_tier_of_the_built_in_task(task: Path) -> None:
    """The baseline that everything is compared with; kernels differ in the fourth digit."""
    from trainer.task import built_in_directory

    code, out, err = _run(task, str(built_in_directory()), "--tier", "smoke", "--seed", "1")
    assert code == 0, err
    assert float(out.split()[1]) == pytest.approx(3.5917, abs=0.01)
