"""Scripts and a shared runner for the runner's tests."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import trio

from node.runner import Runner, open_runner
from node.runner_data import RunData
from node.runner_launch import stage_code
from tests.trainer.tiny import script, tiny_task
from trainer.data import cached
from trainer.job import Budget, Evaluation, Job, Limits, Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from node.sandbox import Sandbox

BUDGET = Budget("flops", 100_000_000)
EVALUATION = Evaluation(context=32, windows=48, probes=64)
LIMITS = Limits(
    train_wall_s=60, score_wall_s=60, memory_bytes=512 << 20, weights_bytes=8 << 20, log_bytes=2048
)

BASE = script()

HEAD = """
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(256, 256)

    def forward(self, tokens):
        return self.table(tokens)


def build_model(run):
    model = Model()
    nn.init.zeros_(model.table.weight)
    return model


def train(run, model):
    optimizer = torch.optim.SGD(model.parameters(), lr=50.0)
    for x, y in run.batches(4, 32):
        logits = model(x)
        # A product, so that a step costs something.
        _ = logits[0] @ logits[0].T
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""
"""A bigram model: quick, honest, and easy to spoil by defining something again below."""


def job(source: str, *, seed: int = 1, budget: Budget = BUDGET, **limits: Any) -> Job:
    """Returns a tiny job."""
    return Job(source, budget, EVALUATION, seed, limits=dataclasses.replace(LIMITS, **limits))


@contextlib.asynccontextmanager
async def tiny_runner(
    sandbox: Sandbox, directory: Path, *, slots: int = 1
) -> AsyncIterator[Runner]:
    """Opens a runner on the tiny task's data."""
    files = tiny_data(directory)
    async with open_runner(
        sandbox,
        data=RunData(files["train"], files["validation"]),
        stage_home=directory / "stage",
        slots=slots,
        random_seed=lambda: 4,
    ) as runner:
        yield runner


class SharedRunner:
    """One runner for many tests, each in a trio run of its own: a worker takes seconds to start."""

    def __init__(self, sandbox: Sandbox, directory: Path) -> None:
        files = tiny_data(directory)
        # Not by `open_runner`: trio ends a run's async generators with the run.
        self.runner = Runner(
            sandbox,
            code=stage_code(directory / "stage"),
            train=files["train"],
            validation=np.memmap(files["validation"], np.uint8, mode="r"),
            slots=1,
            random_seed=lambda: 4,
        )

    def run(self, job: Job) -> Outcome:
        """Runs a job to its end."""
        return trio.run(self.runner.run, job)

    def close(self) -> None:
        """Ends the workers."""

        async def close() -> None:
            self.runner.close()

        trio.run(close)


def tiny_data(directory: Path) -> dict[str, Path]:
    task = tiny_task(directory / "task")
    return {name: cached(directory, directory / "task", s) for name, s in task.splits.items()}
