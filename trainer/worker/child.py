"""The process of one job: trains a script, or serves the model that it trained.

This file decides the life of a forked child: it gives up every right it can spare before it reads
the script, then trains and leaves the weights in a sealed memfd, or rebuilds the model from them
and answers tokens with logits. It refuses to know how jobs arrive (`zygote.py`) and what the
answers are good for (the node's scorer). Everything it says about itself is for display: the node
believes only logits and what it measures from outside.
"""

from __future__ import annotations

import dataclasses
import linecache
import math
import mmap
import os
import sys
import tempfile
import time
import traceback
import types
from typing import Any, Final

import numpy as np
import torch

from trainer import confinement
from trainer.worker import program, weights, wire
from trainer.worker.budget import BudgetExceededError, Meter
from trainer.worker.run import (
    DivergedError,
    Run,
    RunMisuseError,
    derive_seed,
    seed_libraries,
)

SCRIPT_NAME: Final = "train.py"
_REPORT_EVERY_S: Final = 0.2
_TOKEN_BYTES: Final = 8
_LOGIT_BYTES: Final = 4


class UnusableScriptError(Exception):
    """The script does not keep its side of the interface."""


@dataclasses.dataclass(frozen=True, slots=True)
class Descriptors:
    """File descriptors of a job, as they arrived from the node.

    Attributes:
        script: source of the script.
        weights: room for the trained weights.
        frames: write end of the progress pipe.
        log: write end of the pipe for what the script prints.
        shared: (serve) tokens and logits.
        requests: (serve) read end of the requests.
        answers: (serve) write end of the answers.
    """

    script: int
    weights: int
    frames: int
    log: int
    shared: int = -1
    requests: int = -1
    answers: int = -1


class Reporter:
    """Writes frames about this process to the node."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._meter: Meter | None = None
        self._due = 0.0

    def watch(self, meter: Meter) -> None:
        """Takes the counts of all later frames from meter."""
        self._meter = meter

    def progress(self, fraction: float, loss: float | None) -> None:
        """Sends a frame now and then; drops it when the node is behind."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + _REPORT_EVERY_S
            os.set_blocking(self._descriptor, False)
            try:
                self._send(None, fraction, loss, "")
            except BlockingIOError:
                return

    def end(self, status: wire.EndStatus, reason: str = "") -> None:
        """Sends the final frame, waiting for room if need be."""
        os.set_blocking(self._descriptor, True)
        self._send(status, self._meter.progress() if self._meter else 1.0, None, reason)

    def _send(
        self, end: wire.EndStatus | None, fraction: float, loss: float | None, reason: str
    ) -> None:
        meter = self._meter
        frame = wire.Frame(
            end=end,
            steps=meter.steps if meter else 0,
            tokens=meter.tokens if meter else 0,
            flops=meter.flops if meter else 0,
            fraction=fraction,
            loss=loss,
            reason=reason,
        )
        os.write(self._descriptor, wire.encode_frame(frame))


def confine(settings: dict[str, Any], descriptors: Descriptors, parent_pid: int) -> None:
    """Gives up, irrevocably, what neither training nor serving needs.

    Runs before anything of the script is read. The log replaces standard output; every descriptor
    that is not the job's own is closed, the control socket among them.

    Raises:
        confinement.ConfinementError: a step failed; the process must end unused.
    """
    # No directory can be written. Libraries that only ask for the name of one, as torch.compile
    # does, would fail in the search for it.
    tempfile.tempdir = "/tmp"  # noqa: S108
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (descriptors.log, 1), (descriptors.log, 2)):
        os.dup2(source, target)
    cpu_s = int(settings["cpu_s"])
    # Where the kernel offers no second wall, one sandbox holds one job and is its only wall.
    tighten = confinement.tighten if settings["second_wall"] else confinement.limit
    tighten(
        confinement.TightLimits(
            memory_bytes=int(settings["memory_bytes"]),
            file_bytes=int(settings["weights_bytes"]),
            cpu_s=cpu_s or None,
            devices=tuple(str(settings["devices"]).split(":")) if settings["devices"] else (),
        ),
        parent_pid=parent_pid,
        keep_fds={0, 1, 2, *(d for d in dataclasses.astuple(descriptors) if d >= 0)},
    )


def load_script(descriptor: int, seed: int) -> types.ModuleType:
    """Executes the script and returns it as a module.

    Raises:
        UnusableScriptError: it lacks one of its two functions.
    """
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(os.dup(descriptor), "rb") as file:
        source = file.read().decode()
    seed_libraries(seed)
    module = types.ModuleType("train")
    module.__file__ = SCRIPT_NAME
    sys.modules["train"] = module
    # Tracebacks in the log show the script's lines, although there is no such file here.
    linecache.cache[SCRIPT_NAME] = (len(source), None, source.splitlines(True), SCRIPT_NAME)
    exec(compile(source, SCRIPT_NAME, "exec"), module.__dict__)  # noqa: S102
    for name in ("build_model", "train"):
        if not callable(getattr(module, name, None)):
            raise UnusableScriptError(f"{SCRIPT_NAME} defines no function {name}")
    return module


def _build(module: types.ModuleType, run: Run) -> Any:
    model = module.build_model(run)
    if not isinstance(model, torch.nn.Module):
        raise UnusableScriptError("build_model must return a torch.nn.Module")
    return model


