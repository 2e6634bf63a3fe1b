"""Irrevocable confinement of the process that calls it: the low-level half of the sandbox.

This package decides which system calls, files and amounts of memory a confined process keeps. It
refuses to know what runs in it, who asked for it and how the process was started: the node's
``node.sandbox`` builds sandboxes out of it, and the worker's forked children tighten themselves
with it.

It is staged into sandboxes together with the worker, so it uses the standard library and ctypes
only, and it imports nothing from the rest of the project.
"""

from trainer.confinement.errors import ConfinementError
from trainer.confinement.tightening import TightLimits, limit, tighten

__all__ = ["ConfinementError", "TightLimits", "limit", "tighten"]
