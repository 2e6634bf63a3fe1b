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
import tempfile
from collections import deque
from typing import IO, TYPE_CHECKING, ClassVar, Final, Self

import trio

from node import runner_memory, runner_priority, runner_watch
from node.errors import NodeError
from node.runner_files import Descriptors, pipe
from node.runner_launch import Passed, specification
from node.runner_watch import READ_BYTES, Watch
from node.sandbox import MemoryGroup, kill_tree, make_group
from trainer.job import clip_reason
from trainer.worker import wire

if TYPE_CHECKING:
    import pathlib
    import subprocess
    from collections.abc import AsyncIterator, Awaitable, Callable

    from node.runner_limits import Bounds
    from node.sandbox import Sandbox
    from trainer.job import Status

START_TIMEOUT_S: Final = 180.0
"""A cold start imports torch: 3 s on an idle machine, over 10 s on a loaded one."""
KILL_GRACE_S: Final = 3.0
_WATCH_EVERY_S: Final = 0.1
"""What the kernel does not limit by itself is bounded by what can be written to in this time."""


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


class Worker:
    """A sandbox with a warm zygote, and at most one job process in it.

    Attributes:
        single_use: whether its one process becomes the job, instead of forking one for each.
        nice: how far its next jobs give way to those of other workers, from 0 to 19.
    """

    single_use: ClassVar[bool] = False
    _watch_every_s: ClassVar[float] = _WATCH_EVERY_S

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        control: trio.socket.SocketType,
        group: MemoryGroup | None,
        devices: tuple[pathlib.Path, ...],
        errors: IO[bytes],
    ) -> None:
        self._process = process
        self._control = control
        self._messages = wire.Messages()
        self._events: deque[bytes] = deque()
        self._group = group
        self._errors = errors
        self._ready = False
        self._devices = ":".join(map(str, devices))
        self._idle_bytes = 0
        self._inherited_bytes = 0
        self._warm_cpu_us = 0
        self.nice = 0
        self._session_nice = 0
        self._warm_processes: frozenset[int] = frozenset()
        self._busy = False
        self._closed = False

    @classmethod
    def launch(
        cls,
        sandbox: Sandbox,
        code: pathlib.Path,
        tokens: pathlib.Path,
        memory_bytes: int,
        devices: tuple[pathlib.Path, ...] = (),
    ) -> Self:
        """Starts a worker, which is warm when `ready` returns. Call from the main thread.

        Args:
            sandbox: what confines it.
            code: the worker's code, from `stage_code`.
            tokens: file with the training tokens, the only data that it sees.
            memory_bytes: most memory of a job.
            devices: GPU devices, in GPU mode.

        Raises:
            SandboxError: the sandbox could not be started.
        """
        # A stream, which every system has; `wire.Messages` finds the messages in it.
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        # Unlinked from the start: what the worker has to complain about.
        errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed once the worker is ready)
        group = make_group()
        door = None
        try:
            door = None if group is None else group.open_door()
            # Opened here, so that it may lie where the sandbox's user cannot go.
            with tokens.open("rb") as data:
                spec = specification(
                    code,
                    Passed(theirs.fileno(), data.fileno(), os.fstat(data.fileno()).st_size),
                    errors.fileno(),
                    memory_bytes,
                    group=door,
                    devices=devices,
                    single_use=cls.single_use,
                )
                process = sandbox.popen(spec)
        except BaseException:
            ours.close()
            errors.close()
            if group is not None:
                group.remove()
            raise
        finally:
            theirs.close()
            if door is not None:
                os.close(door)
        return cls(process, trio.socket.from_stdlib_socket(ours), group, devices, errors)

    async def ready(self) -> None:
        """Waits until it is warm; at once if it was ready before.

        Raises:
            WorkerError: it did not become ready, and is closed.
        """
        if self._ready:
            return
        try:
            await self._become_ready()
        except BaseException:
            self.close()
            raise
        self._ready = True
        self._errors.close()

    @property
    def alive(self) -> bool:
        """Whether it can take another job."""
        return not self._closed and self._process.poll() is None

    async def _become_ready(self) -> None:
        event = None
        with trio.move_on_after(START_TIMEOUT_S):
            try:
                event = await self._next_event()
            except WorkerError as error:
                raw = os.pread(self._errors.fileno(), READ_BYTES, 0)
                said = raw.decode(errors="replace").strip()
                last = clip_reason(said.splitlines()[-1]) if said else "it said nothing"
                raise WorkerError(f"the sandboxed worker did not start: {last}") from error
        if event is None or event.name != "ready":
            raise WorkerError(f"the sandboxed worker was not ready within {START_TIMEOUT_S:.0f} s")
        self._warm_processes = frozenset(runner_memory.family(self._process.pid))
        self._idle_bytes = runner_memory.held_bytes(self._process.pid)
        self._warm_cpu_us = event.cpu_us
        self._inherited_bytes = runner_memory.data_bytes(self._process.pid)

    def close(self) -> None:
        """Kills the sandbox with everything in it."""
        self._closed = True
        self._control.close()
        self._errors.close()
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
        watch = Watch(bounds)
        # The kernel's limit counts what a child inherits from the warm worker, and there is no
        # procfs in the sandbox to read it from.
        memory_bytes = bounds.memory_bytes + self._inherited_bytes
        settings = command.settings | {
            "memory_bytes": memory_bytes,
            "devices": self._devices,
            # Says what the job has to give up by itself before it reads the script.
            "second_wall": int(not self.single_use),
        }
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
                    nursery.start_soon(runner_watch.watch_time, watch)
                    nursery.start_soon(self._watch_memory, watch)
                    nursery.start_soon(self._give_way)
                    nursery.start_soon(self._obey_stop, watch)
                    if drive is not None:
                        nursery.start_soon(self._converse, drive, watch)
                    async with trio.open_nursery() as readers:
                        readers.start_soon(runner_watch.read_log, log.fd, watch)
                        readers.start_soon(runner_watch.read_frames, frames.fd, watch, on_frame)
                        event = await self._exit()
                        watch.ended.set()
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
                await self._ask_to_end()
                await self._exit()
                return
        self.close()

    async def _converse(
        self, drive: Callable[[], Awaitable[tuple[Status, str] | None]], watch: Watch
    ) -> None:
        fault = await drive()
        watch.talked.set()
        if fault is not None:
            watch.stop(*fault)
            return
        await trio.sleep(KILL_GRACE_S)
        # The conversation is over and its result stands, whatever still runs there.
        with contextlib.suppress(WorkerError):
            await self._ask_to_end()

    async def _ask_to_end(self) -> None:
        await self._send(wire.Command("kill"), [])

    async def _obey_stop(self, watch: Watch) -> None:
        await watch.stop_wanted.wait()
        with contextlib.suppress(WorkerError):
            await self._ask_to_end()
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
        while not self._events:
            try:
                raw = await self._control.recv(wire.MESSAGE_BYTES_MAX)
            except OSError as error:
                raise WorkerError("the sandboxed worker is gone") from error
            if not raw:
                raise WorkerError("the sandboxed worker is gone")
            try:
                self._events.extend(self._messages.feed(raw))
            except wire.WorkerProtocolError as error:
                raise WorkerError(f"the sandboxed worker misbehaves: {error}") from error
        try:
            return wire.decode_event(self._events.popleft())
        except wire.WorkerProtocolError as error:
            raise WorkerError(f"the sandboxed worker misbehaves: {error}") from error

    async def _send(self, command: wire.Command, fds: list[int]) -> None:
        raw = wire.encode_command(command)
        try:
            if fds:
                packed = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, packed)
                raw = raw[await self._control.sendmsg([raw], [rights]) :]
            while raw:
                raw = raw[await self._control.send(raw) :]
        except OSError as error:
            self.close()
            raise WorkerError("the sandboxed worker is gone") from error

    async def _give_way(self) -> None:
        """Makes the sandbox's sessions as nice as its next job, and the job's own process too."""
        nice = self.nice
        waits = nice > 0
        while waits or self._session_nice != nice:
            if runner_priority.renice_sessions(runner_memory.family(self._process.pid), nice):
                self._session_nice = nice
            if job := self._job_processes():
                runner_priority.renice(job, nice)
                waits = False
            await trio.sleep(self._watch_every_s)

    def _job_processes(self) -> set[int]:
        """Returns the processes that end with the running job."""
        return set(runner_memory.family(self._process.pid)) - self._warm_processes

    async def _watch_memory(self, watch: Watch) -> None:
        while True:
            held = runner_memory.held_bytes(self._process.pid) - self._idle_bytes
            watch.memory_bytes = max(watch.memory_bytes, held)
            if held > watch.bounds.memory_bytes + self._counted_twice_bytes():
                watch.stop(*watch.bounds.out_of_memory())
                return
            await trio.sleep(self._watch_every_s)

    def _counted_twice_bytes(self) -> int:
        """Returns how much of a job's memory may be its parent's, shared until it is written to."""
        return self._idle_bytes
