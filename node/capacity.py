"""How many training runs this machine can hold at once: one for each core, as memory allows.

This file decides the default of `--workers`. A run uses one thread, so more of them than cores
only wait for each other; and each may use as much memory as its task allows, so that all together
must fit into what is free now. It refuses to know what else the machine is for.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from node.config import WORKERS_MAX, Config
from trainer.job import Limits

RUN_BYTES: Final = Limits().memory_bytes
"""What one run may hold, if its task does not say otherwise."""

_MEMINFO: Final = Path("proc/meminfo")
_GROUP: Final = Path("sys/fs/cgroup")


def workers_of(config: Config, root: Path = Path("/")) -> int:
    """Returns how many workers a node has: those that it was told to have, or the default.

    Args:
        config: how the node runs.
        root: where the machine's `proc` and `sys` are.
    """
    if config.workers is not None:
        return config.workers
    # A GPU is one, and runs do not share it well.
    return 1 if config.gpu else default_workers(root=root)


def default_workers(nodes: int = 1, root: Path = Path("/")) -> int:
    """Returns how many workers each of some nodes on this machine should have; at least one.

    Args:
        nodes: nodes that share the machine.
        root: where its `proc` and `sys` are.
    """
    fitting = cores(root)
    free_bytes = available_bytes(root)
    if free_bytes is not None:
        fitting = min(fitting, free_bytes // RUN_BYTES)
    return min(max(1, fitting // nodes), WORKERS_MAX)


def cores(root: Path = Path("/")) -> int:
    """Returns how many cores this process may keep busy, by its affinity and its group's quota."""
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    match _words(root / _GROUP / "cpu.max"):
        case [quota, period] if quota.isdigit() and period.isdigit() and int(period):
            return max(1, min(allowed, -(-int(quota) // int(period))))
        case _:
            return allowed


def available_bytes(root: Path = Path("/")) -> int | None:
    """Returns the memory that new programs can have without swapping; None where nobody says."""
    found: list[int] = []
    words = _words(root / _MEMINFO)
    if "MemAvailable:" in words:
        found.append(int(words[words.index("MemAvailable:") + 1]) * 1024)
    limit, used = _words(root / _GROUP / "memory.max"), _words(root / _GROUP / "memory.current")
    if limit and limit[0].isdigit() and used:
        found.append(max(0, int(limit[0]) - int(used[0])))
    return min(found, default=None)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
