"""What is known about a run: costs as they add up, and what the end of a process means.

This file decides how measurements and ends become an outcome. It refuses to run anything.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

import trio

from trainer.job import CLAIM_SLACK, Outcome, Status, clip_reason
from trainer.reported import last_metric

if TYPE_CHECKING:
    from node.runner_worker import Ended
    from trainer.job import Job
    from trainer.worker import wire


@dataclasses.dataclass(slots=True)
class Record:
    """What is known so far about one run.

    Attributes:
        started: when it began.
        nice: how far it gives way to other workers' runs.
        waited_s: how long it then waited for a worker to start: no cost of its script.
    """

    started: float
    nice: int = 0
    waited_s: float = 0.0
    train_cpu_ms: int = 0
    score_cpu_ms: int = 0
    peak_memory_kib: int = 0
    frame: wire.Frame | None = None
    log: bytes = b""

    def add(self, ended: Ended, stage: Literal["train", "score"]) -> None:
        """Books what a process cost."""
        cpu_ms = round(ended.event.cpu_us / 1000) if ended.event else 0
        if stage == "train":
            self.train_cpu_ms += cpu_ms
            self.frame = ended.frame
        else:
            self.score_cpu_ms += cpu_ms
        resident_kib = ended.event.peak_memory_kib if ended.event else 0
        seen_kib = ended.memory_bytes >> 10
        self.peak_memory_kib = max(self.peak_memory_kib, resident_kib, seen_kib)
        if ended.log:
            self.log = ended.log

    def outcome(self, status: Status, reason: str = "", metric: int | None = None) -> Outcome:
        """Returns the outcome of a run that ends here."""
        frame = self.frame
        return Outcome(
            status=status,
            metric_micro=metric,
            train_cpu_ms=self.train_cpu_ms,
            score_cpu_ms=self.score_cpu_ms,
            wall_ms=round((trio.current_time() - self.started - self.waited_s) * 1000),
            peak_memory_kib=self.peak_memory_kib,
            steps=frame.steps if frame else 0,
            tokens=frame.tokens if frame else 0,
            flops=frame.flops if frame else 0,
            reason=clip_reason(reason),
            log_tail=self.log.decode(errors="replace"),
        )

    def reported(self, metric_name: str) -> Outcome:
        """Returns the outcome of a program that has printed its metric, or has not."""
        metric = last_metric(self.log.decode(errors="replace"), metric_name)
        if metric is None:
            return self.outcome("invalid", f"printed no line `{metric_name}: value` at its end")
        return self.outcome("ok", metric=metric)


def fault_of(ended: Ended) -> tuple[Status, str] | None:
    """Returns why a process did not end well, or None when it did."""
    if ended.stopped is not None:
        return ended.stopped
    frame, event = ended.frame, ended.event
    if frame is not None and frame.end is not None and frame.end != "ok":
        return frame.end, frame.reason
    if event is None:
        return "crashed", "took its worker down"
    if event.signal:
        return "crashed", f"was killed by signal {event.signal}"
    if event.code != 0 or frame is None or frame.end is None:
        return "crashed", f"ended with exit code {event.code} before it was done"
    return None


def claims_fault(job: Job, frame: wire.Frame | None) -> tuple[Status, str] | None:
    """Returns why what a worker says that it was given cannot be, or None when it can.

    The counts of batches, tokens and operations are the worker's own. They cannot be measured from
    outside, but they must agree with the budget and with each other; what a script that lies about
    them gains in compute shows in the costs, which are measured.
    """
    if frame is None or frame.steps == 0 or frame.tokens < frame.steps:
        return "invalid", "claims to have trained without having drawn a batch"
    spent = {"flops": frame.flops, "tokens": frame.tokens}.get(job.budget.kind, 0)
    if spent > job.budget.amount * (1 + CLAIM_SLACK):
        return "too_costly", f"claims {spent:,} of {job.budget.amount:,} {job.budget.kind}"
    return None
