"""How much memory the processes of a sandbox hold, read from `/proc` or asked of macOS.

This file decides which processes belong to a sandbox; how one process is measured is decided by
`node.sandbox.supervision`, or by macOS, where a sandbox holds one process. It refuses to decide
what is too much.
"""

from __future__ import annotations

import ctypes
import functools
import pathlib
import sys
from typing import Any, Final

from node.sandbox import process_memory_bytes

_PROC = pathlib.Path("/proc")
_RUSAGE_INFO_V0: Final = 0
_RUSAGE_INFO_BYTES: Final = 96
_FOOTPRINT_AT: Final = 72
"""`struct rusage_info_v0` (sys/resource.h) has 16 bytes of UUID, then ten 64-bit numbers, of which
the eighth is the physical footprint: what the process makes the system hold, compressed or not."""


def family(pid: int) -> list[int]:
    """Returns a process and everything below it; processes that end meanwhile are left out.

    Follows the kernel's lists of children: a scan of all processes several times a second would
    cost more than all else that the node does.
    """
    found = []
    waiting = [pid]
    while waiting:
        current = waiting.pop()
        try:
            children = (_PROC / f"{current}/task/{current}/children").read_text()
        except OSError:
            continue
        found.append(current)
        waiting += [int(child) for child in children.split()]
    return found


def held_bytes(pid: int) -> int:
    """Returns the memory of a process and everything below it.

    Pages that a forked child still shares with its parent count for both, so compare with what was
    held before the fork and expect to overestimate by at most the parent's size.
    """
    if sys.platform != "linux":
        return footprint_bytes(pid, _libc())
    return sum(process_memory_bytes(process) for process in family(pid))


def data_bytes(pid: int) -> int:
    """Returns the largest data segment among a process and everything below it.

    This is what RLIMIT_DATA counts, and what a forked child starts with.
    """
    return max((_data_bytes(process) for process in family(pid)), default=0)


def _data_bytes(pid: int) -> int:
    try:
        lines = (_PROC / f"{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))


@functools.cache
def _libc() -> Any:
    return ctypes.CDLL(None)


def footprint_bytes(pid: int, library: Any) -> int:
    """Returns a process's physical footprint on macOS, or 0 when it has ended.

    Args:
        pid: the process, of this user.
        library: the system's library, which has `proc_pid_rusage`.
    """
    info = ctypes.create_string_buffer(_RUSAGE_INFO_BYTES)
    if library.proc_pid_rusage(ctypes.c_int(pid), ctypes.c_int(_RUSAGE_INFO_V0), info) != 0:
        return 0
    return int.from_bytes(info.raw[_FOOTPRINT_AT : _FOOTPRINT_AT + 8], "little")
