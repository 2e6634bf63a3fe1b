"""What pip cannot bring: the platform, a supported Python, a C compiler, headers and bubblewrap.

Decides whether this machine can hold a swarm-node environment, which interpreter makes it, and
which system packages are missing; installs those with apt-get where it is root on Debian or Ubuntu,
and otherwise stops with the exact command. Refuses to know about virtual environments and pip.

This module runs before anything is installed, on whatever `python3` there is, so it keeps to the
standard library and to syntax that Python 3.8 reads.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: The versions on which every pin installs, as in `requires-python`; the preferred one first.
SUPPORTED = ((3, 12), (3, 13), (3, 11))
SUPPORTED_TEXT = "Python 3.11, 3.12 or 3.13"
#: The 64-bit machines for which torch and the other pins have Linux wheels.
MACHINES = ("x86_64", "aarch64")
MACOS_SANDBOX = "macOS's sandbox is weaker than Linux's, so the first start asks for your consent"
#: Bounds one probe of an interpreter or of the compiler, so that a hanging shim cannot stop set-up.
PROBE_LIMIT_S = 60
#: Lines of a failed program's output that are shown.
SHOWN_LINES = 20

_PROBE = """
import json, sys, sysconfig
try:
    import ensurepip, venv
    makes_venv = True
except ImportError:
    makes_venv = False
print(json.dumps({
    "version": list(sys.version_info[:3]),
    "include": sysconfig.get_paths()["include"],
    "compiler": sysconfig.get_config_var("CC") or "cc",
    "makes_venv": makes_venv,
}))
"""


class SetupError(Exception):
    """Set-up cannot go on; the text tells the person what to do."""


@dataclass(frozen=True)
class Interpreter:
    """A Python that could make the environment, and how it compiles extensions."""

    path: str
    version: tuple[int, int, int]
    include: str
    compiler: tuple[str, ...]
    makes_venv: bool

    @property
    def minor(self) -> str:
        """The version that package names carry, such as `3.12`."""
        return f"{self.version[0]}.{self.version[1]}"


@dataclass(frozen=True)
class Piece:
    """Something that the system's package manager has to bring."""

    name: str
    debian: tuple[str, ...]
    fedora: tuple[str, ...]
    required: bool = True


