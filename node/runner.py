"""The runner: trains jobs in sandboxed workers, scores what they trained, and says what came of it.

This file decides the order of a run and the meaning of its ends: train in one process, seal the
weights, serve them in a second process to the scorer, and look for peeking in a third. It refuses
to know records, verdicts and who wants a job run. Each process is forked from a warm worker inside
a sandbox; the training process is dead before the model is scored, and the scored process is dead
before the audit starts.

A run never raises for what a script does: a crash, a hang or a forged number is an outcome. It
raises only when this machine cannot run anything.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Literal

import trio

from node.runner_files import Descriptors, Files, files_for
from node.runner_job import bounds_of, key_of, progress_of, settings_of
from node.runner_launch import stage_code
from node.runner_priority import RESEARCH_NICE
from node.runner_record import Record, claims_fault, fault_of
from node.runner_server import ModelServer, ServerDiedError
from node.runner_single import SingleUseWorker
from node.runner_worker import Ended, Worker, WorkerError
from node.sandbox import staging_home
from trainer import scorer
from trainer.job import Job, Outcome, Progress, Status, TrainerError
from trainer.worker import wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import numpy as np
    import numpy.typing as npt

    from node.runner_data import RunData
    from node.sandbox import Sandbox

KEPT_BITS: Final = 32
"""Results whose bits per position are remembered, as the parent of a later audit: 256 KiB each."""
_SCORING_SEED: Final = 20261124
"""Shuffles the windows. Fixed, so that batches round alike and a metric repeats to the digit."""


class Runner:
    """Runs jobs in a fixed number of sandboxed workers; use `open_runner` to get one.

    Attributes:
        slots: how many jobs can run at once.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        *,
        code: pathlib.Path,
        train: pathlib.Path,
        validation: npt.NDArray[np.unsignedinteger],
        slots: int,
        random_seed: Callable[[], int],
        token_bytes: npt.NDArray[np.int64] | None = None,
        devices: tuple[pathlib.Path, ...] = (),
        files: Files | None = None,
    ) -> None:
        self.slots = slots
        self._files = files or files_for()
        self._sandbox = sandbox
        self._code = code
        self._train = train
        self._validation = validation
        self._random_seed = random_seed
        self._token_bytes = token_bytes
        self._devices = devices
        self._free = trio.CapacityLimiter(slots)
        self._idle: list[Worker] = []
        self._every: set[Worker] = set()
        self._bits: OrderedDict[bytes, scorer.Bits] = OrderedDict()

    async def warm_up(self, memory_bytes: int) -> None:
        """Starts every worker, so that the first jobs do not wait for one.

        Args:
            memory_bytes: most memory of the jobs to come.

        Raises:
            WorkerError: a worker could not be started.
            SandboxError: the sandbox could not be started.
        """
        while len(self._every) < self.slots:
            self._idle.append(self._launch(memory_bytes))
        for worker in self._idle:
            await worker.ready()

    async def run(
        self,
        job: Job,
        *,
        parent_bits: scorer.Bits | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        yields: bool = False,
    ) -> Outcome:
        """Trains, scores and audits one job.

        Args:
            job: what to run.
            parent_bits: bits of the parent on the same seed, from `bits_of`; aims the audit.
            on_progress: called, on the main thread, a few times a second.
            yields: whether it gives way to what else runs on this machine.

        Raises:
            WorkerError: no worker can be started on this machine.
            SandboxError: the sandbox could not be started.
        """
        # Where seconds are the budget, giving way would be paid for with training.
        nice = RESEARCH_NICE if yields and job.budget.kind != "seconds" else 0
        async with self._free:
            return await self._run(job, parent_bits, on_progress or (lambda _: None), nice)

    async def pair(
        self,
        parent: Job,
        child: Job,
        *,
        on_progress: Callable[[Literal["parent", "child"], Progress], None] | None = None,
    ) -> tuple[Outcome, Outcome]:
        """Runs two jobs back to back on one worker, the audit of the second aimed by the first.

        Args:
            parent: the baseline's job.
            child: the candidate's job, on the same seed.
            on_progress: called as in `run`, with the arm that is running.

        Returns:
            Both outcomes, the parent's first.

        Raises:
            WorkerError: no worker can be started on this machine.
            SandboxError: the sandbox could not be started.
        """
        show = on_progress or (lambda _arm, _progress: None)
        async with self._free:
            before = await self._run(parent, None, lambda progress: show("parent", progress))
            bits = self.bits_of(parent) if before.status == "ok" else None
            after = await self._run(child, bits, lambda progress: show("child", progress))
        return before, after

    def bits_of(self, job: Job) -> scorer.Bits | None:
        """Returns the bits of every scored position of a recent ok run of the same job."""
        return self._bits.get(key_of(job))

    def close(self) -> None:
        """Kills every worker."""
        for worker in self._every:
            worker.close()
        self._every.clear()
        self._idle.clear()

    def _launch(self, memory_bytes: int) -> Worker:
        kind = Worker if self._sandbox.second_wall else SingleUseWorker
        worker = kind.launch(self._sandbox, self._code, self._train, memory_bytes, self._devices)
        self._every.add(worker)
        return worker

    @contextlib.asynccontextmanager
    async def _worker(self, memory_bytes: int) -> AsyncIterator[Worker]:
        """Lends an idle worker, or a new one; drops it when it did not survive."""
        worker = self._idle.pop() if self._idle else None
        if worker is not None and not worker.alive:
            # Something outside ended it while it had nothing to do.
            worker.close()
            self._every.discard(worker)
            worker = None
        if worker is None:
            worker = self._launch(memory_bytes)
        try:
            await worker.ready()
            if worker.single_use:
                # Its successor warms up while this one works.
                self._idle.append(self._launch(memory_bytes))
            yield worker
        finally:
            if worker.alive:
                self._idle.append(worker)
            else:
                self._every.discard(worker)

    async def _in_worker(
        self, job: Job, record: Record, go: Callable[[Worker], Awaitable[Ended]]
    ) -> Ended:
        """Runs one process of a job, and once more when its worker was lost.

        A script cannot reach its worker, so a lost one is at first the machine's fault: short
        memory, or a person who ended it.
        """

        async def once() -> Ended:
            asked = trio.current_time()
            async with self._worker(job.limits.memory_bytes) as worker:
                record.waited_s += trio.current_time() - asked
                worker.nice = record.nice
                return await go(worker)

        with contextlib.suppress(WorkerError):
            ended = await once()
            if not ended.lost:
                return ended
        return await once()

    async def _run(
        self,
        job: Job,
        parent_bits: scorer.Bits | None,
        show: Callable[[Progress], None],
        nice: int = 0,
    ) -> Outcome:
        record = Record(trio.current_time(), nice)
        show(Progress("start", 0.0))
        try:
            # A program gets its files by name; a script that trains a model is all there is.
            given = json.dumps(job.sources()) if job.run else job.script
        except TrainerError as error:
            return record.outcome("invalid", str(error))
        with contextlib.ExitStack() as stack:
            script = self._files.fixed("train.py", given.encode())
            stack.callback(os.close, script)
            weights = self._files.room("weights", job.limits.weights_bytes)
            stack.callback(os.close, weights)
            descriptors = Descriptors(script, weights)

            async def train(worker: Worker) -> Ended:
                return await worker.run(
                    wire.Command("report" if job.run else "train", settings_of(job)),
                    descriptors,
                    bounds_of(job, job.train_wall_s),
                    on_frame=lambda frame: show(progress_of(frame)),
                )

            ended = await self._in_worker(job, record, train)
            record.add(ended, "train")
            fault = fault_of(ended)
            if job.run and fault is None:
                return record.reported(job.metric_name)
            fault = fault or claims_fault(job, ended.frame)
            if fault is not None:
                return record.outcome(*fault)
            sealed = self._files.frozen(weights)
            stack.callback(os.close, sealed)
            descriptors = Descriptors(script, sealed)
            return await self._judge(job, descriptors, record, parent_bits, show)

    async def _judge(
        self,
        job: Job,
        descriptors: Descriptors,
        record: Record,
        parent_bits: scorer.Bits | None,
        show: Callable[[Progress], None],
    ) -> Outcome:
        """Scores and audits sealed weights, each in a process of its own."""
        windows = scorer.windows_of(self._validation, job.evaluation, job.vocab_size)
        scoring = scorer.Scoring(
            windows, job.vocab_size, _SCORING_SEED, token_bytes=self._token_bytes
        )
        fault = await self._serve(
            job, descriptors, record, scoring, lambda share: show(Progress("score", share))
        )
        if fault is not None:
            return record.outcome(*fault)
        score = scoring.score()
        if job.evaluation.probes:
            audit = scorer.Audit(
                windows,
                job.vocab_size,
                score.bits,
                probes=job.evaluation.probes,
                seed=self._random_seed(),
                parent_bits=parent_bits,
            )
            fault = await self._serve(
                job, descriptors, record, audit, lambda share: show(Progress("audit", share))
            )
            if fault is not None:
                return record.outcome(*fault)
        self._bits[key_of(job)] = score.bits
        while len(self._bits) > KEPT_BITS:
            self._bits.popitem(last=False)
        return record.outcome("ok", metric=score.metric_micro)

    async def _serve(
        self,
        job: Job,
        descriptors: Descriptors,
        record: Record,
        task: scorer.Scoring | scorer.Audit,
        on_share: Callable[[float], None],
    ) -> tuple[Status, str] | None:
        """Has one pass answered by a fresh serving process; returns why that failed, if it did."""
        context = job.evaluation.context
        rows = scorer.rows_per_request(context, job.vocab_size)
        answered = False

        async def serve(worker: Worker) -> Ended:
            with ModelServer.open(rows, context, job.vocab_size, self._files) as server:

                async def drive() -> tuple[Status, str] | None:
                    nonlocal answered
                    server.hand_over()
                    try:
                        await server.wait_ready()
                        await server.answer(task, on_share)
                        answered = True
                    except ServerDiedError:
                        # Why it died is told by how it ended.
                        pass
                    except scorer.InvalidAnswerError as error:
                        return "invalid", str(error)
                    finally:
                        server.finish()
                    return None

                return await worker.run(
                    wire.Command("serve", settings_of(job) | {"room_rows": rows}),
                    dataclasses.replace(descriptors, others=server.others),
                    bounds_of(job, job.limits.score_wall_s),
                    drive=drive,
                )

        ended = await self._in_worker(job, record, serve)
        record.add(ended, "score")
        if ended.stopped is not None:
            return ended.stopped
        if not answered:
            return fault_of(ended) or ("crashed", "stopped serving its model")
        return None


