"""Messages between a node and the worker processes in its sandbox.

This file decides every byte that crosses the sandbox's wall: small JSON messages, one a line, over
a stream socket (the only kind that every system has and that tells of its end), fixed-size frames
on a job's progress pipe, and request headers of the model server. Both sides import it; it knows
neither torch nor trio. What comes out of the sandbox is hostile until it went through `Messages`
and `decode_event`, or `decode_frame`.

Conversation. The zygote says `ready`, then takes one job at a time:

    node -> zygote   train {script, weights, progress, log fds}  |  report {the same}
                     |  serve {..., shared, requests, answers fds}  |  kill
    zygote -> node   ready | started | exited {code, signal, cpu_us, peak_memory_kib}
                     (a zygote that does not fork becomes the job, and the node sees it end)
    child  -> node   frames on the progress pipe; the last one is final
    node  <-> child  (serve) a request header per batch, one byte back per answer
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import struct
from typing import Any, Final, Literal

MESSAGE_BYTES_MAX: Final = 4096
"""Largest message on the socket: all of them are a few numbers and words."""

REASON_BYTES: Final = 300
_FRAME: Final = struct.Struct("<BBxxIQQQdd300s4x")
FRAME_BYTES: Final = _FRAME.size
"""Size of a progress frame; far below PIPE_BUF, so that a frame is written whole or not at all."""

REQUEST: Final = struct.Struct("<II")
"""Header of a scoring request: rows and columns of the tokens in shared memory."""
ANSWER: Final = b"a"
"""What a server writes when the logits of a request lie in shared memory."""
READY: Final = b"r"
"""What a server writes once, when its model is rebuilt."""

COUNT_MAX: Final = 2**53
"""Largest count taken from a worker: it stays exact in JSON and as a float."""

EndStatus = Literal["ok", "crashed", "diverged", "oom", "invalid", "too_costly"]
_END_CODES: Final[dict[int, EndStatus]] = {
    1: "ok",
    2: "crashed",
    3: "diverged",
    4: "oom",
    5: "invalid",
    6: "too_costly",
}
_CODE_OF: Final = {status: code for code, status in _END_CODES.items()}
_PROGRESS_CODE: Final = 0


class WorkerProtocolError(Exception):
    """A process in the sandbox sent something that the protocol does not allow."""


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """One report of a training or serving process about itself.

    Attributes:
        end: how the process ends, or None while it runs.
        steps: batches drawn so far.
        tokens: tokens drawn so far.
        flops: operations charged so far.
        fraction: share of the budget spent, 0 to 1.
        loss: last logged loss in nats, or None.
        reason: why it did not end well, in at most REASON_BYTES bytes of UTF-8.
    """

    end: EndStatus | None
    steps: int
    tokens: int
    flops: int
    fraction: float
    loss: float | None
    reason: str = ""


def encode_frame(frame: Frame) -> bytes:
    """Returns the FRAME_BYTES bytes of a frame."""
    reason = frame.reason.encode(errors="replace")[:REASON_BYTES]
    return _FRAME.pack(
        _PROGRESS_CODE if frame.end is None else _CODE_OF[frame.end],
        0,
        len(reason),
        min(frame.steps, COUNT_MAX),
        min(frame.tokens, COUNT_MAX),
        min(frame.flops, COUNT_MAX),
        frame.fraction,
        math.nan if frame.loss is None else frame.loss,
        reason,
    )


def decode_frame(raw: bytes) -> Frame:
    """Returns the frame in raw.

    Raises:
        WorkerProtocolError: raw is not a frame; nothing else is raised, whatever the bytes.
    """
    if len(raw) != FRAME_BYTES:
        raise WorkerProtocolError(f"a frame has {FRAME_BYTES} bytes, not {len(raw)}")
    code, _, length, steps, tokens, flops, fraction, loss, reason = _FRAME.unpack(raw)
    if code != _PROGRESS_CODE and code not in _END_CODES:
        raise WorkerProtocolError(f"unknown frame code {code}")
    if length > REASON_BYTES or max(steps, tokens, flops) > COUNT_MAX:
        raise WorkerProtocolError("a frame's numbers are out of range")
    if not math.isfinite(fraction):
        raise WorkerProtocolError("a frame's fraction is not a number")
    return Frame(
        end=_END_CODES.get(code),
        steps=steps,
        tokens=tokens,
        flops=flops,
        fraction=min(1.0, max(0.0, fraction)),
        loss=loss if math.isfinite(loss) and abs(loss) < 1e9 else None,
        reason=reason[:length].decode(errors="replace"),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """What the node asks of the zygote; the file descriptors travel beside it.

    Attributes:
        verb: what to do.
        settings: numbers and words of the job, a flat dictionary.
    """

    verb: Literal["train", "report", "serve", "kill"]
    settings: dict[str, int | float | str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """What the zygote tells the node.

    Attributes:
        name: `ready` once, then `started` and `exited` for every job.
        code: exit code of the job's process, or -1 when a signal ended it.
        signal: signal that ended it, or 0.
        cpu_us: its CPU time, user and system, in microseconds; of `ready`, what getting warm took.
        peak_memory_kib: its largest resident size.
    """

    name: Literal["ready", "started", "exited"]
    code: int = 0
    signal: int = 0
    cpu_us: int = 0
    peak_memory_kib: int = 0


def exited(wait_status: int, *, cpu_us: int, peak_memory_kib: int) -> Event:
    """The event of a process that has ended.

    Args:
        wait_status: what waiting for it returned.
        cpu_us: the CPU time that counts as its own, in microseconds.
        peak_memory_kib: its largest resident size.
    """
    return Event(
        "exited",
        code=os.WEXITSTATUS(wait_status) if os.WIFEXITED(wait_status) else -1,
        signal=os.WTERMSIG(wait_status) if os.WIFSIGNALED(wait_status) else 0,
        cpu_us=cpu_us,
        peak_memory_kib=peak_memory_kib,
    )


class Messages:
    """Cuts what a stream brings into messages."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, raw: bytes) -> list[bytes]:
        """Returns the messages that raw completes, in order, without their ends.

        Raises:
            WorkerProtocolError: a message is too long.
        """
        *whole, self._pending = (self._pending + raw).split(b"\n")
        if max(map(len, (*whole, self._pending))) > MESSAGE_BYTES_MAX:
            raise WorkerProtocolError("a message is too long")
        return whole


