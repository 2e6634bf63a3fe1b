"""The demo: a swarm of local node processes, watched until it has merged enough.

It uses nothing that a user could not: it founds a swarm, starts `swarm-node join` processes that
know each other only through `--bootstrap`, and asks them through their control sockets.
"""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from node.control import ask
from node.errors import NodeError, NotRunningError
from node.founding import Founding, found_swarm
from node.home import Home
from protocol.policy import DEMO

_START_TIMEOUT_S: Final = 120
_POLL_S: Final = 0.5
_SETTLE_TIMEOUT_S: Final = 60
_STOP_TIMEOUT_S: Final = 15
_SECRETS: Final = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """What to show.

    Attributes:
        nodes: How many node processes.
        merges: End after this many verified merges.
        minutes: Give up after this long.
        task: The task's directory.
        tier: Its tier.
        seed: Seeds the agents' choices; None leaves them to chance.
        directory: Where the nodes' homes go.
        workers: Training runs of each node at the same time.
        until: Given the lineage as `lineage --json` lists it, whether to end before that.
        sandbox: Which sandbox they use.
    """

    nodes: int
    merges: int
    minutes: float
    task: Path
    tier: str
    seed: int | None
    directory: Path
    workers: int = 1
    until: Callable[[Sequence[dict[str, Any]]], bool] = lambda _lineage: False
    sandbox: str = "auto"


@dataclass(slots=True)
class DemoNode:
    """One node process."""

    name: str
    home: Home
    process: "subprocess.Popen[bytes] | None" = None
    snapshot: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DemoResult:
    """How it ended.

    Attributes:
        nodes: Every node's status.
        lineage: The lineage from genesis to head, as the first node sees it.
        converged: Whether all heads and record digests are equal.
        merges: Verified merges on the head's path.
        wall_s: Duration in seconds.
        enough: Whether the wanted number of merges was reached in time.
    """

    nodes: list[dict[str, Any]]
    lineage: list[dict[str, Any]]
    converged: bool
    merges: int
    wall_s: float
    enough: bool


def run_demo(plan: DemoPlan, watch: Callable[[list[DemoNode], float], None]) -> DemoResult:
    """Run the demo to its end; whatever happens, no process of it is left running.

    Args:
        plan: What to show.
        watch: Called a few times a second with the nodes and the seconds since the start.

    Raises:
        NodeError: A node did not start, or died.
    """
    started_s = time.monotonic()
    nodes = [
        DemoNode(f"node-{number + 1}", Home(plan.directory / f"node-{number + 1}"))
        for number in range(plan.nodes)
    ]
    found_swarm(nodes[0].home, Founding("demo", plan.task, plan.tier, DEMO))
    with _running(nodes, plan, lambda: watch(nodes, time.monotonic() - started_s)):
        enough = _watch_until_merged(nodes, plan, started_s, watch)
        for node in nodes:
            with contextlib.suppress(NodeError):
                ask(node.home.control, "finish")
        converged = _settle(nodes, started_s, watch)
    lineage = nodes[0].snapshot.get("lineage", [])
    return DemoResult(
        nodes=[node.snapshot.get("status", {}) for node in nodes],
        lineage=lineage,
        converged=converged,
        merges=max(0, len(lineage) - 1),
        wall_s=round(time.monotonic() - started_s, 1),
        enough=enough,
    )


@contextlib.contextmanager
def _running(nodes: list[DemoNode], plan: DemoPlan, tick: Callable[[], None]) -> Iterator[None]:
    """Start all nodes, the founder first, and stop them on the way out."""
    try:
        _start(nodes[0], plan, 0, ())
        _wait_for_address(nodes[0], tick)
        for number, node in enumerate(nodes[1:], start=1):
            _start(node, plan, number, (f"@{nodes[0].home.address}",))
        yield
    finally:
        _stop(nodes)


def _start(node: DemoNode, plan: DemoPlan, number: int, bootstrap: tuple[str, ...]) -> None:
    node.home.create()
    command = [sys.executable, "-m", "node", "join", "--home", str(node.home.root)]
    command += ["--exit-with-parent", str(os.getpid())]
    command += ["--sandbox", plan.sandbox]
    for address in bootstrap:
        command += ["--bootstrap", address]
    command += ["--workers", str(plan.workers)]
    if plan.seed is not None:
        seed = hashlib.sha256(f"{plan.seed}:{number}".encode()).digest()[:4]
        command += ["--seed", str(int.from_bytes(seed, "big"))]
    environment = {name: value for name, value in os.environ.items() if name not in _SECRETS}
    environment = {
        name: value for name, value in environment.items() if not name.startswith("SWARM_")
    }
    with (node.home.root / "stderr").open("wb") as errors:
        node.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=environment,
            start_new_session=True,
        )


def _wait_for_address(node: DemoNode, tick: Callable[[], None]) -> None:
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while not node.home.address.exists():
        _check_alive(node)
        if time.monotonic() > deadline_s:
            raise NodeError(f"{node.name} did not start within {_START_TIMEOUT_S} s")
        tick()
        time.sleep(_POLL_S)


def _check_alive(node: DemoNode) -> None:
    assert node.process is not None
    code = node.process.poll()
    if code is None:
        return
    errors = (node.home.root / "stderr").read_text(errors="replace").strip()
    raise NodeError(f"{node.name} ended with exit code {code}: {errors[-2000:] or 'no message'}")


def _refresh(nodes: list[DemoNode]) -> None:
    for node in nodes:
        _check_alive(node)
        with contextlib.suppress(NotRunningError):
            node.snapshot = ask(node.home.control, "snapshot")


def _merges(node: DemoNode) -> int:
    return max(0, len(node.snapshot.get("lineage", [])) - 1)


def _watch_until_merged(
    nodes: list[DemoNode],
    plan: DemoPlan,
    started_s: float,
    watch: Callable[[list[DemoNode], float], None],
) -> bool:
    """Poll until every node has the wanted merges; False when time is over first."""
    while time.monotonic() - started_s < plan.minutes * 60:
        _refresh(nodes)
        watch(nodes, time.monotonic() - started_s)
        if min(_merges(node) for node in nodes) >= plan.merges:
            return True
        if plan.until(nodes[0].snapshot.get("lineage", [])):
            return True
        time.sleep(_POLL_S)
    return False


def _settle(
    nodes: list[DemoNode], started_s: float, watch: Callable[[list[DemoNode], float], None]
) -> bool:
    """Wait, with no new work begun, until all nodes hold the same records and the same head."""
    deadline_s = time.monotonic() + _SETTLE_TIMEOUT_S
    while time.monotonic() < deadline_s:
        _refresh(nodes)
        watch(nodes, time.monotonic() - started_s)
        states = [
            (node.snapshot["status"]["records_digest"], node.snapshot["status"]["head"]["id"])
            for node in nodes
            if node.snapshot and node.snapshot["status"]["worker"]["state"] == "finished"
        ]
        if len(states) == len(nodes) and len(set(states)) == 1:
            return True
        time.sleep(_POLL_S)
    return False


def _stop(nodes: list[DemoNode]) -> None:
    """End every node process: politely, then by force."""
    running = [node.process for node in nodes if node.process is not None]
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
    deadline_s = time.monotonic() + _STOP_TIMEOUT_S
    for process in running:
        try:
            process.wait(max(0.1, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
