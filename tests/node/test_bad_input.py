"""Tasks that lie or are broken: a clear error where a person meets them, and nothing is lost.

What a script does when it is run (no entry point, no batch, 100 GB, forks, endless output) is in
`test_runner.py`; that a worker goes on afterwards, in `test_runner_limits.py`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from node.cli.main import cli
from node.errors import UsageError
from node.founding import SWARM_SETTING
from node.home import Home
from node.store import RecordStore
from tests.trainer.tiny import write_task

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result


def lie_about_a_hash(task: Path) -> None:
    manifest = task / "task.toml"
    text = manifest.read_text()
    digest = re.findall(r'sha256 = "(\w{64})"', text)[1]
    manifest.write_text(text.replace(digest, "0" * 64))


def truncate(task: Path) -> None:
    corpus = task / "train.bz2"
    corpus.write_bytes(corpus.read_bytes()[:-20])


def lose_the_entry(task: Path) -> None:
    script = task / "train.py"
    script.write_text(script.read_text().replace("def train(", "def learn("))


def lose_a_file(task: Path) -> None:
    (task / "validation.bz2").unlink()


def break_the_script(task: Path) -> None:
    (task / "train.py").write_text("def train(:\n")


CASES: list[tuple[Callable[[Path], None], str]] = [
    (lie_about_a_hash, "validation does not have its pinned SHA-256 000000000000"),
    (truncate, "train.bz2 ends early: it is truncated"),
    (lose_the_entry, r"train\.py \(tier smoke\) does not define train\(\)"),
    (lose_a_file, r"cannot read .*validation\.bz2"),
    (break_the_script, "not valid Python"),
]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments], standalone_mode=False)


@pytest.mark.parametrize(
    ("spoil", "message"), CASES, ids=lambda case: getattr(case, "__name__", "")
)
def test_a_bad_task_founds_nothing_and_costs_nothing(
    tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "bad").mkdir()
    good, bad = write_task(tmp_path / "good"), write_task(tmp_path / "bad")
    spoil(bad)
    home = tmp_path / "home"
    failed = run("init", "--home", str(home), "--task", str(bad))
    assert isinstance(failed.exception, UsageError), failed.exception
    assert re.search(message, str(failed.exception)), failed.exception
    store = RecordStore(Home(home).database)
    assert store.setting(SWARM_SETTING) is None
    store.close()
    # The same home and the same key found a swarm on a task that is well.
    key = Home(home).key.read_bytes()
    done = run("init", "--home", str(home), "--task", str(good))
    assert done.exception is None, done.exception
    assert Home(home).key.read_bytes() == key
    checked = CliRunner().invoke(cli, ["task", "check", str(bad)])
    assert re.search(message, checked.output), checked.output
    assert "Traceback" not in checked.output
