"""What the control socket answers about a running node, method by method.

The socket itself is `node.control`; what the answers say is decided in `node.view`. Steering
(`pause`, `finish`) has methods of its own in `node.steering`. Every answer counts only what the
disk has: a number that was shown is not taken back.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import trio

from node import clock, view
from node.blobs import BlobStore
from node.control import Method
from node.hypothesis_costs import HypothesisCosts
from node.intake import Intake
from node.presences import Heard
from node.web.rows import peer_rows

Suggest: TypeAlias = Callable[[str, str, str], Awaitable[Any]]
"""Takes in a person's change: source, title and rationale."""


def control_methods(
    intake: Intake,
    blobs: BlobStore,
    *,
    heard: Callable[[], Mapping[bytes, Heard]],
    now: Callable[[], view.Running],
    suggest: Suggest,
    costs: HypothesisCosts,
) -> dict[str, Method]:
    """The methods by name.

    Args:
        intake: The door, with the ledger behind it.
        blobs: The scripts.
        heard: The latest presence of every peer.
        now: What only the running node knows.
        suggest: Takes in a person's change.
        costs: What this node's hypotheses have cost.
    """

    async def status(_params: Mapping[str, Any]) -> Any:
        return view.status(await intake.settled(), now())

    async def lineage(_params: Mapping[str, Any]) -> Any:
        return view.lineage(await intake.settled())

    async def tree(_params: Mapping[str, Any]) -> Any:
        return view.tree(await intake.settled())

    async def peers(_params: Mapping[str, Any]) -> Any:
        return peer_rows(now().peers, heard(), trio.current_time(), clock.now_ms())

    async def snapshot(_params: Mapping[str, Any]) -> Any:
        return view.snapshot(await intake.settled(), now())

    async def show(params: Mapping[str, Any]) -> Any:
        found = view.find(await intake.settled(), str(params.get("id", "")), costs)
        return await trio.to_thread.run_sync(found.shown, blobs)

    async def propose(params: Mapping[str, Any]) -> Any:
        return await suggest(*(str(params.get(name, "")) for name in _PROPOSAL))

    return {
        "status": status,
        "lineage": lineage,
        "tree": tree,
        "peers": peers,
        "snapshot": snapshot,
        "show": show,
        "propose": propose,
    }


_PROPOSAL = ("source", "title", "rationale")