@contextlib.asynccontextmanager
async def open_runner(
    sandbox: Sandbox,
    *,
    data: RunData,
    stage_home: pathlib.Path,
    slots: int = 1,
    random_seed: Callable[[], int] = lambda: secrets.randbits(63),
    devices: tuple[pathlib.Path, ...] = (),
    files: Files | None = None,
) -> AsyncIterator[Runner]:
    """Opens a runner and kills all of its workers at the end. Use it on the main thread.

    Args:
        sandbox: confines the workers; from `node.sandbox.select_sandbox`.
        data: what runs work on; workers see its training tokens and workspace and nothing else.
        stage_home: directory of this program's, into which the worker's code is copied.
        slots: jobs that can run at once, one thread each.
        random_seed: seeds audits; must not be foreseeable by a script.
        devices: GPU devices that jobs may use, in GPU mode only.
        files: what jobs' files are made of; the best that the system has if left out.

    Raises:
        SandboxError: the worker's code cannot be copied.
    """
    # Under bubblewrap the code is mounted, wherever it lies.
    home = stage_home if sandbox.name == "bubblewrap" else staging_home(stage_home)
    runner = Runner(
        sandbox,
        code=stage_code(home, data.workspace),
        train=data.train or pathlib.Path(os.devnull),
        validation=data.scored(),
        slots=slots,
        random_seed=random_seed,
        token_bytes=data.token_bytes,
        devices=devices,
        files=files,
    )
    try:
        yield runner
    finally:
        runner.close()
