"""One sandboxed worker: its start, the processes forked in it, and their end.

This file decides how a job's process is watched and stopped. It carries file descriptors to the
zygote, reads the log and the frames that come back, and enforces wall time, memory and output from
outside, whatever the process does. It refuses to know what a job means (`runner.py`) and what
confines it (`node.sandbox`).

A process is stopped in two steps: the zygote is asked to kill it, and if the zygote does not report
its end within a grace period the whole sandbox is killed and the next job starts a new one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import sys
from typing import TYPE_CHECKING, Final

import trio

from node import runner_memory
from node.errors import NodeError
from node.runner_files import Descriptors, pipe
from node.runner_launch import specification
from node.runner_limits import OUTPUT_BYTES_MAX, Bounds
from node.sandbox import MemoryGroup, kill_tree, make_group
from trainer.job import clip_reason
from trainer.worker import wire

if TYPE_CHECKING:
    import pathlib
    import subprocess
    from collections.abc import AsyncIterator, Awaitable, Callable

    from node.sandbox import Sandbox
    from trainer.job import Status

START_TIMEOUT_S: Final = 180.0
"""A cold start imports torch: 3 s on an idle machine, over 10 s on a loaded one."""
KILL_GRACE_S: Final = 3.0
WATCH_EVERY_S: Final = 0.1
"""What the kernel does not limit by itself is bounded by what can be written to in this time."""
FRAMES_EVERY_S: Final = 0.05
_READ_BYTES: Final = 1 << 16
_FRAMES_PER_READ: Final = 64


class WorkerError(NodeError):
    """The sandboxed worker could not be started, or broke down."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """How one process ended, as seen from outside and by itself.

    Attributes:
        event: exit code and resources; None when the sandbox had to be killed.
        frame: its own last report; None when it sent none.
        stopped: why the node stopped it; None when it ended by itself.
        log: end of what it printed.
        memory_bytes: most memory seen.
    """

    event: wire.Event | None
    frame: wire.Frame | None
    stopped: tuple[Status, str] | None
    log: bytes
    memory_bytes: int

    @property
    def lost(self) -> bool:
        """Whether the sandbox went away by itself, which may be the machine's fault."""
        return self.event is None and self.stopped is None


