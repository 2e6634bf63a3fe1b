"""The weaker backend for macOS: a profile for ``sandbox-exec``, used only with consent.

This file decides what the profile allows and how a program is started under it; both are pure
functions of the spec. It refuses to know whether the person agreed: ``selection`` asks for that.

Weaker, because macOS offers nothing like the second wall: no filter of system calls, no bound on
memory that holds for every kind of it, no processes that cannot see each other. The profile denies
by default; what it allows is the interpreter, the job's files, and what starting Python takes.
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

PROGRAM: Final = "/usr/bin/sandbox-exec"
SYSTEM_TREES: Final = ("/usr/lib", "/System/Library", "/System/Volumes/Preboot/Cryptexes")
READABLE_DEVICES: Final = ("/dev/null", "/dev/urandom", "/dev/random", "/dev/zero")

HEAD: Final = """\
(version 1)
(deny default)
(allow process-fork)
(allow signal (target self))
(allow process-info* (target self))
(allow sysctl-read)
(allow file-read-metadata (literal "/"))
(allow file-read* file-write-data (literal "/dev/null"))
"""
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

    def __init__(self, interpreter: Interpreter | None = None) -> None:
        """Find the program; nothing is started yet.

        Raises:
            SandboxError: when there is no ``sandbox-exec``.
        """
        if shutil.which(PROGRAM) is None:
            raise SandboxError(f"{PROGRAM} is not there")
        self._interpreter = interpreter or Interpreter.current()

    def popen(self, spec: SandboxSpec) -> subprocess.Popen[bytes]:
        """Start a program confined; see ``Sandbox.popen``."""
        if os.geteuid() == 0:
            # No ordinary user to become without a trusted program inside to do it.
            raise SandboxError("on macOS the node must not run as root")
        return start(command(spec, self._interpreter), spec, env=spec.env, extra_fds=())


def command(spec: SandboxSpec, interpreter: Interpreter) -> list[str]:
    """Return the whole command line that runs a spec's program confined and limited."""
    view = interpreter_view(interpreter)
    limiter = [str(interpreter.executable), "-I", "-S", "-B", "-c", LIMITER]
    limits = [part for name, value in limits_by_name(spec.limits) for part in (name, str(value))]
    return [PROGRAM, "-p", profile(view, spec.read_only), *limiter, *limits, "--", *spec.argv]


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
    real = dict.fromkeys(path for tree in (*trees, *read_only) for path in (tree, tree.resolve()))
    above = dict.fromkeys(parent for path in real for parent in path.parents)
    lines = [
        HEAD + OPENMP.rstrip(),
        f"(allow file-read-metadata {_all('literal', above)})",
        f"(allow file-read* {_all('subpath', real)})",
        f"(allow file-read* {_all('literal', map(Path, READABLE_DEVICES))})",
        f"(allow file-map-executable process-exec {_all('subpath', _both(trees))})",
    ]
    hidden = [mask for mask in view.masked if not any(mask in p.parents for p in read_only)]
    if hidden:
        lines.append(f"(deny file-read* {_all('subpath', hidden)})")
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
    if not text.isprintable() or not path.is_absolute():
        raise SandboxError(f"{text!r} cannot be named in a sandbox profile")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
