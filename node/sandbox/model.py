"""What a sandbox is asked for and what it answers: the types shared by both backends.

This file decides the vocabulary (spec, limits, promise, report). It refuses to know how a promise
is kept.
"""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class SandboxError(Exception):
    """A sandboxed program could not be started or watched."""


class SandboxUnavailableError(SandboxError):
    """No backend keeps every promise on this machine; strangers' code must not run.

    Attributes:
        report: which promise fails on which backend, and what to do about it.
    """

    def __init__(self, message: str, report: "SandboxReport") -> None:
        super().__init__(message)
        self.report = report


@dataclass(frozen=True)
class SandboxLimits:
    """Resources of one sandbox, enforced by the kernel on each process in it.

    Attributes:
        memory_bytes: writable private memory of one process.
        processes: processes and threads at once.
        file_bytes: the longest file that may be written, in practice the output buffer.
        open_files: descriptors of one process.
        cpu_s: CPU seconds of one process, ``None`` for no limit.
    """

    memory_bytes: int
    processes: int = 256
    file_bytes: int = 1 << 30
    open_files: int = 256
    cpu_s: int | None = None


@dataclass(frozen=True)
class SandboxSpec:
    """One program to run in a sandbox.

    Attributes:
        argv: the program and its arguments; the program is usually ``sys.executable``.
        limits: resources.
        env: the complete environment, see ``minimal_environment``.
        read_only: files and directories visible inside, read-only, at the same absolute path.
            They must not lie where an untrusted program could have replaced them.
        pass_fds: descriptors inherited under the same numbers. The only way out of a sandbox.
        stdout_fd: where standard output goes; nowhere if ``None``.
        stderr_fd: where standard error goes; nowhere if ``None``.
        ends_with_thread: the starting thread outlives the program, so that it may be another than
            the main one: the kernel kills a sandbox when the thread that started it ends.
        devices: GPU devices to show; empty but in GPU mode, whose risk ``gpu.RISK`` states.
        group_fd: from ``MemoryGroup.open_door``: the control group to move into first.
    """

    argv: tuple[str, ...]
    limits: SandboxLimits
    env: Mapping[str, str]
    read_only: tuple[Path, ...] = ()
    pass_fds: tuple[int, ...] = ()
    stdout_fd: int | None = None
    stderr_fd: int | None = None
    ends_with_thread: bool = False
    group_fd: int | None = None
    devices: tuple[Path, ...] = ()


class Sandbox(Protocol):
    """A way to run a program confined."""

    @property
    def name(self) -> str:
        """``bubblewrap``, ``landlock`` or ``seatbelt``."""

    @property
    def second_wall(self) -> bool:
        """Whether a job's process can give up more by itself, so that one sandbox serves many."""

    def popen(self, spec: SandboxSpec) -> subprocess.Popen[bytes]:
        """Start a program confined; it dies with the calling thread, so call from the main one.

        Raises:
            SandboxError: when it could not be started, or off the main thread.
        """


def minimal_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment that sandboxed Python and torch need, and nothing of the node's.

    Args:
        extra: variables to add or replace.
    """
    return {
        "HOME": "/",
        "LANG": "C.UTF-8",
        "LOGNAME": "sandbox",
        # Bytecode and compile caches have nowhere to go: no directory is writable.
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONNOUSERSITE": "1",
        "PYTHONSAFEPATH": "1",
        # torch creates this directory on import unless it exists; the root always does.
        "TORCHINDUCTOR_CACHE_DIR": "/",
        "USER": "sandbox",
        **(extra or {}),
    }


@dataclass(frozen=True)
class Promise:
    """One thing that the sandbox guarantees.

    Attributes:
        key: short stable name, as ``doctor --json`` prints it.
        text: the guarantee in a sentence.
    """

    key: str
    text: str


@dataclass(frozen=True)
class PromiseResult:
    """What the self-test found about one promise.

    Attributes:
        promise: which.
        kept: whether the attack failed, as it must.
        detail: what happened, for a person to read.
    """

    promise: Promise
    kept: bool
    detail: str


@dataclass(frozen=True)
class BackendReport:
    """What the self-test found about one backend.

    Attributes:
        name: ``bubblewrap`` or ``landlock``.
        results: one per promise, in a fixed order; empty when nothing could be started.
        problem: why nothing could be started, or ``None``.
        remedy: what a person can do, empty when all is well.
        seconds: how long the test took.
    """

    name: str
    results: tuple[PromiseResult, ...] = ()
    problem: str | None = None
    remedy: str = ""
    seconds: float = 0.0

    @property
    def usable(self) -> bool:
        """Whether every promise is kept."""
        return self.problem is None and bool(self.results) and all(r.kept for r in self.results)


@dataclass(frozen=True)
class SandboxReport:
    """What the self-test found about every backend, best first."""

    backends: tuple[BackendReport, ...]

    @property
    def chosen(self) -> str | None:
        """The first usable backend's name, or ``None``."""
        return next((b.name for b in self.backends if b.usable), None)

    def lines(self) -> list[str]:
        """Return the report as text lines for a terminal."""
        lines = []
        for backend in self.backends:
            state = "usable" if backend.usable else "not usable"
            lines.append(f"{backend.name}: {state}")
            if backend.problem is not None:
                lines.append(f"  {backend.problem}")
            lines += [
                f"  {'kept  ' if r.kept else 'BROKEN'} {r.promise.text}"
                + ("" if r.kept else f" ({r.detail})")
                for r in backend.results
            ]
            if backend.remedy:
                lines += [f"  remedy: {line}" for line in backend.remedy.splitlines()]
        return lines
