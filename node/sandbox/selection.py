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
WEAKER: Final = "seatbelt"
"""The backend of macOS, never chosen without a person's consent."""

CONSENT: Final = (
    "on macOS strangers' code runs only in a weaker sandbox, which you accept with"
    ' --accept-weaker-sandbox or the setting sandbox = "seatbelt".'
)
WEAKNESS: Final = (
    "files, network, writing and other processes are closed to a job; memory is watched, not"
    " limited by the kernel, and no second wall stands behind the first"
)
"""What a person agrees to."""
UNSUPPORTED: Final = {
    "win32": "strangers' code cannot run on Windows; run the node inside WSL2.",
}


def label(name: str) -> str:
    """Return a backend's name as a person should see it."""
    return f"{name} (weaker)" if name == WEAKER else name


def select_sandbox(preference: str = AUTOMATIC, *, platform: str = sys.platform) -> Sandbox:
    """Return the first backend that passes its self-test.

    Args:
        preference: ``auto``, or the one backend to consider. Naming ``seatbelt`` is consent to it.
        platform: as ``sys.platform`` names it.

    Raises:
        SandboxUnavailableError: when none passes; its report says what to do.
        ValueError: when ``preference`` names no backend.
    """
    wanted = backends_for(preference, platform)
    reports: list[BackendReport] = []
    for name in wanted:
        reports.append(_examine(name))
        if reports[-1].usable:
            return _maker(name)()
    report = SandboxReport(tuple(reports))
    raise SandboxUnavailableError("\n".join(("no sandbox is usable", *report.lines())), report)


def examine(*, platform: str = sys.platform) -> SandboxReport:
    """Test every backend, for ``swarm-node doctor``; the weaker one too, whoever agreed to it.

    Raises:
        SandboxUnavailableError: on a system that has no backend at all.
    """
    preference = WEAKER if platform == "darwin" else AUTOMATIC
    return SandboxReport(tuple(_examine(name) for name in backends_for(preference, platform)))


def backends_for(preference: str, platform: str) -> tuple[str, ...]:
    """Return the backends to consider, best first.

    Raises:
        SandboxUnavailableError: in one sentence, when the system has none for this preference.
        ValueError: when ``preference`` names no backend.
    """
    if preference not in (AUTOMATIC, *BACKEND_NAMES, WEAKER):
        raise ValueError(f"no sandbox backend is called {preference!r}")
    match platform, preference:
        case "linux", "auto":
            return BACKEND_NAMES
        case "linux", "bubblewrap" | "landlock":
            return (preference,)
        case "linux", _:
            message = f"{preference} is the sandbox of macOS, and Linux has better ones."
        case "darwin", "seatbelt":
            return (WEAKER,)
        case "darwin", _:
            message = CONSENT
        case _:
            message = UNSUPPORTED.get(platform, f"no sandbox exists for the system {platform!r}.")
    raise SandboxUnavailableError(message, SandboxReport(()))


def _examine(name: str) -> BackendReport:
    from node.sandbox.remedies import SystemFacts, remedy
    from node.sandbox.selftest import examine_backend

    report = examine_backend(_maker(name), name)
    facts = SystemFacts.gather(Path("/"), euid=os.geteuid())
    return dataclasses.replace(report, remedy=remedy(report, facts))


def _maker(name: str) -> Callable[[], Sandbox]:
    # Imported late: only one of them is needed, and not by every command.
    match name:
        case "bubblewrap":
            from node.sandbox.bubblewrap import Bubblewrap

            return Bubblewrap
        case "seatbelt":
            from node.sandbox.seatbelt import Seatbelt

            return Seatbelt
        case _:
            from node.sandbox.landlock import Landlock

            return Landlock
