"""What the node sees of a job's process while it runs: its output, its reports, its time.

This file decides how much of that is read and kept, and which of it is a reason to stop the
process. It refuses to know how a process is stopped (`runner_worker.py`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import trio

from node.runner_limits import OUTPUT_BYTES_MAX, Bounds
from trainer.worker import wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer.job import Status

FRAMES_EVERY_S: Final = 0.05
READ_BYTES: Final = 1 << 16
_FRAMES_PER_READ: Final = 64


class Watch:
    """What is known about a running process."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.frame: wire.Frame | None = None
        self.stopped: tuple[Status, str] | None = None
        self.log = bytearray()
        self.printed = 0
        self.memory_bytes = 0
        self.stop_wanted = trio.Event()
        self.ended = trio.Event()
        self.talked = trio.Event()

    def stop(self, status: Status, reason: str) -> None:
        """Asks for the process to be stopped; the first reason stands."""
        if self.stopped is None:
            self.stopped = (status, reason)
            self.stop_wanted.set()


async def read(fd: int, size: int) -> bytes:
    """Returns what a pipe holds, at most size bytes; nothing at its end."""
    while True:
        try:
            return os.read(fd, size)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(fd)


async def read_log(fd: int, watch: Watch) -> None:
    """Keeps the end of what a process prints, until it prints too much."""
    while chunk := await read(fd, READ_BYTES):
        watch.printed += len(chunk)
        watch.log += chunk
        del watch.log[: -watch.bounds.log_bytes]
        if watch.printed > OUTPUT_BYTES_MAX:
            watch.stop(*watch.bounds.too_much_output())
            return
        await trio.lowlevel.checkpoint()


async def read_frames(fd: int, watch: Watch, on_frame: Callable[[wire.Frame], None] | None) -> None:
    """Follows a process's reports about itself, until one is not what the protocol allows."""
    pending = b""
    while chunk := await read(fd, wire.FRAME_BYTES * _FRAMES_PER_READ):
        pending += chunk
        whole = len(pending) - len(pending) % wire.FRAME_BYTES
        for start in range(0, whole, wire.FRAME_BYTES):
            try:
                frame = wire.decode_frame(pending[start : start + wire.FRAME_BYTES])
            except wire.WorkerProtocolError as error:
                watch.stop("invalid", f"broke the worker's protocol: {error}")
                return
            watch.frame = frame
            if on_frame is not None and frame.end is None:
                on_frame(frame)
        pending = pending[whole:]
        # Bounds what a flood of frames costs; an honest process sends five a second. When it has
        # ended there is no more than the pipe holds, and nobody waits for that.
        with trio.move_on_after(FRAMES_EVERY_S):
            await watch.ended.wait()


async def watch_time(watch: Watch) -> None:
    """Stops a process that runs too long."""
    await trio.sleep(watch.bounds.wall_s)
    watch.stop(*watch.bounds.out_of_time())
