"""The attacks of the self-test, one for each promise of a sandbox.

Each tries in several ways to break one promise and returns what it got; an empty list means that
the promise was kept. This file decides what is tried. It refuses to know how it is stopped, so that
the same attacks are their own control: outside a sandbox every one must succeed. It is staged into
sandboxes beside `probe.py`, which runs it, and imports nothing but the confinement package.
"""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trainer.confinement.errors import ConfinementError
from trainer.confinement.kernel import held_capabilities, system_call

AF_NETLINK: Final = 16
AF_VSOCK: Final = 40
PTRACE_ATTACH: Final = 16
CLONE_NEWUSER: Final = 0x10000000
MAP_GROWSDOWN: Final = 0x100
F_SETOWN: Final = 8
DESCRIPTORS_LOOKED_AT: Final = 1024
REFUSALS: Final = (errno.EPERM, errno.EACCES)
SET_BY_SYSTEMS: Final = frozenset(
    ("PWD", "LC_CTYPE", "__CF_USER_TEXT_ENCODING", "__PYVENV_LAUNCHER__")
)
"""bubblewrap sets the first to the directory that it was told to change to, Python the second where
the language is unknown, and macOS the rest in any process."""


@dataclass(frozen=True)
class Parameters:
    """What the node tells the probe.

    Attributes:
        canary: a file that every user may read outside.
        own_data: files of our packages, present outside.
        node_pid: the node's process.
        inherited: descriptors that the probe should have.
        environment: names of the variables that it should have.
        memory_bytes: its memory limit.
        tighten: whether to run the second half tightened; a control run does not.
        weaker: whether to try only what the weaker sandbox promises, which has no second half.
    """

    canary: str
    own_data: tuple[str, ...]
    node_pid: int
    inherited: tuple[int, ...]
    environment: tuple[str, ...]
    memory_bytes: int
    tighten: bool = True
    weaker: bool = False


Attack = Callable[[Parameters], list[str]]


def _readable(paths: Iterable[str]) -> list[str]:
    got = []
    for path in paths:
        with contextlib.suppress(OSError), Path(path).open("rb") as file:
            file.read(1)
            got.append(f"read {path}")
    return got


def open_sockets(_: Parameters) -> list[str]:
    """Make a socket of any family."""
    families = {
        "inet": socket.AF_INET,
        "inet6": socket.AF_INET6,
        "unix": socket.AF_UNIX,
        "netlink": AF_NETLINK,
        "vsock": AF_VSOCK,
    }
    got = []
    for name, family in families.items():
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with contextlib.suppress(OSError), socket.socket(family, kind):
                got.append(f"{name} socket of type {int(kind)}")
    return got


def read_canary(parameters: Parameters) -> list[str]:
    """Read a file that the sandbox was not given, and the usual secrets."""
    return _readable((parameters.canary, "/etc/passwd", "/etc/hostname", "/root/.bashrc"))


def read_own_data(parameters: Parameters) -> list[str]:
    """Read our packages, whose data holds the validation bytes."""
    return _readable(parameters.own_data)


def read_processes(parameters: Parameters) -> list[str]:
    """Read another process's environment, memory map or memory."""
    pids = {1, os.getppid(), parameters.node_pid} - {0, os.getpid()}
    names = ("environ", "maps", "mem", "cmdline", "fd/0")
    return _readable(f"/proc/{pid}/{name}" for pid in sorted(pids) for name in names)


def write_anywhere(parameters: Parameters) -> list[str]:
    """Create or change a file in every likely place."""
    places = {"/", "/tmp", "/var/tmp", "/dev/shm", "/dev", "/run", "/etc", sys.prefix}  # noqa: S108
    places |= {str(Path(parameters.canary).parent), str(Path(__file__).parent), *sys.path}
    got = []
    for place in sorted(places):
        path = Path(place) / f"probe-{os.getpid()}"
        with contextlib.suppress(OSError):
            path.touch()
            path.unlink()
            got.append(f"created {path}")
    for existing in (__file__, sys.executable, parameters.canary):
        with contextlib.suppress(OSError):
            Path(existing).chmod(Path(existing).stat().st_mode)
            got.append(f"changed the mode of {existing}")
    return got