def encode_command(command: Command) -> bytes:
    """Returns the message of a command, with its end."""
    raw = json.dumps({"verb": command.verb, "settings": command.settings}).encode() + b"\n"
    assert len(raw) <= MESSAGE_BYTES_MAX, "our own settings are small"
    return raw


def decode_command(raw: bytes) -> Command:
    """Returns the command in a message from the node, which the worker trusts."""
    value = json.loads(raw)
    return Command(value["verb"], value["settings"])


def encode_event(event: Event) -> bytes:
    """Returns the message of an event, with its end."""
    return json.dumps(dataclasses.asdict(event)).encode() + b"\n"


def decode_event(raw: bytes) -> Event:
    """Returns the event in raw.

    Raises:
        WorkerProtocolError: raw is not an event; nothing else is raised, whatever the bytes.
    """
    if len(raw) > MESSAGE_BYTES_MAX:
        raise WorkerProtocolError("a message is too long")
    try:
        value: Any = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise WorkerProtocolError("a message is not JSON") from error
    fields = {field.name for field in dataclasses.fields(Event)}
    if not isinstance(value, dict) or set(value) != fields:
        raise WorkerProtocolError("a message does not have the fields of an event")
    if value["name"] not in ("ready", "started", "exited"):
        raise WorkerProtocolError("a message names no event")
    for field in sorted(fields - {"name"}):
        number = value[field]
        if type(number) is not int or not -1 <= number <= COUNT_MAX:
            raise WorkerProtocolError(f"an event's {field} is out of range")
    return Event(**value)