class Machine:
    """This computer, as far as set-up asks about it. Tests put another one in its place."""

    def __init__(self) -> None:
        self.platform = sys.platform
        self.kernel = platform.release()
        self.machine = platform.machine()
        self.python = sys.executable
        self.compiler = os.environ.get("CC", "")

    @property
    def is_root(self) -> bool:
        """Whether system packages can be installed without asking for a password."""
        return hasattr(os, "geteuid") and os.geteuid() == 0

    def which(self, program: str) -> str | None:
        """Return the path of a program on PATH."""
        return shutil.which(program)

    def exists(self, path: str) -> bool:
        """Tell whether a file is there."""
        return Path(path).exists()

    def run(
        self, command: list[str], stdin: str = "", limit_s: int = PROBE_LIMIT_S
    ) -> tuple[int, str]:
        """Run a program in an empty directory and return its exit status and what it printed."""
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        with tempfile.TemporaryDirectory() as directory:
            try:
                done = subprocess.run(
                    command,
                    input=stdin,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    cwd=directory,
                    env=environment,
                    encoding="utf-8",
                    errors="replace",
                    timeout=limit_s,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                return 127, str(error)
        return done.returncode, done.stdout


def refusal(machine: Machine) -> str | None:
    """Return the sentence for a platform that swarm-node does not run on, or None."""
    if machine.platform == "darwin":
        if machine.machine == "arm64":
            return None
        return f"torch has no macOS build for {machine.machine}, only for Apple's own processors."
    if machine.platform in {"win32", "cygwin"}:
        return (
            "swarm-node runs on Windows inside WSL2: install it with `wsl --install`, then clone "
            "and run make there."
        )
    if not machine.platform.startswith("linux"):
        return f"swarm-node runs on Linux, WSL2 and macOS, not on {machine.platform}."
    if machine.kernel.endswith("-Microsoft"):
        return (
            "This is WSL1, which has no sandbox: convert it with `wsl --set-version NAME 2` and "
            "run make again."
        )
    if machine.machine not in MACHINES:
        return f"torch has no Linux build for {machine.machine}, only for x86_64 and aarch64."
    return None


def probe(machine: Machine, command: str) -> Interpreter | None:
    """Ask one interpreter about itself; None when it is absent or does not answer."""
    path = machine.which(command)
    if path is None:
        return None
    # A pyenv shim is on PATH for versions that are switched off, and then fails when it runs.
    status, output = machine.run([path, "-c", _PROBE])
    if status != 0:
        return None
    try:
        told = json.loads(output.strip().split("\n")[-1])
        major, minor, micro = told["version"]
        compiler = tuple(shlex.split(machine.compiler or told["compiler"]))
        return Interpreter(
            path, (major, minor, micro), told["include"], compiler, told["makes_venv"]
        )
    except (ValueError, KeyError, TypeError):
        return None


def find_interpreter(machine: Machine, wanted: str | None) -> Interpreter | None:
    """Choose the interpreter that makes the environment.

    Args:
        machine: Where to look.
        wanted: The interpreter that the person named, which is then the only candidate.

    Returns:
        The first supported one that lacks nothing, else the first supported one, else None.
    """
    named = [f"python{major}.{minor}" for major, minor in SUPPORTED]
    candidates = [wanted] if wanted else [machine.python, "python3", *named]
    found = [interpreter for name in candidates if (interpreter := probe(machine, name))]
    supported = [one for one in found if one.version[:2] in SUPPORTED]
    complete = [one for one in supported if one.makes_venv and _has_headers(machine, one)]
    return next(iter([*complete, *supported]), None)


def _has_headers(machine: Machine, interpreter: Interpreter) -> bool:
    return machine.exists(f"{interpreter.include}/Python.h")


def _compiles(machine: Machine, interpreter: Interpreter, source: str, *flags: str) -> bool:
    """Compile and link a program: what the build of an extension is about to do."""
    command = [*interpreter.compiler, "-x", "c", "-", "-o", "probe", *flags]
    return machine.run(command, stdin=source)[0] == 0


def missing_pieces(machine: Machine, interpreter: Interpreter | None) -> list[Piece]:
    """Name what pip cannot bring and this machine lacks, required pieces first.

    Without a compiler the GMP headers cannot be tried, so they are named with it: installing what
    is there already changes nothing.
    """
    minor = interpreter.minor if interpreter else "3.11"
    system = f"python{minor}"
    # Fedora's packages of its own Python carry no minor version in their names.
    own = probe(machine, "/usr/bin/python3") if interpreter else None
    fedora = "python3" if own and own.minor == minor else system
    pieces = []
    if interpreter is None:
        debian = (system, f"{system}-venv", f"{system}-dev")
        pieces.append(Piece(SUPPORTED_TEXT, debian, (fedora, f"{fedora}-devel")))
    elif not interpreter.makes_venv:
        pieces.append(Piece("Python's venv module", (f"{system}-venv",), (fedora,)))
    if machine.platform == "darwin":
        return pieces  # every pin that needs compiling has a wheel there
    if interpreter and not _has_headers(machine, interpreter):
        pieces.append(Piece("Python's C headers", (f"{system}-dev",), (f"{fedora}-devel",)))

    hello = '#include <stdio.h>\nint main(void) { return puts("") < 0; }\n'
    gmp = "#include <gmp.h>\nint main(void) { mpz_t n; mpz_init(n); return 0; }\n"
    tried = interpreter or Interpreter("", (0, 0, 0), "", ("cc",), makes_venv=False)
    compiler_works = _compiles(machine, tried, hello)
    if not compiler_works:
        pieces.append(Piece("a C compiler", ("gcc", "libc6-dev"), ("gcc", "glibc-devel")))
    if not compiler_works or not _compiles(machine, tried, gmp, "-lgmp"):
        pieces.append(Piece("the GMP headers", ("libgmp-dev",), ("gmp-devel",)))
    if machine.which("bwrap") is None:
        pieces.append(Piece("bubblewrap", ("bubblewrap",), ("bubblewrap",), required=False))
    return pieces


def install_commands(machine: Machine, pieces: list[Piece]) -> str:
    """Return the exact commands that bring `pieces`, one line per family of distributions."""
    if machine.platform == "darwin":
        return "  macOS:  brew install python@3.12"
    sudo = "" if machine.is_root else "sudo "
    debian = " ".join(name for piece in pieces for name in piece.debian)
    fedora = " ".join(name for piece in pieces for name in piece.fedora)
    return (
        f"  Debian/Ubuntu:  {sudo}apt-get update && {sudo}apt-get install -y {debian}\n"
        f"  Fedora:         {sudo}dnf install -y {fedora}"
    )


def install(machine: Machine, pieces: list[Piece], say: Callable[[str], None]) -> bool:
    """Install `pieces` with apt-get, which only root on Debian or Ubuntu can.

    Returns:
        Whether apt-get ran and succeeded. Its last lines are shown when it failed.
    """
    if not machine.is_root or machine.which("apt-get") is None:
        return False
    packages = [name for piece in pieces for name in piece.debian]
    say(f"installing with apt-get: {' '.join(packages)}")
    wait = ["-o", "DPkg::Lock::Timeout=120"]
    for command in (
        ["apt-get", "update", "-qq", *wait],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *wait, *packages],
    ):
        status, output = machine.run(command, limit_s=600)
        if status != 0:
            last = "\n".join(output.strip().split("\n")[-SHOWN_LINES:])
            say(f"`{' '.join(command[:2])}` failed:\n{last}")
            return False
    return True


