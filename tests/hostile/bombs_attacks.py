"""Attacks on memory and disks.

Every memory bomb touches what it takes and succeeds when it holds a quarter more than its limit.
Staged into sandboxes: standard library and the confinement package only.
"""

import contextlib
import ctypes
import fcntl
import mmap
import os
import pickle
import threading
from pathlib import Path
from typing import Any

from tests.hostile.world import World, attack, libc, stolen
from trainer.confinement.kernel import system_call

MAP_GROWSDOWN, MAP_NORESERVE = 0x100, 0x4000
CHILDREN = 5
THREADS = 40
F_SETPIPE_SZ = 1031
DISK_BYTES = 64 << 20
INODES = 500
SPARSE_BYTES = 1 << 40


def _fill(memory: mmap.mmap) -> None:
    for place in range(0, len(memory), mmap.PAGESIZE):
        memory[place] = 1


def _mapped(world: World, flags: int, descriptor: int = -1) -> str:
    """Map and touch pieces until the goal is reached."""
    held: list[mmap.mmap] = []
    piece = world.memory_bytes // 8
    while len(held) * piece < world.bomb_bytes:
        held.append(mmap.mmap(descriptor, piece, flags=flags))
        _fill(held[-1])
    return f"{len(held) * piece >> 20} MiB"


