"""The fallback backend where namespaces are not to be had: Landlock and a stricter filter.

This file decides which files Landlock allows and what has to make up for missing namespaces. It
refuses to know what runs inside.

Docker's default profile and stock Ubuntu 24.04 refuse user namespaces but have Landlock. Opening
files is then decided by path in the real file system; whether a file *exists* can still be seen.
There is no PID namespace: signals are stopped by Landlock's scope, or by the filter on kernels
before 6.12, and other processes' memory and environment by Landlock, which grants nothing of
``/proc`` but two files. Root becomes an unused uid as under bubblewrap, but before it opens
anything, so everything the program needs must be readable by all users.
"""

import os
import stat
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from node.sandbox.interpreter import KERNEL_FACTS, Interpreter, carve, interpreter_view
from node.sandbox.model import SandboxError, SandboxSpec
from node.sandbox.starting import CONFINEMENT, entry_command, entry_plan, start, write_memfd
from node.sandbox.users import next_sandbox_uid, threads_of_user
from trainer.confinement import landlock

KERNEL_NEEDED: Final = "Linux 6.2"


class Landlock:
    """Starts programs under Landlock."""

    name: Final = "landlock"
    second_wall: Final = True

    def __init__(
        self, interpreter: Interpreter | None = None, confinement: Path = CONFINEMENT
    ) -> None:
        """Work out the rules; nothing is started yet.

        Args:
            interpreter: the Python to allow, this one if left out.
            confinement: the package to enter by; tests give one that speaks an older Landlock.

        Raises:
            SandboxError: when the kernel's Landlock is missing or too old.
        """
        version = landlock.version()
        if version < landlock.MINIMUM_VERSION:
            raise SandboxError(
                f"the kernel's Landlock version is {version or 'none'}; "
                f"{landlock.MINIMUM_VERSION} ({KERNEL_NEEDED}) is needed"
            )
        self._interpreter = interpreter or Interpreter.current()
        self._confinement = confinement
        view = interpreter_view(self._interpreter)
        self._read: list[Path] = []
        self._list_only: list[Path] = []
        for tree in view.trees:
            read, list_only = carve(tree.resolve(), view.masked)
            self._read += read
            self._list_only += list_only
        self._needed = (self._interpreter.executable.resolve(), *self._interpreter.search_path)

    def popen(self, spec: SandboxSpec) -> subprocess.Popen[bytes]:
        """Start a program confined; see ``Sandbox.popen``."""
        root = os.geteuid() == 0
        if root:
            self._check_reachable(spec.read_only)
        read = [*self._read, *map(Path, KERNEL_FACTS), Path("/dev/urandom"), *spec.read_only]
        plan = entry_plan(
            spec,
            uid=next_sandbox_uid() if root else None,
            # The limit counts all of a user's threads, and an ordinary user has others.
            processes=spec.limits.processes + (0 if root else threads_of_user(os.getuid())),
            parent_pid=os.getpid(),
            read=_texts(read),
            list_only=_texts(self._list_only),
            write=("/dev/null", *map(str, spec.devices)),
        )
        plan_fd = write_memfd("plan", plan)
        try:
            argv = entry_command(self._interpreter, self._confinement.parent, plan_fd)
            return start(argv, spec, env=spec.env, extra_fds=(plan_fd,))
        finally:
            os.close(plan_fd)

    def _check_reachable(self, read_only: Iterable[Path]) -> None:
        for path in (*self._needed, *read_only):
            obstacle = obstacle_for_others(path)
            if obstacle is not None:
                raise SandboxError(
                    f"the ordinary user that root becomes cannot reach {path}: "
                    f"{obstacle} is closed to other users"
                )


def obstacle_for_others(path: Path) -> Path | None:
    """Return the outermost part of ``path`` that other users may not read or enter, if any."""
    real = path.resolve()
    for part in (*reversed(real.parents), real):
        try:
            mode = part.stat().st_mode
        except OSError:
            return part
        needed = stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH
        if not mode & needed:
            return part
    return None


def _texts(paths: Iterable[Path]) -> tuple[str, ...]:
    return tuple(str(path) for path in dict.fromkeys(paths))
