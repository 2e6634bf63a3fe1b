"""Choosing a backend: the first one that keeps every promise on this machine.

This file decides the order of preference and when to refuse. It refuses to know how a promise is
tested. There is no way to run strangers' code without a backend that passes.
"""

import dataclasses
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from node.sandbox.model import BackendReport, Sandbox, SandboxReport, SandboxUnavailableError

AUTOMATIC: Final = "auto"
BACKEND_NAMES: Final = ("bubblewrap", "landlock")
"""Best first: namespaces hide what Landlock only closes."""

UNSUPPORTED: Final = {
    "darwin": "strangers' code cannot run on macOS yet, because no sandbox for it exists here.",
    "win32": "strangers' code cannot run on Windows; run the node inside WSL2.",
}


def select_sandbox(preference: str = AUTOMATIC, *, platform: str = sys.platform) -> Sandbox:
    """Return the first backend that passes its self-test.

    Args:
        preference: ``auto``, or the one backend to consider.
        platform: as ``sys.platform`` names it.

    Raises:
        SandboxUnavailableError: when none passes; its report says what to do.
        ValueError: when ``preference`` names no backend.
    """
    _require_linux(platform)
    if preference not in (AUTOMATIC, *BACKEND_NAMES):
        raise ValueError(f"no sandbox backend is called {preference!r}")
    wanted = BACKEND_NAMES if preference == AUTOMATIC else (preference,)
    reports: list[BackendReport] = []
    for name in wanted:
        reports.append(_examine(name))
        if reports[-1].usable:
            return _maker(name)()
    report = SandboxReport(tuple(reports))
    raise SandboxUnavailableError("\n".join(("no sandbox is usable", *report.lines())), report)


def examine(*, platform: str = sys.platform) -> SandboxReport:
    """Test every backend, for ``swarm-node doctor``.

    Raises:
        SandboxUnavailableError: on a system that has no backend at all.
    """
    _require_linux(platform)
    return SandboxReport(tuple(_examine(name) for name in BACKEND_NAMES))


def _require_linux(platform: str) -> None:
    if platform != "linux":
        message = UNSUPPORTED.get(platform, f"no sandbox exists for the system {platform!r}.")
        raise SandboxUnavailableError(message, SandboxReport(()))


def _examine(name: str) -> BackendReport:
    from node.sandbox.remedies import SystemFacts, remedy
    from node.sandbox.selftest import examine_backend

    report = examine_backend(_maker(name), name)
    facts = SystemFacts.gather(Path("/"), euid=os.geteuid())
    return dataclasses.replace(report, remedy=remedy(report, facts))


def _maker(name: str) -> Callable[[], Sandbox]:
    # Imported late: the backends load the C library's Linux calls, which other systems lack.
    match name:
        case "bubblewrap":
            from node.sandbox.bubblewrap import Bubblewrap

            return Bubblewrap
        case _:
            from node.sandbox.landlock import Landlock

            return Landlock
