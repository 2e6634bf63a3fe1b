"""Attacks on secrets: files, environments, other processes' memory and descriptors.

Staged into sandboxes: standard library and the confinement package only.
"""

import array
import contextlib
import ctypes
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from tests.hostile.world import World, attack, libc, stolen
from trainer.confinement.kernel import system_call

WALK_FILES = 4_000


def _read(world: World, path: str) -> str:
    with Path(path).open("rb") as file:
        return stolen(world, file.read(1 << 16))


@attack("secrets")
def read_canary(world: World) -> str:
    """Read a file that every user may read."""
    return _read(world, world.canary_file)


@attack("secrets")
def read_identity_key(world: World) -> str:
    """Read the node's identity key."""
    return _read(world, world.key_file)


@attack("secrets")
def read_home(world: World) -> str:
    """Read a file in the home directory."""
    return _read(world, world.home_file)


@attack("secrets")
def read_validation(world: World) -> str:
    """Read the validation bytes."""
    return _read(world, world.data_file)


@attack("secrets")
def read_passwd(_: World) -> str:
    """Read the list of users."""
    return "the users" if b"root:" in Path("/etc/passwd").read_bytes() else ""


@attack("secrets")
def list_directories(world: World) -> str:
    """List the directory of the node's files."""
    found = os.listdir(Path(world.key_file).parent)  # noqa: PTH208  (names alone are enough)
    return f"{len(found)} names" if found else ""


@attack("secrets")
def walk_for_secrets(world: World) -> str:
    """Walk the planted tree and everything around it, reading each small file."""
    seen = 0
    for directory, _names, files in os.walk(Path(world.public).parent):
        for name in files:
            seen += 1
            with contextlib.suppress(OSError):
                if _read(world, str(Path(directory) / name)):
                    return f"the secret in {name}"
            if seen > WALK_FILES:
                return ""
    return ""


@attack("secrets")
def read_through_dots(world: World) -> str:
    """Climb out of an open directory with ``..``."""
    start = os.open("/usr/lib", os.O_RDONLY | os.O_DIRECTORY)
    descriptor = os.open("../.." + world.canary_file, os.O_RDONLY, dir_fd=start)
    return stolen(world, os.read(descriptor, 4096))


@attack("secrets")
def read_through_a_symlink(world: World) -> str:
    """Make a symbolic link to a file and read through it."""
    link = Path(world.public) / "symlink"
    link.unlink(missing_ok=True)
    link.symlink_to(world.canary_file)
    return _read(world, str(link))


@attack("secrets")
def read_through_a_hard_link(world: World) -> str:
    """Give a file a second name in a place of one's own."""
    link = Path(world.public) / "hard-link"
    link.unlink(missing_ok=True)
    link.hardlink_to(world.canary_file)
    return _read(world, str(link))


@attack("secrets", needs_root=True)
def open_by_handle(world: World) -> str:
    """Open a file by its inode, past every path."""
    handle = ctypes.create_string_buffer(8 + 128)
    ctypes.memmove(handle, (128).to_bytes(4, "little"), 4)
    mount = ctypes.c_int()
    libc("name_to_handle_at", -100, world.canary_file.encode(), handle, ctypes.byref(mount), 0)
    where = os.open(Path(world.canary_file).parent, os.O_RDONLY)
    return stolen(world, os.read(system_call("open_by_handle_at", where, handle, 0), 4096))


@attack("secrets")
def own_environment(world: World) -> str:
    """Find the API key in one's own environment."""
    return stolen(world, os.environ.get(world.secret_name, "").encode())


@attack("secrets")
def initial_environment(world: World) -> str:
    """Find the API key in the environment that the process started with."""
    return _read(world, "/proc/self/environ")


@attack("secrets")
def node_environment(world: World) -> str:
    """Read the environment of the node through procfs."""
    return _read(world, f"/proc/{world.node_pid}/environ")


def _processes() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


@attack("secrets")
def any_environment(world: World) -> str:
    """Search the environments of all processes, the sandbox's own first one included."""
    for pid in {1, os.getppid(), *_processes()}:
        with contextlib.suppress(OSError):
            if _read(world, f"/proc/{pid}/environ"):
                return f"the secret of process {pid}"
    return ""


@attack("secrets")
def command_lines(world: World) -> str:
    """Read the command lines of other processes."""
    line = Path(f"/proc/{world.node_pid}/cmdline").read_bytes()
    return "the node's arguments" if line else ""


@attack("secrets")
def node_memory_file(world: World) -> str:
    """Read the node's memory through procfs."""
    descriptor = os.open(f"/proc/{world.node_pid}/mem", os.O_RDONLY)
    return stolen(world, os.pread(descriptor, len(world.canary), world.node_buffer))


@attack("secrets")
def node_memory_map(world: World) -> str:
    """Learn where everything lies in the node's memory."""
    text = Path(f"/proc/{world.node_pid}/maps").read_text(encoding="utf-8")
    return "the node's memory map" if "[heap]" in text else ""


@attack("secrets")
def node_descriptors(world: World) -> str:
    """Open the node's descriptors through procfs."""
    return _read(world, f"/proc/{world.node_pid}/fd/{world.secret_fd}")


@attack("secrets")
def node_root(world: World) -> str:
    """Read files through the node's own root directory."""
    return _read(world, f"/proc/{world.node_pid}/root{world.canary_file}")


@attack("secrets")
def inherited_descriptor(world: World) -> str:
    """Find an open descriptor that nobody meant to hand over."""
    for descriptor in range(3, 1024):
        with contextlib.suppress(OSError):
            if stolen(world, os.pread(descriptor, 4096, 0)):
                return f"the secret on descriptor {descriptor}"
    return ""


@attack("secrets")
def take_a_descriptor(world: World) -> str:
    """Copy a descriptor out of the node with pidfd_getfd."""
    node = system_call("pidfd_open", world.node_pid, 0)
    return stolen(world, os.pread(system_call("pidfd_getfd", node, world.secret_fd, 0), 4096, 0))


@attack("secrets")
def receive_a_descriptor(world: World) -> str:
    """Receive a descriptor over a socket from an accomplice outside."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(5)
        line.connect(world.unix_path)
        _, ancillary, _, _ = line.recvmsg(1, socket.CMSG_SPACE(4))
    received = array.array("i")
    received.frombytes(ancillary[0][2][:4])
    return stolen(world, os.pread(received[0], 4096, 0))


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def _vectors(world: World, content: bytes) -> tuple[ctypes.Array[ctypes.c_char], _Vector, _Vector]:
    buffer = ctypes.create_string_buffer(content, len(content))
    local = _Vector(ctypes.addressof(buffer), len(content))
    return buffer, local, _Vector(world.node_buffer, len(content))


@attack("secrets")
def read_node_memory(world: World) -> str:
    """Read the node's memory with process_vm_readv."""
    buffer, local, remote = _vectors(world, bytes(len(world.canary)))
    libc("process_vm_readv", world.node_pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
    return stolen(world, buffer.raw)


@attack("processes")
def write_node_memory(world: World) -> str:
    """Change the node's memory with process_vm_writev."""
    _buffer, local, remote = _vectors(world, b"#")
    libc("process_vm_writev", world.node_pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
    return "wrote into the node"


@attack("secrets")
def kernel_log(_: World) -> str:
    """Read the kernel's messages."""
    return f"{libc('klogctl', 10, 0, 0)} bytes of kernel log"
