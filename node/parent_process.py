"""Ending with the process that started this one: the demo's nodes end with it, however it ends."""

import ctypes
import os
import signal
import sys
import threading
import time
from typing import Final

from node.errors import NodeError

_PR_SET_PDEATHSIG: Final = 1
_LOOK_EVERY_S: Final = 1.0


def die_with_parent(parent: int) -> None:
    """Have this process end when its parent ends: by the kernel on Linux, elsewhere by looking.

    Args:
        parent: The parent's process id. It may be 1: in a container the demo itself is.

    Raises:
        NodeError: The parent has ended already.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    else:
        threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        raise NodeError("the parent process has ended already")


def end_with(parent: int, look_every_s: float = _LOOK_EVERY_S) -> None:
    """Look for the parent until it is gone, then end this process in order."""
    while os.getppid() == parent:
        time.sleep(look_every_s)
    os.kill(os.getpid(), signal.SIGTERM)
