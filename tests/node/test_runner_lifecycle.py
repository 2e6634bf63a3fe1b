"""The runner's own life: pairs, cancellation, lost workers and what is left behind."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
import trio

from node import runner_memory
from node.runner_worker import WorkerError
from node.sandbox import Sandbox, SandboxSpec, select_sandbox
from tests.node.runner_support import BASE, HEAD, job, tiny_runner

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from trainer.job import Progress

pytestmark = pytest.mark.sandbox

SLEEP = "import time; time.sleep(1000)"
SLOW = BASE.replace("run.log(loss)", "run.log(loss)\n        import time; time.sleep(0.1)")


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return select_sandbox()


def _children() -> set[int]:
    return set(runner_memory.family(os.getpid()))


async def test_a_pair_runs_both_arms_and_aims_the_audit(sandbox: Sandbox, tmp_path: Path) -> None:
    parent, child = job(HEAD), job(HEAD.replace("lr=50.0", "lr=100.0"))
    arms: list[str] = []
    async with tiny_runner(sandbox, tmp_path) as runner:
        assert runner.bits_of(parent) is None
        before, after = await runner.pair(
            parent, child, on_progress=lambda arm, _: arms.append(arm)
        )
        assert before.status == after.status == "ok"
        assert before.metric_micro != after.metric_micro
        bits = runner.bits_of(parent)
        assert bits is not None
        assert bits.shape == (48, 32)
        assert before.metric_micro is not None
        assert float(bits.mean()) * 1e6 == pytest.approx(before.metric_micro, abs=2)
        assert runner.bits_of(job(HEAD, seed=2)) is None
    assert list(dict.fromkeys(arms)) == ["parent", "child"]


async def test_a_pair_survives_a_parent_that_fails(sandbox: Sandbox, tmp_path: Path) -> None:
    async with tiny_runner(sandbox, tmp_path) as runner:
        before, after = await runner.pair(job("nothing"), job(HEAD))
    assert (before.status, after.status) == ("crashed", "ok")


async def test_cancelling_a_run_kills_it_and_keeps_the_worker(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with tiny_runner(sandbox, tmp_path) as runner:
        await runner.warm_up(512 << 20)
        warm = _children()

        def cancel_when_training(progress: Progress) -> None:
            if progress.stage == "train":
                scope.cancel()

        with trio.fail_after(60), trio.CancelScope() as scope:
            await runner.run(job(SLOW), on_progress=cancel_when_training)
        assert scope.cancelled_caught
        assert _children() == warm
        assert (await runner.run(job(HEAD))).status == "ok"
        assert _children() == warm


async def test_no_process_outlives_the_runner(sandbox: Sandbox, tmp_path: Path) -> None:
    before = _children()
    with trio.move_on_after(1.0):
        async with tiny_runner(sandbox, tmp_path) as runner:
            await runner.run(job(SLEEP))
    async with tiny_runner(sandbox, tmp_path) as runner:
        await runner.run(job(HEAD))
        assert _children() > before
    assert _children() == before


async def test_a_worker_that_died_idle_is_replaced(sandbox: Sandbox, tmp_path: Path) -> None:
    async with tiny_runner(sandbox, tmp_path) as runner:
        await runner.warm_up(512 << 20)
        for pid in _children() - {os.getpid()}:
            os.kill(pid, signal.SIGKILL)
        assert (await runner.run(job(HEAD))).status == "ok"


@pytest.mark.parametrize("deaths", [1, 2])
async def test_a_lost_worker_is_forgiven_once(
    sandbox: Sandbox, tmp_path: Path, deaths: int
) -> None:
    killed: list[set[int]] = []

    def kill_everything(progress: Progress) -> None:
        if progress.stage == "train" and len(killed) < deaths:
            killed.append(_children() - {os.getpid()})
            for pid in killed[-1]:
                os.kill(pid, signal.SIGKILL)

    async with tiny_runner(sandbox, tmp_path) as runner:
        outcome = await runner.run(job(SLOW), on_progress=kill_everything)
        assert len(killed) == deaths
        if deaths == 1:
            assert outcome.status == "ok"
        else:
            assert (outcome.status, outcome.reason) == ("crashed", "took its worker down")
        assert (await runner.run(job(HEAD))).status == "ok"


async def test_memory_that_escapes_the_kernels_limit_is_watched(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """Pages shared with the node's own memfd do not count for the kernel's limit."""
    script = """
import mmap, os, time
for fd in range(3, 16):
    try: size = os.fstat(fd).st_size
    except OSError: continue
    if size == 512 << 20:
        held = mmap.mmap(fd, size)
        for place in range(0, size, 4096): held[place] = 1
time.sleep(1000)
"""
    async with tiny_runner(sandbox, tmp_path) as runner:
        outcome = await runner.run(
            job(script, memory_bytes=64 << 20, weights_bytes=512 << 20, train_wall_s=30)
        )
    assert (outcome.status, outcome.reason) == ("oom", "held over 64 MiB of memory")


async def test_two_slots_run_two_jobs_at_once(sandbox: Sandbox, tmp_path: Path) -> None:
    async with tiny_runner(sandbox, tmp_path, slots=2) as runner:
        await runner.warm_up(512 << 20)
        running: set[str] = set()
        together = trio.Event()

        async def run(name: str) -> None:
            def note(progress: Progress) -> None:
                if progress.stage == "train":
                    running.add(name)
                if len(running) == 2:
                    together.set()

            await runner.run(job(SLOW), on_progress=note)

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run, "one")
                nursery.start_soon(run, "other")
                await together.wait()
                nursery.cancel_scope.cancel()


class BrokenSandbox:
    """Starts a program that ends at once with a complaint."""

    name = "broken"
    second_wall = True

    def __init__(self, real: Sandbox) -> None:
        self._real = real

    def popen(self, spec: SandboxSpec) -> subprocess.Popen[bytes]:
        """Starts the worker's interpreter with other arguments."""
        import dataclasses

        argv = (spec.argv[0], "-c", "import sys; sys.exit('no torch here')")
        return self._real.popen(dataclasses.replace(spec, argv=argv))


async def test_a_worker_that_cannot_start_is_an_error_with_its_words(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with tiny_runner(BrokenSandbox(sandbox), tmp_path) as runner:
        with pytest.raises(WorkerError, match="did not start: no torch here"):
            await runner.run(job(HEAD))
