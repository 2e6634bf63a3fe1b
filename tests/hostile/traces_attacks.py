"""Attacks that leave something behind for the next job, or for whoever runs after it.

Each has two halves: one leaves, the other looks in a later job. Unsandboxed both run in one
process, as a careless runner would run them.
Staged into sandboxes: standard library and the confinement package only.
"""

import builtins
import ctypes
import os
import sys
from pathlib import Path

from tests.hostile.world import World, attack, libc
from trainer.confinement.kernel import system_call

MARK = "left by a hostile job"
SESSION_KEYRING = -3
SHARED_KEY = 0x686F7374


def _environment(_: World) -> str:
    return os.environ.get("HOSTILE_MARK", "")


@attack("traces", later=_environment)
def trace_in_environment(_: World) -> str:
    """Leave a variable in the environment."""
    os.environ["HOSTILE_MARK"] = MARK
    return ""


def _builtins(_: World) -> str:
    return str(getattr(builtins, "hostile_mark", ""))


@attack("traces", later=_builtins)
def trace_in_interpreter(_: World) -> str:
    """Replace a built-in function of the interpreter."""
    builtins.hostile_mark = MARK  # type: ignore[attr-defined]
    return ""


def _modules(_: World) -> str:
    return str(sys.modules.get("hostile_module", ""))


@attack("traces", later=_modules)
def trace_in_modules(_: World) -> str:
    """Plant a module under a name that a later import asks for."""
    sys.modules["hostile_module"] = sys
    return ""


def _limits(_: World) -> str:
    return "a changed umask" if os.umask(0o22) == 0o77 else ""


@attack("traces", later=_limits)
def trace_in_process(_: World) -> str:
    """Change the process: its umask."""
    os.umask(0o77)
    return ""


def _descriptor(_: World) -> str:
    try:
        return os.pread(63, 64, 0).decode()
    except OSError:
        return ""


@attack("traces", later=_descriptor)
def trace_in_descriptor(world: World) -> str:
    """Leave an open descriptor."""
    descriptor = os.open(Path(world.public) / "trace-fd", os.O_RDWR | os.O_CREAT)
    os.write(descriptor, MARK.encode())
    os.dup2(descriptor, 63)
    return ""


def _candidates(world: World) -> list[Path]:
    home = os.environ.get("HOME", "/")
    places = [world.public, "/tmp", "/var/tmp", "/dev/shm", "/run", "/", home]  # noqa: S108
    return [Path(place) / "hostile-trace" for place in places]


def _files(world: World) -> str:
    found = [str(path) for path in _candidates(world) if path.is_file()]
    for path in found:
        Path(path).unlink(missing_ok=True)
    return ", ".join(found)


@attack("traces", later=_files)
def trace_in_files(world: World) -> str:
    """Leave a file in every place where temporary files go."""
    for path in _candidates(world):
        try:
            path.write_text(MARK, encoding="ascii")
        except OSError:
            continue
    return ""


def _packages(world: World) -> str:
    for directory in (world.public, *sys.path):
        path = Path(directory) / "hostile_trace.pth"
        if path.exists():
            path.unlink()
            return f"code that {directory} runs at every start"
    return ""


@attack("traces", later=_packages)
def trace_in_packages(world: World) -> str:
    """Leave code where the interpreter runs it at every start."""
    for directory in (world.public, *sys.path):
        path = Path(directory) / "hostile_trace.pth"
        try:
            path.write_text(f"# {MARK}\n", encoding="ascii")
        except OSError:
            continue
        return ""
    return ""


def _cache(world: World) -> str:
    path = Path(world.public) / "__pycache__" / "module.cpython.pyc"
    return "a planted cache" if path.exists() else ""


@attack("traces", later=_cache)
def trace_in_cache(world: World) -> str:
    """Leave a compiled file in a cache that a later run loads."""
    directory = Path(world.public) / "__pycache__"
    directory.mkdir(exist_ok=True)
    (directory / "module.cpython.pyc").write_bytes(MARK.encode())
    return ""


def _keyring(_: World) -> str:
    found = system_call("keyctl", 10, SESSION_KEYRING, b"user", b"hostile", 0)
    return f"key {found}"


@attack("traces", later=_keyring)
def trace_in_keyring(_: World) -> str:
    """Leave a key in the session's keyring."""
    system_call("add_key", b"user", b"hostile", MARK.encode(), len(MARK), SESSION_KEYRING)
    return ""


def _shared_memory(_: World) -> str:
    identity = system_call("shmget", SHARED_KEY, 0, 0)
    libc("shmctl", identity, 0, 0)
    return f"segment {identity}"


@attack("traces", later=_shared_memory)
def trace_in_shared_memory(_: World) -> str:
    """Leave a System V memory segment."""
    system_call("shmget", SHARED_KEY, 4096, 0o1600)
    return ""


def _queue(_: World) -> str:
    system_call("mq_open", b"hostile", os.O_RDONLY, 0, 0)
    ctypes.CDLL("librt.so.1").mq_unlink(b"/hostile")
    return "a message queue"


@attack("traces", later=_queue)
def trace_in_queue(_: World) -> str:
    """Leave a POSIX message queue."""
    system_call("mq_open", b"hostile", os.O_RDWR | os.O_CREAT, 0o600, 0)
    return ""


def _executable(world: World) -> str:
    path = Path(world.public) / "start.sh"
    return "a changed program" if path.read_text(encoding="ascii").endswith(MARK) else ""


@attack("traces", later=_executable)
def trace_in_program(world: World) -> str:
    """Append to a program that somebody runs later."""
    with (Path(world.public) / "start.sh").open("a", encoding="ascii") as file:
        file.write(MARK)
    return ""
