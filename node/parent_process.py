"""Ending with the process that started this one: the demo's nodes end with it, however it ends."""

import ctypes
import os
import signal
from typing import Final

from node.errors import NodeError

_PR_SET_PDEATHSIG: Final = 1


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process when its parent ends, however that happens (Linux).

    Args:
        parent: The parent's process id. It may be 1: in a container the demo itself is.

    Raises:
        NodeError: The parent has ended already.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        raise NodeError("the parent process has ended already")