def train(settings: dict[str, Any], tokens: Any, fds: Descriptors, reporter: Reporter) -> None:
    """Runs a script under its budget and writes the weights.

    Raises:
        Exception: whatever the script raises, and the named errors of this package.
    """
    seed = int(settings["seed"])
    meter = Meter(
        str(settings["budget_kind"]),
        int(settings["budget_amount"]),
        derive_seed(seed, "meter"),
        startup_s=float(settings["startup_s"]),
    )
    reporter.watch(meter)
    if int(settings["token_width"]) == 2:
        tokens = tokens.view(torch.int16)
    run = Run(
        seed=seed,
        vocab_size=int(settings["vocab_size"]),
        context=int(settings["context"]),
        device=str(settings["device"]),
        tokens=tokens,
        meter=meter,
        report=reporter.progress,
    )
    module = load_script(fds.script, seed)
    meter.open()
    model = _build(module, run)
    module.train(run, model)
    meter.close()
    if meter.steps == 0:
        raise UnusableScriptError("train never drew a batch")
    if not weights.all_finite(model):
        raise DivergedError("the trained weights are not finite")
    weights.write(model, fds.weights, int(settings["weights_bytes"]))


def serve(settings: dict[str, Any], shared: mmap.mmap, fds: Descriptors) -> None:
    """Rebuilds the trained model and answers requests until their pipe ends.

    The shared memory holds int64 tokens for `room_rows` windows of `context`, then float32 logits.

    Raises:
        Exception: whatever the script raises.
        UnusableScriptError: the model's answer is not logits of the right shape.
    """
    seed, context = int(settings["seed"]), int(settings["context"])
    vocab_size = int(settings["vocab_size"])
    device = str(settings["device"])
    room = int(settings["room_rows"]) * context
    tokens = np.frombuffer(shared, np.int64, room, 0)
    logits = np.frombuffer(shared, np.float32, room * vocab_size, room * _TOKEN_BYTES)
    run = Run(seed=seed, vocab_size=vocab_size, context=context, device=device)
    model = _build(load_script(fds.script, seed), run)
    weights.read(model, fds.weights)
    model.eval()
    os.write(fds.answers, wire.READY)
    while len(header := os.read(fds.requests, wire.REQUEST.size)) == wire.REQUEST.size:
        rows, columns = wire.REQUEST.unpack(header)
        asked = torch.from_numpy(tokens[: rows * columns].reshape(rows, columns).copy())
        with torch.inference_mode():
            answer = model(asked.to(device))
        if not torch.is_tensor(answer) or tuple(answer.shape) != (rows, columns, vocab_size):
            shape = tuple(answer.shape) if torch.is_tensor(answer) else type(answer).__name__
            raise UnusableScriptError(
                f"the model must give logits {(rows, columns, vocab_size)}, not {shape}"
            )
        size = math.prod(answer.shape)
        torch.from_numpy(logits[:size]).copy_(answer.reshape(-1))
        os.write(fds.answers, wire.ANSWER)


def _shared_bytes(settings: dict[str, Any]) -> int:
    """Returns the size of the memory that tokens and logits share."""
    room = int(settings["room_rows"]) * int(settings["context"])
    return room * (_TOKEN_BYTES + _LOGIT_BYTES * int(settings["vocab_size"]))


def main(
    verb: str, settings: dict[str, Any], tokens: Any, fds: Descriptors, parent_pid: int
) -> int:
    """Runs one job in this freshly forked process and returns its exit code."""
    shared = None
    if verb == "serve":
        shared = mmap.mmap(fds.shared, _shared_bytes(settings))
    confine(settings, fds, parent_pid)
    reporter = Reporter(fds.frames)
    try:
        if shared is not None:
            serve(settings, shared, fds)
        elif verb == "report":
            program.run(settings, fds.script)
        else:
            train(settings, tokens, fds, reporter)
    except BaseException as error:  # noqa: BLE001  (the job's boundary; the process ends here)
        status, reason = describe(error)
        if status == "crashed":
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        reporter.end(status, reason)
        return 1
    sys.stdout.flush()
    reporter.end("ok")
    return 0


def describe(error: BaseException) -> tuple[wire.EndStatus, str]:
    """Returns the end status that an error amounts to, and one line about it."""
    text = str(error).strip().split("\n", maxsplit=1)[0]
    match error:
        case DivergedError():
            return "diverged", text
        case BudgetExceededError():
            return "too_costly", text
        case UnusableScriptError() | weights.WeightsError():
            return "invalid", text
        case MemoryError():
            return "oom", "out of memory"
        case RuntimeError() if "can't allocate memory" in text or "out of memory" in text:
            return "oom", "out of memory"
        case RunMisuseError() | program.ProgramFailedError():
            return "crashed", text
        case _:
            lines = [
                frame.lineno
                for frame in traceback.extract_tb(error.__traceback__)
                if frame.filename == SCRIPT_NAME
            ]
            if isinstance(error, SyntaxError):
                text, lines = error.msg, [error.lineno]
            where = f" ({SCRIPT_NAME} line {lines[-1]})" if lines else ""
            return "crashed", f"{type(error).__name__}: {text}{where}"
