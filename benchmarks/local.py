"""A runner on a built-in task's data, as benchmarks that train need one."""

import contextlib
import os
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from node.runner import Runner, open_runner
from node.runner_data import run_data, wanted
from node.sandbox import select_sandbox
from trainer.data import cached
from trainer.task import Task, built_in_directory, built_in_task


@dataclass(frozen=True, slots=True)
class Local:
    """What a benchmark trains with.

    Attributes:
        task: the built-in task.
        files: its unpacked data, by split.
        runner: runs its jobs.
    """

    task: Task
    files: dict[str, Path]
    runner: Runner


@contextlib.asynccontextmanager
async def local_runner(slots: int = 1, sandbox: str = "auto") -> AsyncIterator[Local]:
    """Opens a runner for the built-in task; what it unpacks is kept for the next benchmark.

    Args:
        slots: runs at once.
        sandbox: which sandbox to use.

    Raises:
        SandboxUnavailableError: this machine refuses it.
    """
    task, directory = built_in_task(), built_in_directory()
    home = Path(tempfile.gettempdir()) / f"swarm-node-bench-{os.geteuid()}"
    files = {name: cached(home / "data", directory, task.pins[name]) for name in wanted(task)}
    async with open_runner(
        select_sandbox(sandbox),
        data=run_data(task, files, home),
        stage_home=home / "worker",
        slots=slots,
    ) as runner:
        yield Local(task, files, runner)
