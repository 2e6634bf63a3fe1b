"""Attacks on the kernel: namespaces, mounts, privileges and rarely used calls.

Staged into sandboxes: standard library and the confinement package only.
"""

import contextlib
import ctypes
import errno
import mmap
import os
import platform
import struct
from pathlib import Path

from tests.hostile.world import World, attack, libc
from trainer.confinement.kernel import system_call

NEW_NET, NEW_USER, NEW_NS, SIGCHLD = 0x40000000, 0x10000000, 0x20000, 17
SESSION_KEYRING, NEW_LISTENER = -3, 8
SETUID_DIRECTORIES = ("/usr/bin", "/bin", "/usr/sbin", "/usr/lib")
BIND, READ_WRITE_EXECUTE = 0x1000, 7
PROGRAM_I386 = bytes.fromhex("53b814000000cd805bc3")
"""Saves rbx, calls number 20 of the 32-bit interface (getpid), returns."""


@attack("namespaces")
def namespace_user(_: World) -> str:
    """Make a user namespace, in which one is root."""
    system_call("unshare", NEW_USER)
    return "a user namespace"


@attack("namespaces", needs_root=True)
def namespace_network(_: World) -> str:
    """Make a network of one's own."""
    system_call("unshare", NEW_NET)
    return "a network namespace"


@attack("namespaces", needs_root=True)
def namespace_mounts(_: World) -> str:
    """Make a view of the file systems of one's own."""
    system_call("unshare", NEW_NS)
    return "a mount namespace"


