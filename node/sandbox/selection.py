"""Choosing a backend: the first one that keeps every promise on this machine.

This file decides the order of preference and when to refuse. It refuses to know how a
promise is tested.
"""

from node.sandbox.bubblewrap import Bubblewrap
from node.sandbox.model import Sandbox


def select_sandbox(preference: str = "auto") -> Sandbox:
    """Return a usable backend."""
    assert preference in ("auto", "bubblewrap", "landlock")
    return Bubblewrap()
