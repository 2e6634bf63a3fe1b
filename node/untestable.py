"""Self-verified hypotheses that this node cannot test, for want of a script that it may run.

Either nobody hands the script out, or it breaks the limits within which strangers' scripts are run.
What is said of that, and when, is decided in `node.duties`.
"""

from collections.abc import Collection

import trio

from node.materials import Materials
from swarm.ledger import Ledger
from swarm.source import SourceError, check_source


class Untestable:
    """Remembers which scripts break the limits: a stranger's may take half a second to read."""

    def __init__(self, materials: Materials) -> None:
        self._materials = materials
        self._refused: dict[bytes, bool] = {}

    async def among(self, ledger: Ledger, missing: Collection[bytes]) -> set[bytes]:
        """Ids of the self-verified hypotheses that this node cannot test.

        Args:
            ledger: The state.
            missing: Digests of scripts that this node has asked for and not got.
        """
        items = ledger.self_verified()
        known = {item.id: self._refused[item.id] for item in items if item.id in self._refused}
        for item in items:
            before = ledger.source_of(item.body.parents[0])
            if item.id in known or before is None:
                continue
            child = self._materials.local_script(item.body.source)
            parent = self._materials.local_script(before)
            if child is not None and parent is not None:
                known[item.id] = await trio.to_thread.run_sync(_is_refused, child, parent)
        self._refused = known
        return {item.id for item in items if item.body.source in missing or known.get(item.id)}


def _is_refused(child: str, parent: str) -> bool:
    try:
        check_source(child, parent)
    except SourceError:
        return True
    return False
