"""Who goes first where several workers share a machine's cores: verification before research.

This file decides how a worker gives way. Others wait for a verdict, and what is researched beside
it may be pointless once it is there. It refuses to know which run is which (`runner.py`).

Linux weighs sessions against each other and `nice` only within one (sched(7), on autogroups); in a
control group that weighs its own processes it is the other way round. Every sandbox is a session,
so both are set, from outside: nothing in the sandbox needs a right for it. Where the system does
not allow it, all stay equal.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

RESEARCH_NICE: Final = 5
"""How nice research is: of a core that a verification wants as well, it gets a quarter."""

_PROC = pathlib.Path("/proc")


def renice(processes: Iterable[int], nice: int) -> None:
    """Makes processes as nice as asked; one that has ended, or may not be touched, is left out.

    Args:
        processes: process ids.
        nice: 0 for normal, up to 19. Only a privileged user can lower it again.
    """
    for process in processes:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process, nice)


def renice_sessions(processes: Iterable[int], nice: int) -> bool:
    """Makes the sessions of processes as nice as asked.

    Args:
        processes: process ids.
        nice: 0 for normal, up to 19.

    Returns:
        Whether it need not be tried again: the kernel takes few such orders in a second.
    """
    done: set[int] = set()
    for process in processes:
        try:
            session = os.getsid(process)
            if session not in done:
                (_PROC / str(process) / "autogroup").write_text(str(nice))
                done.add(session)
        except OSError as error:
            # A process that hides itself may have one beside it that does not.
            if error.errno == errno.EAGAIN:
                return False
    return True
