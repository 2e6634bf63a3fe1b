"""Which user ids root gives to sandboxes.

This file decides how an unused uid is picked. It refuses to know what runs under it.
"""

import itertools
import os
from pathlib import Path
from typing import Final

from node.sandbox.model import SandboxError

UNUSED_RANGE_START: Final = 0x7000_0000
"""Above every range that distributions, systemd and subordinate ids give out; below 2^31."""
UNUSED_RANGE_COUNT: Final = 0x0FF0_0000
SMALL_RANGE_START: Final = 61_184
"""In a container that maps only 65,536 ids: systemd's range for dynamic users."""
SMALL_RANGE_COUNT: Final = 4_000

_launches = itertools.count()


def next_sandbox_uid(
    uid_map: str | None = None, launch: int | None = None, pid: int | None = None
) -> int:
    """Return an unprivileged uid that, as far as can be, no other process has.

    Args:
        uid_map: text of ``/proc/self/uid_map``, which says what ids exist here.
        launch: how many sandboxes this process started before.
        pid: this process, so that two nodes on one machine differ.

    Raises:
        SandboxError: when this user namespace has too few ids.
    """
    text = Path("/proc/self/uid_map").read_text(encoding="ascii") if uid_map is None else uid_map
    launch = next(_launches) if launch is None else launch
    pid = os.getpid() if pid is None else pid
    # A multiplier spreads the launches of one process away from those of the next process id.
    offset = pid * 4099 + launch
    for start, count in (
        (UNUSED_RANGE_START, UNUSED_RANGE_COUNT),
        (SMALL_RANGE_START, SMALL_RANGE_COUNT),
    ):
        if _is_mapped(text, start, count):
            return start + offset % count
    raise SandboxError("this container maps too few user ids to give the sandbox one of its own")


def _is_mapped(uid_map: str, start: int, count: int) -> bool:
    for line in uid_map.splitlines():
        inside, _, length = map(int, line.split())
        if inside <= start and start + count <= inside + length:
            return True
    return False


def threads_of_user(uid: int) -> int:
    """Return how many threads a user runs on this machine, as far as ``/proc`` shows them."""
    count = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if entry.stat().st_uid == uid:
                count += sum(1 for _ in (entry / "task").iterdir())
        except OSError:
            continue  # it ended in the meantime
    return count