@attack("bombs")
def memory_private(world: World) -> str:
    """Take private memory."""
    return _mapped(world, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


@attack("bombs")
def memory_shared(world: World) -> str:
    """Take shared anonymous memory, which the kernel's limit does not count."""
    return _mapped(world, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)


@attack("bombs")
def memory_objects(world: World) -> str:
    """Allocate ordinary objects."""
    held: list[bytes] = []
    try:
        while len(held) << 20 < world.bomb_bytes:
            held.append(b"x" * (1 << 20))
    except MemoryError:
        return ""
    return f"{len(held)} MiB"


@attack("bombs")
def memory_zero_device(world: World) -> str:
    """Share memory by mapping the zero device."""
    descriptor = os.open("/dev/zero", os.O_RDWR)
    return _mapped(world, mmap.MAP_SHARED, descriptor)


@attack("bombs")
def memory_memfd(world: World) -> str:
    """Take memory as a file without a name."""
    descriptor = os.memfd_create("bomb")
    block = bytes(1 << 20)
    for _ in range(0, world.bomb_bytes, len(block)):
        os.write(descriptor, block)
    return f"{world.bomb_bytes >> 20} MiB"


@attack("bombs")
def memory_secret(world: World) -> str:
    """Take memory that even the kernel does not see."""
    descriptor = system_call("memfd_secret", 0)
    os.ftruncate(descriptor, 1 << 20)
    return "secret memory"


@attack("bombs")
def memory_growsdown(world: World) -> str:
    """Take memory as a stack that grows."""
    return _mapped(world, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_GROWSDOWN)


@attack("bombs")
def memory_thread_stacks(world: World) -> str:
    """Take memory as the stacks of many threads."""
    size = world.bomb_bytes // THREADS // mmap.PAGESIZE * mmap.PAGESIZE
    filled, gate = [], threading.Barrier(THREADS + 1, timeout=15)

    def occupy() -> None:
        # Large enough to lie on the thread's own heap or in a mapping of its own.
        filled.append(b"x" * size)
        gate.wait()

    try:
        for _ in range(THREADS):
            threading.Thread(target=occupy, daemon=True).start()
        gate.wait()
    except (RuntimeError, threading.BrokenBarrierError):
        return ""
    return f"{THREADS * size >> 20} MiB" if len(filled) == THREADS else ""


@attack("bombs")
def memory_many_processes(world: World) -> str:
    """Spread memory over many processes, each within its limit."""
    share = world.bomb_bytes // CHILDREN
    full, filled = os.pipe()
    wait, release = os.pipe()
    try:
        for _ in range(CHILDREN):
            if os.fork() == 0:
                os.close(release)
                _fill(mmap.mmap(-1, share, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
                os.write(filled, b"x")
                os.read(wait, 1)
                os._exit(0)
        got = sum(len(os.read(full, 1)) for _ in range(CHILDREN))
    finally:
        os.close(release)
    return f"{got * share >> 20} MiB"


@attack("bombs")
def memory_system_v(world: World) -> str:
    """Take a System V memory segment, which outlives every process."""
    identity = system_call("shmget", 0, world.bomb_bytes, 0o1600)
    libc("shmctl", identity, 0, 0)
    return f"{world.bomb_bytes >> 20} MiB"


@attack("bombs", needs_root=True)
def memory_locked(world: World) -> str:
    """Lock memory so that it cannot be swapped out."""
    memory = mmap.mmap(-1, 16 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc("mlock", address, len(memory))
    return "locked 16 MiB"


@attack("bombs", needs_root=True)
def memory_in_pipes(world: World) -> str:
    """Keep memory in the buffers of many pipes."""
    held, block = 0, bytes(1 << 20)
    with contextlib.suppress(OSError):
        while held < world.bomb_bytes:
            _, writing = os.pipe()
            os.set_blocking(writing, False)
            with contextlib.suppress(PermissionError):
                fcntl.fcntl(writing, F_SETPIPE_SZ, len(block))
            held += os.write(writing, block)
    return f"{held >> 20} MiB" if held >= world.bomb_bytes else ""


@attack("bombs")
def memory_in_tmpfs(world: World) -> str:
    """Keep memory as files in a memory file system."""
    path = Path("/dev/shm/hostile-bomb")  # noqa: S108
    block = bytes(1 << 20)
    try:
        with path.open("wb") as file:
            for _ in range(0, world.bomb_bytes, len(block)):
                file.write(block)
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
    return f"{world.bomb_bytes >> 20} MiB"


@attack("bombs")
def address_space(world: World) -> str:
    """Reserve address space without end, whose page tables fill the memory."""
    length = 1 << 40
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
    mmap.mmap(-1, length, flags=flags, prot=mmap.PROT_READ)
    return f"{length >> 30} GiB reserved"


@attack("bombs")
def disk_bomb(world: World) -> str:
    """Fill the disk."""
    block = bytes(1 << 20)
    for directory in (world.public, "/tmp", "/var/tmp", "/"):  # noqa: S108
        path = Path(directory) / "hostile-disk"
        with contextlib.suppress(OSError), path.open("wb") as file:
            for _ in range(0, DISK_BYTES, len(block)):
                file.write(block)
            path.unlink()
            return f"{DISK_BYTES >> 20} MiB in {directory}"
    return ""


@attack("bombs")
def inode_bomb(world: World) -> str:
    """Use up the disk's inodes with empty files."""
    directory = Path(world.public) / "inodes"
    directory.mkdir()
    for number in range(INODES):
        (directory / str(number)).touch()
    for number in range(INODES):
        (directory / str(number)).unlink()
    directory.rmdir()
    return f"{INODES} files"


@attack("outputs")
def sparse_output(world: World) -> str:
    """Leave a file of a tebibyte that takes no room until it is read."""
    path = Path(world.public) / "sparse"
    with path.open("wb") as file:
        file.truncate(SPARSE_BYTES)
    return f"{path.stat().st_size >> 30} GiB long"


@attack("outputs")
def symlink_output(world: World) -> str:
    """Leave a link where the node expects a result, and have it read a secret."""
    path = Path(world.public) / "weights"
    path.unlink(missing_ok=True)
    path.symlink_to(world.key_file)
    return f"a link to {path.readlink()}"


def load_result(world: World) -> str:
    """Load what lies where a result is expected, as a careless node would."""
    result = pickle.loads((Path(world.public) / "result").read_bytes())  # noqa: S301
    return stolen(world, result)


@attack("outputs", later=load_result)
def pickle_output(world: World) -> str:
    """Leave a pickle where the node expects a result, which acts when it is loaded."""

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.read_bytes, (Path(world.canary_file),)

    (Path(world.public) / "result").write_bytes(pickle.dumps(Trap()))
    return ""


@attack("outputs")
def fifo_output(world: World) -> str:
    """Leave a pipe where the node expects a result, and have it wait for ever."""
    path = Path(world.public) / "fifo"
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    return "a pipe with a name"


@attack("outputs", needs_root=True)
def device_output(world: World) -> str:
    """Leave a device file."""
    path = Path(world.public) / "device"
    path.unlink(missing_ok=True)
    os.mknod(path, 0o20666, os.makedev(1, 3))
    return "a device"


@attack("outputs")
def attributes_output(world: World) -> str:
    """Change a file's mode, times and attributes."""
    target = Path(world.public) / "target"
    target.chmod(0o777)
    os.utime(target, (1, 1))
    return "changed metadata"


@attack("outputs")
def resize_output(world: World) -> str:
    """Grow a file of the node's through a descriptor."""
    os.truncate(Path(world.public) / "target", 1 << 30)
    return "grew the output"
