"""Watching and ending a running sandbox from outside.

This file decides how the memory of a process tree is measured, when it is too much, and how a
tree is ended for certain. It refuses to know jobs, and it keeps no loop: the runner samples and
acts.
"""

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """Return the process ids below ``pid`` in the process tree, itself excluded, as of now."""
    children: dict[int, list[int]] = {}
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
    """End a sandbox and everything in it, and wait for its first process.

    bubblewrap's processes die with it (parent-death signals and the PID namespace); under Landlock
    the processes share the group, which they cannot leave.
    """
    below = descendants(process.pid) if process.poll() is None else []
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.poll() is None:
        process.kill()
    for pid in below:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


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
