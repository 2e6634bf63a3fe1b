"""How much memory the processes of a sandbox hold, read from `/proc`.

This file decides what counts as held: private and shared anonymous pages of every descendant, but
not the pages of files, which the kernel can drop. It refuses to decide what is too much.
"""

from __future__ import annotations

import pathlib

_PROC = pathlib.Path("/proc")


def descendants(pid: int) -> list[int]:
    """Returns a process and everything below it; processes that end meanwhile are left out."""
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


def data_bytes(pid: int) -> int:
    """Returns the largest data segment among a process and everything below it.

    This is what RLIMIT_DATA counts, and what a forked child starts with.
    """
    return max((_status(process).get("VmData", 0) for process in descendants(pid)), default=0)


def held_bytes(pid: int) -> int:
    """Returns the anonymous memory of a process and everything below it.

    Pages that a forked child still shares with its parent count for both, so compare with what was
    held before the fork and expect to overestimate by at most the parent's size.
    """
    total = 0
    for process in descendants(pid):
        status = _status(process)
        total += status.get("RssAnon", 0) + status.get("RssShmem", 0)
    return total


def _status(pid: int) -> dict[str, int]:
    """Returns the sizes in a process's status, in bytes; nothing when it has ended."""
    try:
        lines = (_PROC / f"{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    sizes = (line.split() for line in lines if line.endswith(" kB"))
    return {name.rstrip(":"): int(value) * 1024 for name, value, _ in sizes}
