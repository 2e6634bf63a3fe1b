"""Watching and ending a running sandbox from outside.

This file decides how the memory of a process tree is measured, when it is too much, and how a
tree is ended for certain. It refuses to know jobs, and it keeps no loop: the runner samples and
acts.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DEATH_LIMIT_S: Final = 5.0
"""A killed process is gone in milliseconds; freeing a large memory takes longer."""


def descendants(pid: int) -> list[int]:
    """Return the process ids below ``pid`` in the process tree, itself excluded, as of now.

    Empty on macOS, whose sandboxes hold one process each.
    """
    children: dict[int, list[int]] = {}
    if sys.platform != "linux":
        return []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat_fields(int(entry.name))
            if fields is not None:
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    frontier = [pid]
    while frontier:
        below = children.get(frontier.pop(), [])
        found += below
        frontier += below
    return found


def _stat_fields(pid: int) -> list[str] | None:
    """Return ``/proc/PID/stat`` from the state on (index 0), or ``None`` for a dead process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The program's name may hold spaces and brackets; only the last bracket ends it.
    return text.rpartition(")")[2].split()


def process_memory_bytes(pid: int) -> int:
    """Return a process's own memory: anonymous and shared pages, swap, and its page tables.

    Pages shared with a parent it was forked from count in both; file pages are not counted.
    """
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    counted = ("RssAnon:", "RssShmem:", "VmSwap:", "VmPTE:")
    return sum(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith(counted))


def tree_rss_bytes(pid: int) -> int:
    """Return the memory of all processes below ``pid``, each as ``process_memory_bytes`` has it."""
    return sum(process_memory_bytes(p) for p in descendants(pid))


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """End a sandbox and everything in it, and wait until all of it has ended.

    bubblewrap's processes die with it (parent-death signals and the PID namespace); under Landlock
    the processes share the group, which they cannot leave. Everything that was seen below the
    first process is signalled as well, through descriptors that a reused process id cannot fool.
    """
    below = _open_descendants(process.pid) if process.poll() is None else []
    try:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.poll() is None:
            process.kill()
        for descriptor in below:
            _kill(descriptor)
        process.wait()
        _wait_for_ends(below)
    finally:
        for descriptor in below:
            os.close(descriptor)


def _open_descendants(pid: int) -> list[int]:
    opened: dict[int, int] = {}
    if sys.platform != "linux":
        return []
    for below in descendants(pid):
        with contextlib.suppress(OSError):
            opened[below] = os.pidfd_open(below)
    # One that ended in between may have left its id to a stranger, who is no descendant.
    still = set(descendants(pid))
    for below in opened.keys() - still:
        os.close(opened.pop(below))
    return list(opened.values())


def _kill(descriptor: int) -> None:
    if sys.platform != "linux":
        return  # there are no descriptors of processes elsewhere
    with contextlib.suppress(ProcessLookupError, PermissionError):
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)


def _wait_for_ends(descriptors: Iterable[int]) -> None:
    """Wait until every process has ended, but not for ever: one may hang in the kernel."""
    deadline_s = time.monotonic() + DEATH_LIMIT_S
    for descriptor in descriptors:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(max(0.0, deadline_s - time.monotonic()) * 1000)


@dataclass(frozen=True)
class MemoryWatch:
    """When a sandbox uses too much memory.

    The kernel limits each process; this catches what escapes such a limit (many processes, page
    tables, kernel objects mapped shared).

    Attributes:
        limit_bytes: for the whole tree.
        allowed_samples: how many samples in a row may be over it, so that the moment of a fork,
            when pages are counted twice, does not end a job.
    """

    limit_bytes: int
    allowed_samples: int = 1

    def next_over_count(self, over_count: int, sample_bytes: int) -> int:
        """Return how many samples in a row are over the limit, after one more."""
        return over_count + 1 if sample_bytes > self.limit_bytes else 0

    def exceeded(self, over_count: int) -> bool:
        """Whether the sandbox must be ended."""
        return over_count > self.allowed_samples
