"""Research gives way to verification on the processor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from node.runner_priority import RESEARCH_NICE, renice, renice_sessions
from node.sandbox import select_sandbox
from tests.node.runner_support import HEAD, job, tiny_runner
from trainer.job import Budget

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


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="no autogroups here")
def test_a_session_is_made_nice_and_normal_again() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1, start_new_session=True) as p:
        shown = Path(f"/proc/{p.pid}/autogroup")
        try:
            for nice in (7, 0):
                while not renice_sessions([p.pid], nice):
                    pass
                assert shown.read_text().split()[-1] == str(nice)
        finally:
            p.kill()


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
