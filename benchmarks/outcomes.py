"""Real outcomes of runs, remembered: a run is bit for bit the same each time, so once is enough.

The key of a run is what decides its bits: the script without its comments, the tier's budget and
windows, and the seed. The file is what makes a long benchmark resumable, and a second one cheap.
The audit for peeking is left out: the benchmarks' scripts come from the catalogue.
"""

import hashlib
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import trio

from benchmarks.report import OUT
from node.runner import Runner, open_runner
from node.runner_data import run_data, wanted
from node.sandbox import select_sandbox
from swarm.source import source_digest
from trainer.data import cached
from trainer.job import Job
from trainer.task import Task, built_in_directory


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of one run.

    Attributes:
        status: How it ended.
        metric_micro: The task's metric; None where it did not end well.
        cpu_ms: CPU time of training and scoring, on whatever machine it was run.
    """

    status: str
    metric_micro: int | None
    cpu_ms: int


class Outcomes:
    """Runs scripts of one task and tier, each once.

    Args:
        runner: Runs what is not remembered.
        task: The task.
        tier: Its tier.
        path: Where outcomes are kept, one JSON object a line.

    Attributes:
        asked: Runs that were asked for.
        ran: Runs that had to be made.
    """

    def __init__(self, runner: Runner, task: Task, tier: str, path: Path) -> None:
        self.asked = self.ran = 0
        self._runner = runner
        self._task = task
        self._tier = tier
        self._path = path
        self._known: dict[str, Measured] = {}
        self._locks: dict[str, trio.Lock] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                stored = json.loads(line)
                key = stored.pop("key")
                self._known[key] = Measured(**stored)

    async def run(self, script: str, seed: int) -> Measured:
        """Run a script on a seed, or remember what came of it."""
        job = self._task.job(self._tier, script, seed)
        job = replace(job, evaluation=replace(job.evaluation, probes=0))
        key = _key(job)
        self.asked += 1
        # Two lineages may want the same run at the same time.
        async with self._locks.setdefault(key, trio.Lock()):
            if key not in self._known:
                self._known[key] = await self._measure(job)
                self.ran += 1
                with self._path.open("a") as file:
                    file.write(json.dumps({"key": key} | asdict(self._known[key])) + "\n")
        return self._known[key]

    async def _measure(self, job: Job) -> Measured:
        outcome = await self._runner.run(job)
        cpu_ms = outcome.train_cpu_ms + outcome.score_cpu_ms
        return Measured(outcome.status, outcome.metric_micro, cpu_ms)


@asynccontextmanager
async def open_outcomes(task: Task, tier: str, slots: int) -> AsyncIterator[Outcomes]:
    """Open a runner for a built-in task, with the outcomes that are remembered of its tier."""
    directory = built_in_directory(task.name)
    home = Path(tempfile.gettempdir()) / "swarm-node-bench"
    files = {name: cached(home / "data", directory, task.pins[name]) for name in wanted(task)}
    OUT.mkdir(exist_ok=True)
    async with open_runner(
        select_sandbox(),
        data=run_data(task, files, home),
        stage_home=home / "worker",
        slots=slots,
    ) as runner:
        yield Outcomes(runner, task, tier, OUT / f"outcomes-{task.name}-{tier}.jsonl")


def _key(job: Job) -> str:
    parts = (source_digest(job.script), job.budget, job.evaluation, job.seed)
    return hashlib.sha256(repr(parts).encode()).hexdigest()