@attack("namespaces")
def namespace_by_clone(_: World) -> str:
    """Start a process in a new user namespace."""
    pid = system_call("clone", NEW_USER | SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "a process in a new user namespace"


@attack("namespaces")
def namespace_by_clone3(_: World) -> str:
    """Start a process in a new user namespace with the call whose flags no filter can see."""
    arguments = struct.pack("=8Q", NEW_USER, 0, 0, 0, SIGCHLD, 0, 0, 0)
    pid = system_call("clone3", ctypes.create_string_buffer(arguments, 64), 64)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "a process in a new user namespace"


@attack("namespaces", needs_root=True)
def namespace_of_node(world: World) -> str:
    """Enter the namespaces of the node."""
    node = system_call("pidfd_open", world.node_pid, 0)
    system_call("setns", node, NEW_NET)
    return "entered the node's network"


@attack("namespaces", needs_root=True)
def mount_tmpfs(world: World) -> str:
    """Mount a file system."""
    system_call("unshare", NEW_NS)
    system_call("mount", b"none", world.public.encode(), b"tmpfs", 0, 0)
    libc("umount2", world.public.encode(), 2)
    return "mounted a tmpfs"


@attack("namespaces", needs_root=True)
def mount_bind(world: World) -> str:
    """Bind a hidden directory to a visible place."""
    source = str(Path(world.key_file).parent).encode()
    libc("mount", source, world.public.encode(), 0, BIND, 0)
    libc("umount2", world.public.encode(), 2)
    return "bound a directory"


@attack("namespaces", needs_root=True)
def mount_new_interface(_: World) -> str:
    """Prepare a file system through the newer interface."""
    system_call("fsopen", b"tmpfs", 0)
    return "prepared a tmpfs"


@attack("namespaces", needs_root=True)
def change_root(world: World) -> str:
    """Change the root directory."""
    os.chroot(world.public)
    return "changed the root"


@attack("privileges", needs_root=True)
def become_root(_: World) -> str:
    """Become, or be, root."""
    os.setuid(0)
    return "is root"


@attack("privileges", needs_root=True)
def gain_capabilities(_: World) -> str:
    """Raise a capability that one holds to where it works."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    system_call("capget", ctypes.byref(header), ctypes.byref(data))
    if not data[1]:
        return ""
    system_call("capset", ctypes.byref(header), ctypes.byref(data))
    return f"capabilities {data[0]:#x}"


@attack("privileges")
def run_set_uid_program(_: World) -> str:
    """Run a program that gains root by its mode."""
    for directory in SETUID_DIRECTORIES:
        for path in Path(directory).iterdir():
            with contextlib.suppress(OSError):
                if path.is_file() and path.stat().st_mode & 0o4000:
                    pid = os.posix_spawn(path, [path.name, "--version"], {})
                    os.waitpid(pid, 0)
                    return f"ran {path}"
    return ""


@attack("privileges", needs_root=True)
def load_module(_: World) -> str:
    """Load a kernel module (asked with a descriptor that cannot be one)."""
    try:
        libc("syscall", {"x86_64": 313, "aarch64": 273}[platform.machine()], -1, b"", 0)
    except OSError as error:
        if error.errno == errno.EBADF:
            return "may load modules"
        raise
    return ""


@attack("privileges", needs_root=True)
def host_name(_: World) -> str:
    """Change the machine's name (to what it is)."""
    name = os.uname().nodename.encode()
    libc("sethostname", name, len(name))
    return "set the name"


@attack("privileges", needs_root=True)
def process_accounting(_: World) -> str:
    """Switch process accounting off."""
    libc("acct", 0)
    return "switched accounting"


@attack("kernel")
def io_uring(_: World) -> str:
    """Make an io_uring, through which calls pass that no filter sees."""
    system_call("io_uring_setup", 1, ctypes.create_string_buffer(256))
    return "an io_uring"


@attack("kernel")
def keyring_search(_: World) -> str:
    """Find the session's keyring."""
    return f"keyring {system_call('keyctl', 0, SESSION_KEYRING, 1)}"


@attack("kernel")
def bpf(_: World) -> str:
    """Load a program into the kernel."""
    attributes = struct.pack("=4I", 2, 4, 4, 1)
    system_call("bpf", 0, ctypes.create_string_buffer(attributes, 128), 128)
    return "a BPF map"


@attack("kernel")
def perf_event(_: World) -> str:
    """Watch the processor's counters."""
    attributes = struct.pack("=IIQQQQ", 1, 112, 1, 0, 0, 0) + struct.pack("=Q", 0x61)
    buffer = ctypes.create_string_buffer(attributes.ljust(112, b"\0"), 112)
    system_call("perf_event_open", buffer, 0, -1, -1, 0)
    return "a performance counter"


@attack("kernel")
def page_faults(_: World) -> str:
    """Handle page faults of the kernel, which makes its races easy."""
    system_call("userfaultfd", 1)
    return "a userfaultfd"


@attack("kernel")
def file_events(world: World) -> str:
    """Watch what others do with files."""
    watcher = libc("inotify_init1", 0)
    libc("inotify_add_watch", watcher, world.public.encode(), 0xFFF)
    return "watches a directory"


@attack("kernel", needs_root=True)
def file_events_of_all(_: World) -> str:
    """Watch all accesses to files."""
    libc("fanotify_init", 0, 0)
    return "a fanotify group"


@attack("kernel")
def other_personality(_: World) -> str:
    """Switch the randomisation of addresses off."""
    libc("personality", 0x0040000)
    return "no randomisation"


@attack("kernel")
def filter_with_listener(_: World) -> str:
    """Install a filter whose decisions are made elsewhere."""
    program = struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000)
    code = ctypes.create_string_buffer(program, 8)
    description = struct.pack("=HxxxxxxQ", 1, ctypes.addressof(code))
    libc("prctl", 38, 1, 0, 0, 0)
    system_call("seccomp", 1, NEW_LISTENER, ctypes.create_string_buffer(description, 16))
    return "a filter with a listener"


@attack("kernel")
def foreign_calls(_: World) -> str:
    """Make a call through the 32-bit interface, whose numbers mean something else."""
    if platform.machine() != "x86_64":
        raise OSError(38, "only x86_64 has such an interface")
    code = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=READ_WRITE_EXECUTE)
    code.write(PROGRAM_I386)
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    found = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
    return "a 32-bit call" if found == os.getpid() else ""


@attack("kernel")
def pseudo_terminal(_: World) -> str:
    """Open a terminal, into which input could be pushed."""
    master, slave = os.openpty()
    os.close(master)
    os.close(slave)
    return "a terminal"


@attack("kernel")
def message_queue(_: World) -> str:
    """Make a System V message queue, which outlives every process."""
    identity = libc("msgget", 0, 0o1600)
    libc("msgctl", identity, 0, 0)
    return "a message queue"


@attack("kernel")
def semaphore_set(_: World) -> str:
    """Make a System V semaphore set, which outlives every process."""
    identity = libc("semget", 0, 1, 0o1600)
    libc("semctl", identity, 0, 0)
    return "a semaphore set"


@attack("kernel")
def move_pages(world: World) -> str:
    """Move the node's memory between banks."""
    libc(
        "syscall",
        {"x86_64": 279, "aarch64": 239}[platform.machine()],
        world.node_pid,
        0,
        0,
        0,
        0,
        0,
    )
    return "moved nothing, but might"
