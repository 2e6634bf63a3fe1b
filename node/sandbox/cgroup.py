"""Memory limits by control group (version 2), where this node may make one.

This file decides where a group can be made and what it limits. It refuses to know when a limit is
too much; without a group the kernel's limits of each process and the node's watch have to do.

A group counts everything that a sandbox makes the kernel hold: shared memory, page tables, pipe
buffers and all processes together. It can be made below a group whose children are already
accounted for memory: that is the case for root, for a user's own services under systemd, and
where a container delegates its groups.
"""

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SWAP_BYTES: Final = 0
HEADROOM_SHARE: Final = 8
"""A group also counts cached file pages and the kernel's own memory: an eighth on top."""

_numbers = itertools.count()
_left_behind: set[Path] = set()
"""Groups of this process that could not be removed yet: the kernel counts killed processes as
members until the last of their memory is gone."""


class MemoryGroup:
    """One control group, for one sandbox.

    Args:
        path: its directory, which this class made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def open_door(self) -> int:
        """Return a descriptor through which a process that writes ``0`` moves itself in.

        The kernel judges by who opened it, so the process needs no right of its own.

        Raises:
            OSError: the group is gone.
        """
        return os.open(self._path / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)

    def limit(self, memory_bytes: int) -> None:
        """Set how much memory all processes in the group may hold together.

        Raises:
            OSError: the group is gone.
        """
        total = memory_bytes + memory_bytes // HEADROOM_SHARE
        (self._path / "memory.max").write_text(f"{total}\n", encoding="ascii")

    def kills(self) -> int:
        """Return how many processes the kernel has ended here because memory was short."""
        try:
            text = (self._path / "memory.events").read_text(encoding="ascii")
        except OSError:
            return 0
        fields = dict(line.split() for line in text.splitlines() if len(line.split()) == 2)
        return int(fields.get("oom_kill", 0))

    def remove(self) -> None:
        """Remove the group, or, while something in it is still ending, have `make_group` do so."""
        try:
            self._path.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            _left_behind.add(self._path)


def make_group(system: Path = Path("/"), *, pid: int | None = None) -> MemoryGroup | None:
    """Make a group, or return ``None`` where that is not to be had.

    Args:
        system: root of the file system, ``/`` but for tests.
        pid: this process, part of the group's name.
    """
    pid = os.getpid() if pid is None else pid
    for path in tuple(_left_behind):
        with contextlib.suppress(OSError):
            path.rmdir()
        if not path.exists():
            _left_behind.discard(path)
    for parent in _parents(system):
        path = parent / f"swarm-node-{pid}-{next(_numbers)}"
        try:
            path.mkdir()
        except OSError:
            continue
        # A kernel without swap accounting has no such file.
        with contextlib.suppress(OSError):
            (path / "memory.swap.max").write_text(f"{SWAP_BYTES}\n", encoding="ascii")
        return MemoryGroup(path)
    return None


def _parents(system: Path) -> Iterator[Path]:
    """Return where groups with memory accounting may be made, nearest first."""
    try:
        mounts = (system / "proc/self/mounts").read_text(encoding="utf-8")
        groups = (system / "proc/self/cgroup").read_text(encoding="utf-8")
    except OSError:
        return
    places = [line.split()[1] for line in mounts.splitlines() if line.split()[2:3] == ["cgroup2"]]
    own = [line[3:] for line in groups.splitlines() if line.startswith("0::/")]
    if not places or not own or ".." in own[0]:
        return
    top = system / places[0].lstrip("/")
    mine = top / own[0].lstrip("/")
    for candidate in dict.fromkeys((mine, mine.parent if mine != top else top)):
        control = candidate / "cgroup.subtree_control"
        with contextlib.suppress(OSError):
            accounted = "memory" in control.read_text(encoding="ascii").split()
            # Moving a process takes the right to write where both groups meet.
            if accounted and os.access(candidate / "cgroup.procs", os.W_OK):
                yield candidate
