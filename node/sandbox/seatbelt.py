"""The weaker backend for macOS: a profile for ``sandbox-exec``, used only with consent.

This file decides what the profile allows and how a program is started under it; both are pure
functions of the spec. It refuses to know whether the person agreed: ``selection`` asks for that.

Weaker, because macOS offers nothing like the second wall: no filter of system calls, no bound of
the kernel's on memory, no processes that cannot see each other. So one sandbox holds one process
and one job: the profile refuses forks, and the next job gets a fresh one. It denies by default;
what it allows is the interpreter, the job's files, and what starting Python takes.
"""

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from node.sandbox.interpreter import Interpreter, View, interpreter_view
from node.sandbox.model import SandboxError, SandboxLimits, SandboxSpec
from node.sandbox.starting import start

PROGRAM: Final = Path("/usr/bin/sandbox-exec")
"""By its full name: what a person has on PATH must not stand in for it."""
SYSTEM_TREES: Final = (
    *("/usr/lib", "/usr/share", "/System/Library", "/private/var/db/dyld"),
    *("/System/Cryptexes", "/System/Volumes/Preboot/Cryptexes"),
)
"""The loader's caches, the system's libraries, time zones and character tables."""
PACKAGE_MANAGER_TREES: Final = tuple(
    f"{root}/{name}"
    for root in ("/opt/homebrew", "/usr/local")
    for name in ("Cellar", "opt", "lib")
)
"""Homebrew's libraries, to which a Python of its own and its modules are linked."""
FRAMEWORK_PARTS: Final = ("Python", "Python3", "Resources")
"""A framework's Python starts a second program inside its bundle, in the same process."""
READABLE_DEVICES: Final = ("/dev/null", "/dev/urandom", "/dev/random", "/dev/zero")

HEAD: Final = """\
(version 1)
(deny default)
(allow signal (target self))
(allow process-info* (target self))
(allow sysctl-read)
(allow file-read-metadata)
(allow file-read* (literal "/"))
(allow file-read* file-write-data (literal "/dev/null"))
"""
"""Metadata of any file: the loader and Python look at every directory above what they open, and a
job's files have no name by which they could be allowed. The root directory itself is read by the
loader, which aborts without it."""
OPENMP: Final = """\
(allow ipc-posix-sem)
(allow ipc-posix-shm-read* ipc-posix-shm-write-create ipc-posix-shm-write-data
  ipc-posix-shm-write-unlink (ipc-posix-name-regex #"^/__KMP_REGISTERED_LIB_[0-9]+$"))
"""
"""torch's OpenMP registers itself in shared memory of this name and dies without it."""

LIMITER: Final = (
    "import os, resource as r, sys\n"
    "for name, value in zip(sys.argv[1::2], sys.argv[2::2]):\n"
    "  if name == '--': break\n"
    "  r.setrlimit(getattr(r, name), (int(value), int(value)))\n"
    "program = sys.argv[sys.argv.index('--') + 1:]\n"
    "os.execv(program[0], program)\n"
)
"""Sets the limits that macOS has, inside, and becomes the program."""


class Seatbelt:
    """Starts programs under ``sandbox-exec``."""

    name: Final = "seatbelt"
    second_wall: Final = False

    def __init__(
        self,
        interpreter: Interpreter | None = None,
        *,
        program: Path = PROGRAM,
        is_root: bool | None = None,
    ) -> None:
        """Find the program; nothing is started yet.

        Args:
            interpreter: the Python to show inside, this one if left out.
            program: what confines; tests give one for their own system.
            is_root: whether this process is root, asked of the system if left out.

        Raises:
            SandboxError: when there is no ``sandbox-exec``, or this is root.
        """
        if shutil.which(program) is None:
            raise SandboxError(f"{program} is not there")
        if os.geteuid() == 0 if is_root is None else is_root:
            # No ordinary user to become without a trusted program inside to do it.
            raise SandboxError("on macOS the node must not run as root")
        self._program = program
        self._interpreter = interpreter or Interpreter.current()

    def popen(self, spec: SandboxSpec) -> subprocess.Popen[bytes]:
        """Start a program confined; see ``Sandbox.popen``."""
        argv = command(spec, self._interpreter, self._program)
        return start(argv, spec, env=spec.env, extra_fds=())


def command(spec: SandboxSpec, interpreter: Interpreter, program: Path = PROGRAM) -> list[str]:
    """Return the whole command line that runs a spec's program confined and limited."""
    view = framework_view(interpreter, interpreter_view(interpreter))
    limiter = [str(interpreter.executable), "-I", "-S", "-B", "-c", LIMITER]
    limits = [part for name, value in limits_by_name(spec.limits) for part in (name, str(value))]
    text = profile(view, spec.read_only)
    return [str(program), "-p", text, *limiter, *limits, "--", *spec.argv]


def framework_view(interpreter: Interpreter, view: View) -> View:
    """Return a view with what a framework build of Python needs beside its libraries."""
    parts = (interpreter.base_prefix / name for name in FRAMEWORK_PARTS)
    homebrew = (Path(tree) for tree in PACKAGE_MANAGER_TREES)
    more = tuple(path for path in (*parts, *homebrew) if path.exists())
    return View(trees=(*view.trees, *more), masked=view.masked)


def limits_by_name(limits: SandboxLimits) -> list[tuple[str, int]]:
    """Return the limits that macOS keeps; it ignores those of data and address space."""
    named = [
        ("RLIMIT_FSIZE", limits.file_bytes),
        ("RLIMIT_NOFILE", limits.open_files),
        ("RLIMIT_CORE", 0),
    ]
    return named if limits.cpu_s is None else [*named, ("RLIMIT_CPU", limits.cpu_s)]


def profile(view: View, read_only: Iterable[Path]) -> str:
    """Return the profile for an interpreter and the files handed over.

    Later rules win: the masks that hide our own packages come after what allows their parents.

    Args:
        view: what the interpreter needs and what must stay hidden.
        read_only: the spec's files and directories.

    Raises:
        SandboxError: when a path cannot be written in a profile.
    """
    trees = [*view.trees, *map(Path, SYSTEM_TREES)]
    lines = [
        HEAD + OPENMP.rstrip(),
        f"(allow file-read* {_all('subpath', _both(trees))})",
        f"(allow file-read* {_all('literal', map(Path, READABLE_DEVICES))})",
        f"(allow file-map-executable process-exec {_all('subpath', _both(trees))})",
    ]
    if view.masked:
        lines.append(f"(deny file-read* {_all('subpath', view.masked)})")
    handed_over = _both(read_only)
    if handed_over:
        lines.append(f"(allow file-read* {_all('subpath', handed_over)})")
    lines.append("(deny network*)")
    return "\n".join(lines) + "\n"


def _both(paths: Iterable[Path]) -> list[Path]:
    return list(dict.fromkeys(p for path in paths for p in (path, path.resolve())))


def _all(kind: str, paths: Iterable[Path]) -> str:
    return " ".join(f"({kind} {_quoted(path)})" for path in paths)


def _quoted(path: Path) -> str:
    text = str(path)
    # The profile's language is ASCII; a name beyond it is refused rather than half understood.
    if not (text.isascii() and text.isprintable() and path.is_absolute()):
        raise SandboxError(f"{text!r} cannot be named in a sandbox profile")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