class _Watch:
    """What is known about a running process."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.frame: wire.Frame | None = None
        self.stopped: tuple[Status, str] | None = None
        self.log = bytearray()
        self.printed = 0
        self.memory_bytes = 0
        self.stop_wanted = trio.Event()
        self.talked = trio.Event()

    def stop(self, status: Status, reason: str) -> None:
        """Asks for the process to be stopped; the first reason stands."""
        if self.stopped is None:
            self.stopped = (status, reason)
            self.stop_wanted.set()


class Worker:
    """A sandbox with a warm zygote, and at most one job process in it."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        control: trio.socket.SocketType,
        group: MemoryGroup | None,
        devices: tuple[pathlib.Path, ...],
    ) -> None:
        self._process = process
        self._control = control
        self._group = group
        self._devices = ":".join(map(str, devices))
        self._idle_bytes = 0
        self._inherited_bytes = 0
        self._busy = False
        self._closed = False

    @classmethod
    async def start(
        cls,
        sandbox: Sandbox,
        code: pathlib.Path,
        tokens: pathlib.Path,
        memory_bytes: int,
        devices: tuple[pathlib.Path, ...] = (),
    ) -> Worker:
        """Starts a worker and waits until it is warm. Call from the main thread.

        Args:
            sandbox: what confines it.
            code: the worker's code, from `stage_code`.
            tokens: file with the training tokens, the only data that it sees.
            memory_bytes: most memory of a job.
            devices: GPU devices, in GPU mode.

        Raises:
            WorkerError: it did not become ready.
            SandboxError: the sandbox could not be started.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        errors = os.memfd_create("worker-errors")
        group = make_group()
        door = None
        try:
            door = None if group is None else group.open_door()
            # Opened here, so that it may lie where the sandbox's user cannot go.
            with tokens.open("rb") as data:
                passed = (theirs.fileno(), data.fileno())
                spec = specification(
                    code, passed, errors, memory_bytes, group=door, devices=devices
                )
                process = sandbox.popen(spec)
        except BaseException:
            ours.close()
            os.close(errors)
            if group is not None:
                group.remove()
            raise
        finally:
            theirs.close()
            if door is not None:
                os.close(door)
        worker = cls(process, trio.socket.from_stdlib_socket(ours), group, devices)
        try:
            await worker._become_ready(errors)
        except BaseException:
            worker.close()
            raise
        finally:
            os.close(errors)
        return worker

    @property
    def alive(self) -> bool:
        """Whether it can take another job."""
        return not self._closed and self._process.poll() is None

    async def _become_ready(self, errors: int) -> None:
        event = None
        with trio.move_on_after(START_TIMEOUT_S):
            try:
                event = await self._next_event()
            except WorkerError as error:
                os.lseek(errors, 0, os.SEEK_SET)
                said = os.read(errors, _READ_BYTES).decode(errors="replace").strip()
                last = clip_reason(said.splitlines()[-1]) if said else "it said nothing"
                raise WorkerError(f"the sandboxed worker did not start: {last}") from error
        if event is None or event.name != "ready":
            raise WorkerError(f"the sandboxed worker was not ready within {START_TIMEOUT_S:.0f} s")
        self._idle_bytes = runner_memory.held_bytes(self._process.pid)
        self._inherited_bytes = runner_memory.data_bytes(self._process.pid)

    def close(self) -> None:
        """Kills the sandbox with everything in it."""
        self._closed = True
        self._control.close()
        kill_tree(self._process)
        if self._group is not None:
            self._group.remove()

    async def run(
        self,
        command: wire.Command,
        descriptors: Descriptors,
        bounds: Bounds,
        *,
        on_frame: Callable[[wire.Frame], None] | None = None,
        drive: Callable[[], Awaitable[tuple[Status, str] | None]] | None = None,
    ) -> Ended:
        """Runs one command in a process of its own until it has ended.

        Args:
            command: what to do.
            descriptors: its files; stay open and belong to the caller.
            bounds: what it may take.
            on_frame: called with its reports about itself.
            drive: talks with the process while it runs. When it returns a status and a reason
                the process is stopped for them; otherwise it is expected to end by itself.

        Raises:
            WorkerError: the worker broke down before it had a process for the command.
        """
        watch = _Watch(bounds)
        # The kernel's limit counts what a child inherits from the warm worker, and there is no
        # procfs in the sandbox to read it from.
        memory_bytes = bounds.memory_bytes + self._inherited_bytes
        settings = command.settings | {"memory_bytes": memory_bytes} | {"devices": self._devices}
        command = wire.Command(command.verb, settings)
        event: wire.Event | None = None
        kills = self._limit_group(bounds)
        with contextlib.ExitStack() as stack:
            frames, frames_end = pipe(stack)
            log, log_end = pipe(stack)
            async with self._killing_on_error():
                self._busy = True
                fds = [descriptors.script, descriptors.weights, frames_end.fd, log_end.fd]
                await self._send(command, [*fds, *descriptors.others])
                frames_end.close()
                log_end.close()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_watch_time, watch)
                    nursery.start_soon(self._watch_memory, watch)
                    nursery.start_soon(self._obey_stop, watch)
                    if drive is not None:
                        nursery.start_soon(self._converse, drive, watch)
                    async with trio.open_nursery() as readers:
                        readers.start_soon(_read_log, log.fd, watch)
                        readers.start_soon(_read_frames, frames.fd, watch, on_frame)
                        event = await self._exit()
                        # All pipes end with the process; a lost sandbox may keep them a moment.
                        readers.cancel_scope.deadline = trio.current_time() + KILL_GRACE_S
                        if drive is not None:
                            await watch.talked.wait()
                    nursery.cancel_scope.cancel()
        if self._group is not None:
            kills = self._group.kills() - kills
        stopped = watch.stopped or bounds.breach(event, kills)
        return Ended(event, watch.frame, stopped, bytes(watch.log), watch.memory_bytes)

    def _limit_group(self, bounds: Bounds) -> int:
        """Sets the group's limit, if there is a group; returns its kills so far."""
        if self._group is None:
            return 0
        # A group that cannot be limited leaves the limits that hold without one.
        with contextlib.suppress(OSError):
            self._group.limit(self._idle_bytes + bounds.memory_bytes)
        return self._group.kills()

    @contextlib.asynccontextmanager
    async def _killing_on_error(self) -> AsyncIterator[None]:
        """Leaves no process behind when the caller is cancelled or something here is wrong."""
        try:
            yield
        except BaseException:
            with trio.CancelScope(shield=True):
                await self._kill_child()
            raise

    async def _kill_child(self) -> None:
        if not self._busy:
            return
        with trio.move_on_after(KILL_GRACE_S):
            with contextlib.suppress(WorkerError):
                await self._send(wire.Command("kill"), [])
                await self._exit()
                return
        self.close()

    async def _converse(
        self, drive: Callable[[], Awaitable[tuple[Status, str] | None]], watch: _Watch
    ) -> None:
        fault = await drive()
        watch.talked.set()
        if fault is not None:
            watch.stop(*fault)
            return
        await trio.sleep(KILL_GRACE_S)
        # The conversation is over and its result stands, whatever still runs there.
        with contextlib.suppress(WorkerError):
            await self._send(wire.Command("kill"), [])

    async def _obey_stop(self, watch: _Watch) -> None:
        await watch.stop_wanted.wait()
        with contextlib.suppress(WorkerError):
            await self._send(wire.Command("kill"), [])
        await trio.sleep(KILL_GRACE_S)
        # Still here, so the zygote did not report an end: nothing less than this helps.
        kill_tree(self._process)

    async def _exit(self) -> wire.Event | None:
        """Waits for the end of the running process; None when the whole sandbox ended."""
        event = None
        try:
            while (event := await self._next_event()).name != "exited":
                pass
        except WorkerError:
            self.close()
            event = None
        self._busy = False
        return event

    async def _next_event(self) -> wire.Event:
        try:
            raw = await self._control.recv(wire.MESSAGE_BYTES_MAX + 1)
        except OSError as error:
            raise WorkerError("the sandboxed worker is gone") from error
        if not raw:
            raise WorkerError("the sandboxed worker is gone")
        try:
            return wire.decode_event(raw)
        except wire.WorkerProtocolError as error:
            raise WorkerError(f"the sandboxed worker misbehaves: {error}") from error

    async def _send(self, command: wire.Command, fds: list[int]) -> None:
        raw = wire.encode_command(command)
        try:
            if fds:
                packed = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, packed)
                await self._control.sendmsg([raw], [rights])
            else:
                await self._control.send(raw)
        except OSError as error:
            self.close()
            raise WorkerError("the sandboxed worker is gone") from error

    async def _watch_memory(self, watch: _Watch) -> None:
        while True:
            held = runner_memory.held_bytes(self._process.pid) - self._idle_bytes
            watch.memory_bytes = max(watch.memory_bytes, held)
            # A child shares its parent's pages until it writes to them, and they count twice.
            if held > watch.bounds.memory_bytes + self._idle_bytes:
                watch.stop(*watch.bounds.out_of_memory())
                return
            await trio.sleep(WATCH_EVERY_S)


async def _read(fd: int, size: int) -> bytes:
    while True:
        try:
            return os.read(fd, size)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(fd)


async def _read_log(fd: int, watch: _Watch) -> None:
    while chunk := await _read(fd, _READ_BYTES):
        watch.printed += len(chunk)
        watch.log += chunk
        del watch.log[: -watch.bounds.log_bytes]
        if watch.printed > OUTPUT_BYTES_MAX:
            watch.stop(*watch.bounds.too_much_output())
            return
        await trio.lowlevel.checkpoint()


async def _read_frames(
    fd: int, watch: _Watch, on_frame: Callable[[wire.Frame], None] | None
) -> None:
    pending = b""
    while chunk := await _read(fd, wire.FRAME_BYTES * _FRAMES_PER_READ):
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
        # Bounds what a flood of frames costs; an honest process sends five a second.
        await trio.sleep(FRAMES_EVERY_S)


async def _watch_time(watch: _Watch) -> None:
    await trio.sleep(watch.bounds.wall_s)
    watch.stop(*watch.bounds.out_of_time())