def become_privileged(_: Parameters) -> list[str]:
    """Find root, a capability, or a way back to one."""
    if sys.platform != "linux":
        return []  # capabilities are Linux's
    got = []
    if any(held_capabilities()):
        got.append("holds capabilities")
    if 0 in (*os.getresuid(), *os.getresgid()):
        got.append("has a user or group id 0")
    with contextlib.suppress(OSError):
        os.setuid(0)
        got.append("became root")
    return got


def signal_outside(parameters: Parameters) -> list[str]:
    """Signal the node (with 0, which harms nobody)."""
    with contextlib.suppress(OSError):
        os.kill(parameters.node_pid, 0)
        return [f"may signal process {parameters.node_pid}"]
    return []


def call_kernel(_: Parameters) -> list[str]:
    """Make system calls that widen what the kernel exposes."""
    attempts: dict[str, tuple[object, ...]] = {
        "io_uring_setup": (1, ctypes.create_string_buffer(256)),
        "keyctl": (0, -3, 0),
        "add_key": (b"user", b"probe", b"x", 1, -3),
        "bpf": (0, ctypes.create_string_buffer(128), 128),
        "userfaultfd": (1,),
        "unshare": (CLONE_NEWUSER,),
        "memfd_create": (b"probe", 0),
        "ptrace": (PTRACE_ATTACH, os.getppid(), 0, 0),
        "shmget": (0, 4096, 0o1600),
    }
    got = []
    for name, arguments in attempts.items():
        with contextlib.suppress(OSError, ConfinementError):
            system_call(name, *arguments)
            got.append(f"the kernel accepted {name}")
    return got