def ensure(machine: Machine, wanted: str | None, say: Callable[[str], None]) -> Interpreter:
    """Check everything that pip cannot bring and install what is missing where that is possible.

    Args:
        machine: The computer to check.
        wanted: The interpreter that the person named, or None to choose one.
        say: Takes one line for the person at the terminal.

    Returns:
        The interpreter that makes the environment.

    Raises:
        SetupError: With the exact command, when something required is missing.
    """
    interpreter = find_interpreter(machine, wanted)
    if wanted and interpreter is None:
        raise SetupError(f"{wanted} is not a working {SUPPORTED_TEXT}.")
    missing = missing_pieces(machine, interpreter)
    if missing and install(machine, missing, say):
        interpreter = find_interpreter(machine, wanted)
        missing = missing_pieces(machine, interpreter)

    required = [piece for piece in missing if piece.required]
    if required or interpreter is None:
        names = ", ".join(piece.name for piece in required)
        commands = install_commands(machine, missing)
        raise SetupError(f"missing: {names}. Install with\n{commands}\nand run make again.")
    version = ".".join(str(part) for part in interpreter.version)
    if machine.platform == "darwin":
        say(f"Python {version} at {interpreter.path}; {MACOS_SANDBOX}")
        return interpreter
    say(f"Python {version} at {interpreter.path}; C compiler, GMP and Python headers are here")
    say_bubblewrap(machine, say)
    return interpreter


def say_bubblewrap(machine: Machine, say: Callable[[str], None]) -> None:
    """Say which sandbox this machine will use; neither answer stops set-up."""
    bubblewrap = machine.which("bwrap")
    if bubblewrap is None:
        piece = Piece("bubblewrap", ("bubblewrap",), ("bubblewrap",), required=False)
        say(
            "warning: bubblewrap is missing, so sandboxes use Landlock where the kernel has it. "
            "The stronger sandbox comes with\n" + install_commands(machine, [piece])
        )
        return
    trial = [bubblewrap, "--unshare-user", "--unshare-net", "--ro-bind", "/", "/", "--", "true"]
    if machine.run(trial)[0] == 0:
        say("bubblewrap is here and works")
    else:
        say(
            "warning: bubblewrap is here but may not make namespaces on this machine, so sandboxes "
            "use Landlock where the kernel has it; `swarm-node doctor` says more"
        )
