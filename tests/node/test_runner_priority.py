"""Research gives way to verification on the processor."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from node import runner_priority
from node.runner_priority import RESEARCH_NICE, renice, renice_sessions
from node.sandbox import select_sandbox
from tests.node.runner_support import HEAD, job, tiny_runner
from trainer.job import Budget

if TYPE_CHECKING:
    import pytest

SAY = """
import os, time
_train = train

def train(run, model):
    # The node sees the process a moment after it was forked.
    ended = time.monotonic() + 20
    while os.getpriority(os.PRIO_PROCESS, 0) == 0 and time.monotonic() < ended and {waits}:
        time.sleep(0.02)
    print("NICE", os.getpriority(os.PRIO_PROCESS, 0), flush=True)
    _train(run, model)
"""
WAITING = HEAD + SAY.format(waits=True)
AT_ONCE = HEAD + SAY.format(waits="time.sleep(0.5)")


async def test_what_is_told_to_gives_way_and_nothing_else(tmp_path: Path) -> None:
    async with tiny_runner(select_sandbox(), tmp_path) as runner:
        first = await runner.run(job(WAITING), yields=True)
        pair = await runner.pair(job(AT_ONCE), job(AT_ONCE, seed=2))
        again = await runner.run(job(WAITING), yields=True)
    assert f"NICE {RESEARCH_NICE}" in first.log_tail, first
    assert ["NICE 0" in arm.log_tail for arm in pair] == [True, True]
    assert f"NICE {RESEARCH_NICE}" in again.log_tail


async def test_a_budget_of_seconds_is_not_spent_on_giving_way(tmp_path: Path) -> None:
    async with tiny_runner(select_sandbox(), tmp_path) as runner:
        timed = await runner.run(job(AT_ONCE, budget=Budget("seconds", 1)), yields=True)
    assert "NICE 0" in timed.log_tail, timed


def shown(pid: int) -> str | None:
    """How nice the kernel says a session is; None where it does not weigh sessions."""
    try:
        return Path(f"/proc/{pid}/autogroup").read_text().split()[-1]
    except FileNotFoundError:
        return None


def test_a_session_is_made_nice_and_normal_again() -> None:
    weighed = Path("/proc/self/autogroup").exists()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1, start_new_session=True) as p:
        try:
            for nice in (7, 0):
                while not renice_sessions([p.pid], nice):
                    pass
                assert shown(p.pid) == (str(nice) if weighed else None)
        finally:
            p.kill()


def fake_proc(directory: Path, monkeypatch: pytest.MonkeyPatch, *pids: int) -> None:
    """A /proc with these processes, all of one session."""
    for pid in pids:
        (directory / str(pid)).mkdir()
    monkeypatch.setattr(runner_priority, "_PROC", directory)
    monkeypatch.setattr(os, "getsid", lambda _pid: 1)


def test_one_order_a_session_by_the_first_process_that_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_proc(tmp_path, monkeypatch, 11, 12, 13)
    (tmp_path / "11" / "autogroup").mkdir()
    assert renice_sessions([11, 12, 13], 5)
    assert (tmp_path / "12" / "autogroup").read_text() == "5"
    assert not (tmp_path / "13" / "autogroup").exists()


def test_what_the_kernel_puts_off_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_proc(tmp_path, monkeypatch, 11)

    def later(_path: Path, _text: str) -> int:
        raise OSError(errno.EAGAIN, "try again")

    with monkeypatch.context() as busy:
        busy.setattr(Path, "write_text", later)
        assert not renice_sessions([11], 5)
    assert renice_sessions([11], 5)
    assert (tmp_path / "11" / "autogroup").read_text() == "5"


def test_what_has_ended_is_left_out() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    renice([ended.pid], 3)
    assert renice_sessions([ended.pid], 3)


def test_a_process_is_made_nice() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1) as process:
        renice([process.pid], 4)
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == 4
        process.kill()
