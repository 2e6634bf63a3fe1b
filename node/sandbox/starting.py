"""Starting a sandbox's first process: what both backends do alike.

This file decides how plan and descriptors are handed over. It refuses to know namespaces and rules.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from node.sandbox.interpreter import Interpreter
from node.sandbox.model import SandboxError, SandboxSpec
from trainer.confinement.enter import EntryPlan

CONFINEMENT: Final = Path(__file__).resolve().parents[2] / "trainer" / "confinement"
"""The low-level package, whose ``enter`` is the first thing to run in every sandbox."""


def entry_plan(
    spec: SandboxSpec,
    *,
    uid: int | None,
    processes: int | None,
    parent_pid: int | None = None,
    read: tuple[str, ...] | None = None,
    list_only: tuple[str, ...] = (),
    write: tuple[str, ...] = (),
) -> bytes:
    """Encode what ``trainer.confinement.enter`` is to do for ``spec``; see ``EntryPlan``."""
    return EntryPlan(
        argv=spec.argv,
        memory_bytes=spec.limits.memory_bytes,
        file_bytes=spec.limits.file_bytes,
        open_files=spec.limits.open_files,
        cpu_s=spec.limits.cpu_s,
        processes=processes,
        uid=uid,
        parent_pid=parent_pid,
        read=read,
        list_only=list_only,
        write=write,
        group_fd=spec.group_fd,
        gpu=bool(spec.devices),
    ).to_bytes()


def entry_command(interpreter: Interpreter, home: Path, plan_fd: int) -> list[str]:
    """Return the command line of the entry program.

    Args:
        interpreter: the Python that runs it.
        home: the directory that holds ``confinement``, where the program will see it.
        plan_fd: the inherited descriptor with the plan.
    """
    # The package is given by hand, so that nothing else of ``trainer`` needs to be there.
    code = (
        "import sys, types; package = types.ModuleType('trainer'); "
        f"package.__path__ = [{str(home)!r}]; sys.modules['trainer'] = package; "
        "from trainer.confinement.enter import main; sys.exit(main())"
    )
    # Isolated and without site: nothing of the environment's packages runs before confinement.
    return [str(interpreter.executable), "-I", "-S", "-B", "-c", code, str(plan_fd)]


def write_memfd(name: str, content: bytes) -> int:
    """Return a new descriptor from which ``content`` can be read.

    Raises:
        SandboxError: this is not Linux.
    """
    if sys.platform != "linux":
        raise SandboxError("only Linux's backends hand over plans and filters")
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def start(
    argv: Sequence[str],
    spec: SandboxSpec,
    *,
    env: Mapping[str, str],
    extra_fds: tuple[int, ...],
) -> subprocess.Popen[bytes]:
    """Start a backend's command with the spec's descriptors and nothing else of ours.

    Raises:
        SandboxError: off the main thread unless the spec allows it, or when the command cannot
            be started.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread and not spec.ends_with_thread:
        raise SandboxError("sandboxes are started from the main thread, with which they die")
    group_fd = spec.group_fd
    try:
        return subprocess.Popen(
            argv,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if spec.stdout_fd is None else spec.stdout_fd,
            stderr=subprocess.DEVNULL if spec.stderr_fd is None else spec.stderr_fd,
            close_fds=True,
            pass_fds=(*spec.pass_fds, *extra_fds, *(() if group_fd is None else (group_fd,))),
            start_new_session=True,
            cwd="/",
        )
    except OSError as error:
        raise SandboxError(f"cannot start {argv[0]}: {error}") from error
