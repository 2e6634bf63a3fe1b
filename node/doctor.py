"""The doctor: checks everything that a node needs, from bytes, and says what to do.

It changes nothing. Each check is a function that returns findings; a finding that is not fine
carries a remedy.
"""

import hashlib
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from node.config import chosen_sandbox
from node.errors import ConfigError, IdentityError, NodeError
from node.founding import load_genesis
from node.home import Home
from node.identity import load_identity
from node.sandbox import SandboxReport, SandboxUnavailableError, make_group
from node.sandbox.remedies import WSL_1_REMEDY, WSL_INTEROP_REMEDY, SystemFacts
from node.sandbox.selection import CONSENT, WEAKER, WEAKNESS, examine, label
from node.store import RecordStore
from protocol.envelope import open_envelope, peek_id
from protocol.errors import WireError
from swarm.admission import Rejected
from swarm.ledger import Ledger

Grade: TypeAlias = Literal["ok", "warning", "problem"]

_DISK_FREE_MIN_BYTES: Final = 1 << 30
_CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked.

    Attributes:
        subject: What it is about.
        grade: `ok`, `warning` (the node works with less) or `problem`.
        text: What was found.
        remedy: What to do about it; empty when nothing is needed.
    """

    subject: str
    grade: Grade
    text: str
    remedy: str = ""


def check_all(home: Home) -> Iterator[Finding]:
    """Run every check, in an order in which earlier ones explain later ones."""
    checks: list[Callable[[Home], Iterator[Finding]]] = [
        _check_platform,
        _check_torch,
        _check_sandbox,
        _check_home,
        _check_identity,
        _check_store,
        _check_blobs,
    ]
    for check in checks:
        yield from check(home)


def _check_platform(_home: Home) -> Iterator[Finding]:
    text = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    yield platform_finding(text, sys.platform)
    yield from wsl_findings(SystemFacts.gather(Path("/"), euid=os.geteuid()))


def platform_finding(text: str, system: str) -> Finding:
    """Say what this system is good for.

    Args:
        text: Its name and version.
        system: As `sys.platform` names it.
    """
    match system:
        case "linux":
            return Finding("platform", "ok", text)
        case "darwin":
            weaker = f"{text}; its sandbox is weaker than Linux's: {WEAKNESS}"
            return Finding("platform", "warning", weaker)
        case _:
            return Finding("platform", "problem", text, "run the node on Linux, or inside WSL2")


def wsl_findings(facts: SystemFacts) -> Iterator[Finding]:
    """Say what matters inside the Windows Subsystem for Linux; nothing elsewhere."""
    if facts.wsl == 1:
        yield Finding("WSL", "problem", "version 1, which has no sandbox", WSL_1_REMEDY)
    elif facts.wsl == 2 and facts.wsl_interop:
        text = "version 2, treated as Linux; Linux programs here can start Windows programs"
        yield Finding("WSL", "warning", text, WSL_INTEROP_REMEDY)
    elif facts.wsl == 2:
        yield Finding("WSL", "ok", "version 2, treated as Linux; interop is off")


def _check_torch(_home: Home) -> Iterator[Finding]:
    if importlib.util.find_spec("torch") is None:
        yield Finding(
            "torch",
            "warning",
            "not installed: this node can watch, but neither train nor verify",
            "run make setup, or: pip install 'swarm-node[train]'",
        )
    else:
        yield Finding("torch", "ok", "installed")


def _check_sandbox(home: Home) -> Iterator[Finding]:
    try:
        report = examine()
    except SandboxUnavailableError as error:
        yield Finding("sandbox", "problem", str(error))
        return
    try:
        agreed = chosen_sandbox(home.config) == WEAKER
    except ConfigError:
        agreed = False
    yield from sandbox_findings(report, agreed=agreed)


def sandbox_findings(report: SandboxReport, *, agreed: bool) -> Iterator[Finding]:
    """Say what the self-tests found, and what to do where they found a fault.

    Args:
        report: Of every backend of this system.
        agreed: Whether the person agreed to the weaker sandbox.
    """
    for backend in report.backends:
        name = f"sandbox {label(backend.name)}"
        if backend.usable and backend.name == WEAKER and not agreed:
            yield Finding(name, "problem", "works, and waits for your consent", CONSENT)
            continue
        if backend.usable:
            chosen = " (used)" if backend.name == report.chosen else ""
            yield Finding(name, "ok", f"keeps every promise{chosen}")
            continue
        broken = [item.promise.text for item in backend.results if not item.kept]
        problem = backend.problem or "does not keep: " + "; ".join(broken)
        yield Finding(name, "warning" if report.chosen else "problem", problem, backend.remedy)
    if report.chosen is None:
        yield Finding("sandbox", "problem", "none works, so no script of others runs here")
        return
    group = make_group()
    if report.chosen == WEAKER:
        text = "by watching a job fifty times a second; the kernel sets none"
    elif group is None:
        text = "by the kernel for each process, and by watching all of them ten times a second"
    else:
        text = "by a control group, for all processes together"
    if group is not None:
        group.remove()
    yield Finding("memory limit", "ok", text)


def _check_home(home: Home) -> Iterator[Finding]:
    if not home.root.exists():
        yield Finding("home", "ok", f"{home.root} does not exist yet")
        return
    mode = home.root.stat().st_mode & 0o777
    if mode & 0o077:
        yield Finding(
            "home", "warning", f"{home.root} is open to other users", f"chmod 700 {home.root}"
        )
    free_bytes = shutil.disk_usage(home.root).free
    if free_bytes < _DISK_FREE_MIN_BYTES:
        yield Finding("disk", "warning", f"{free_bytes >> 20} MiB free", "make room on this disk")
    else:
        yield Finding("disk", "ok", f"{free_bytes >> 30} GiB free")


def _check_identity(home: Home) -> Iterator[Finding]:
    if not home.key.exists():
        yield Finding("identity", "ok", "none yet; it is made when the node starts")
        return
    try:
        key = load_identity(home.key)
    except IdentityError as error:
        yield Finding("identity", "problem", str(error))
        return
    yield Finding("identity", "ok", key.public.hex())


def _check_store(home: Home) -> Iterator[Finding]:
    """Verify every stored record from its bytes, and fold them."""
    if not home.database.exists():
        yield Finding("records", "ok", "none yet")
        return
    try:
        store = RecordStore(home.database, read_only=True)
    except NodeError as error:
        yield Finding("records", "problem", str(error))
        return
    try:
        genesis = load_genesis(store)
        if genesis is None:
            yield Finding("records", "ok", "none yet")
            return
        ledger = Ledger(genesis)
        damaged = rejected = 0
        for envelope in store:
            try:
                outcome = ledger.add(open_envelope(envelope, swarm=genesis.id))
                rejected += isinstance(outcome, Rejected)
            except WireError as error:
                damaged += 1
                yield Finding("records", "problem", f"{peek_id(envelope).hex()[:16]}: {error}")
        if damaged or rejected:
            yield Finding(
                "records",
                "problem",
                f"{damaged} damaged and {rejected} that do not follow from the others",
                f"stop the node, move {home.database} away and join again",
            )
        else:
            yield Finding(
                "records",
                "ok",
                f"{len(ledger)} verified; head {ledger.head.id.hex()[:16]}"
                f" at depth {ledger.head.depth}; digest {ledger.digest.hex()[:16]}",
            )
    except NodeError as error:
        yield Finding("records", "problem", str(error))
    finally:
        store.close()


def _check_blobs(home: Home) -> Iterator[Finding]:
    count = 0
    for path in sorted(home.blobs.glob("??/*")):
        if path.suffix:
            continue
        count += 1
        hasher = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                hasher.update(chunk)
        if hasher.hexdigest() != path.name:
            yield Finding("blobs", "problem", f"{path} does not match its name", f"rm {path}")
    yield Finding("blobs", "ok", f"{count} checked")