def use_much_memory(parameters: Parameters) -> list[str]:
    """Allocate more than the limit."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    with contextlib.suppress(OSError), mmap.mmap(-1, parameters.memory_bytes, flags=flags):
        return [f"allocated {parameters.memory_bytes} bytes on top of what it had"]
    return []


def find_descriptors(parameters: Parameters) -> list[str]:
    """Find an open descriptor that was not handed over."""
    expected = {0, 1, 2, *parameters.inherited}
    got = []
    for descriptor in range(DESCRIPTORS_LOOKED_AT):
        with contextlib.suppress(OSError):
            os.fstat(descriptor)
            if descriptor not in expected:
                got.append(f"descriptor {descriptor} is open")
    return got


def read_environment(parameters: Parameters) -> list[str]:
    """Find a variable that was not handed over."""
    return sorted(set(os.environ) - set(parameters.environment) - SET_BY_SYSTEMS)


def _fork() -> list[str]:
    with contextlib.suppress(OSError):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        return ["forked"]
    return []


def start_process(_: Parameters) -> list[str]:
    """Fork, or execute another program."""
    got = _fork()
    with contextlib.suppress(PermissionError):
        try:
            os.execv("/nonexistent", ["nonexistent"])  # noqa: S606
        except FileNotFoundError:
            got.append("may execute programs")
    return got


def open_for_writing(parameters: Parameters) -> list[str]:
    """Open files for writing, even a harmless one, or create one."""
    got = []
    attempts = {
        "/dev/null": os.O_WRONLY,
        parameters.canary: os.O_RDWR,
        f"/dev/shm/probe-{os.getpid()}": os.O_CREAT | os.O_RDONLY,  # noqa: S108
    }
    for path, flags in attempts.items():
        with contextlib.suppress(OSError):
            os.close(os.open(path, flags))
            got.append(f"opened {path}")
            if flags & os.O_CREAT:
                Path(path).unlink()
    return got


def share_memory(_: Parameters) -> list[str]:
    """Map memory that the limit does not count."""
    got = []
    shared = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS
    growing = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_GROWSDOWN
    for name, flags in (("shared", shared), ("growing", growing)):
        with contextlib.suppress(OSError), mmap.mmap(-1, mmap.PAGESIZE, flags=flags):
            got.append(f"mapped {name} anonymous memory")
    return got


def signal_family(_: Parameters) -> list[str]:
    """Signal the parent, the group, or have the kernel do it."""
    got = []
    for name, pid in (("its parent", os.getppid()), ("its group", 0), ("everybody", -1)):
        with contextlib.suppress(OSError):
            os.kill(pid, 0)
            got.append(f"may signal {name}")
    reading, writing = os.pipe()
    with contextlib.suppress(OSError):
        fcntl.fcntl(reading, F_SETOWN, os.getppid())
        got.append("may direct the signals of a descriptor to its parent")
    os.close(reading)
    os.close(writing)
    return got


def make_channel(_: Parameters) -> list[str]:
    """Make a descriptor over which others could be received."""
    with contextlib.suppress(OSError):
        for end in socket.socketpair():
            end.close()
        return ["made a socket pair"]
    return []


def use_network(_: Parameters) -> list[str]:
    """Bind, connect and send, where a socket that can do none of it may be made."""

    def bind(kind: socket.SocketKind) -> None:
        with socket.socket(socket.AF_INET, kind) as end:
            end.bind(("127.0.0.1", 0))

    def connect(family: socket.AddressFamily, address: tuple[str, int] | str) -> None:
        with socket.socket(family, socket.SOCK_STREAM) as end:
            end.settimeout(1.0)
            end.connect(address)

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            end.sendto(b"probe", ("127.0.0.1", 9))

    attempts: dict[str, Callable[[], None]] = {
        "bound a TCP port": lambda: bind(socket.SOCK_STREAM),
        "bound a UDP port": lambda: bind(socket.SOCK_DGRAM),
        "reached for a TCP port": lambda: connect(socket.AF_INET, ("127.0.0.1", 9)),
        "reached for a TCP port over IPv6": lambda: connect(socket.AF_INET6, ("::1", 9)),
        "sent a datagram": send,
        "reached for a local socket": lambda: connect(socket.AF_UNIX, "/var/run/syslog"),
    }
    got = []
    for name, attempt in attempts.items():
        try:
            attempt()
        except FileNotFoundError:
            continue  # this system has no such socket
        except OSError as error:
            # A port where nobody listens, or a network that is down, was reached for all the same.
            if error.errno in REFUSALS:
                continue
        got.append(name)
    return got


def start_another(_: Parameters) -> list[str]:
    """Fork, or start a program beside this process."""
    got = _fork()
    with contextlib.suppress(OSError):
        os.waitpid(os.posix_spawn("/bin/ls", ["ls", "/dev/null"], {}), 0)
        got.append("started a program")
    return got


OUTER_ATTACKS: Final[Mapping[str, Attack]] = {
    "network": open_sockets,
    "files": read_canary,
    "own-data": read_own_data,
    "processes": read_processes,
    "read-only": write_anywhere,
    "unprivileged": become_privileged,
    "signals": signal_outside,
    "kernel": call_kernel,
    "memory": use_much_memory,
    "descriptors": find_descriptors,
    "environment": read_environment,
}

WEAKER_ATTACKS: Final[Mapping[str, Attack]] = {
    "use-network": use_network,
    "files": read_canary,
    "own-data": read_own_data,
    "read-only": write_anywhere,
    "signals": signal_outside,
    "descriptors": find_descriptors,
    "environment": read_environment,
    "one-process": start_another,
}

TIGHTENED_ATTACKS: Final[Mapping[str, Attack]] = {
    "job-processes": start_process,
    "job-writing": open_for_writing,
    "job-memory": share_memory,
    "job-signals": signal_family,
    "job-channels": make_channel,
    "job-network": open_sockets,
    "job-descriptors": find_descriptors,
}
