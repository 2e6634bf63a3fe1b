"""How a job is put to a worker, and how the worker's reports are read.

This file decides which settings of a job cross the sandbox's wall, what its processes may take, and
what names its result. It refuses to know how workers run (`runner_worker.py`).
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from node.runner_limits import Bounds
from trainer.job import MICRO, Job, Progress

if TYPE_CHECKING:
    from trainer.worker import wire


def settings_of(job: Job) -> dict[str, int | float | str]:
    """Returns what a worker is told of a job, beside its script."""
    return {
        "seed": job.seed,
        "budget_kind": job.budget.kind,
        "budget_amount": job.budget.amount,
        "vocab_size": job.vocab_size,
        "context": job.evaluation.context,
        "device": job.device,
        "weights_bytes": job.limits.weights_bytes,
        "cpu_s": job.limits.cpu_s,
        "startup_s": job.limits.startup_s,
        "token_width": job.token_width,
        "run": json.dumps(job.run),
    }


def bounds_of(job: Job, wall_s: float) -> Bounds:
    """Returns what one of a job's processes may take.

    Args:
        job: the job.
        wall_s: wall time of this process.
    """
    return Bounds(wall_s, job.limits.memory_bytes, job.limits.log_bytes, job.limits.cpu_s)


def key_of(job: Job) -> bytes:
    """Returns the name of all that decides a job's bits: everything but its limits."""
    parts = (job.script, job.budget, job.evaluation, job.seed, job.vocab_size, job.device)
    return hashlib.sha256(repr(parts).encode()).digest()


def progress_of(frame: wire.Frame) -> Progress:
    """Returns how far training is, as the worker says."""
    loss = None if frame.loss is None else round(frame.loss * MICRO)
    return Progress("train", frame.fraction, frame.steps, frame.tokens, loss)
