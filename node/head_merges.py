"""Changes merged onto the present head: each group of them once, and what contradicts it.

This file decides how the changes of some hypotheses become one script, and remembers that, and the
conflicts, for as long as the head stands. It refuses to know which hypotheses belong together, and
what is worth trying (`node.merge_queue`).
"""

from collections.abc import Sequence

import trio

from node.agent.proposal import Experience, ResearchView
from node.merge3 import Conflict, Merged, MergeResult, MergeUnavailableError
from node.merge_sources import merge_sources
from node.workbench import Tools
from swarm.hypotheses import HypothesisView
from swarm.merge_queue import Group, original_of
from swarm.source import SourceError, source_digest


class HeadMerges:
    """Merges changes onto one head after the other.

    Args:
        tools: What the node's workers work with.
    """

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._merges: dict[Group, MergeResult | None] = {}
        self._conflicts: dict[bytes, Experience] = {}

    def begin(self) -> None:
        """Forget everything: there is another head."""
        self._merges.clear()
        self._conflicts.clear()

    @property
    def conflicts(self) -> Sequence[Experience]:
        """Single changes that contradict the head."""
        return tuple(self._conflicts.values())

    def digest_of(self, name: Group) -> bytes | None:
        """The normalised digest of a group that was merged; None where there is none."""
        merged = self._merges.get(name)
        return digest_of(merged.source) if isinstance(merged, Merged) else None

    async def merged(
        self, name: Group, items: Sequence[HypothesisView], view: ResearchView
    ) -> MergeResult | None:
        """The changes of some hypotheses, one after the other, on the head; None when not possible.

        A script that nobody has now may come later, so that is not remembered.

        Args:
            name: What the group is remembered under.
            items: The hypotheses.
            view: What is known of the head.
        """
        if name in self._merges:
            return self._merges[name]
        merged = Merged(view.head_source)
        for item in items:
            base = self._tools.ledger.source_of(item.body.parents[0])
            if base is None:
                return None
            # The steward fetches every script; a missing one must not keep a worker waiting here.
            before = self._tools.materials.local_script(base)
            after = self._tools.materials.local_script(item.body.source)
            if before is None or after is None:
                return None
            try:
                result = await trio.to_thread.run_sync(merge_sources, before, merged.source, after)
            except (SourceError, MergeUnavailableError) as error:
                self._tools.tell(f"cannot bring over “{item.body.title}”: {error}", item.id)
                self._merges[name] = None
                return None
            if isinstance(result, Conflict):
                self._merges[name] = result
                if len(items) == 1:
                    self._note_conflict(item, view)
                return result
            merged = result
        self._merges[name] = merged
        return merged

    def _note_conflict(self, item: HypothesisView, view: ResearchView) -> None:
        """Remember that a change contradicts the head, and say so once."""
        if item.id in self._conflicts:
            return
        ledger = self._tools.ledger
        original = original_of(ledger, item)
        self._conflicts[item.id] = Experience(
            kind=original.body.origin.category,
            change=original.body.origin.change,
            parent=view.head_id,
            on_head=True,
            status="conflict",
            gain_micro=item.verdict.gain_micro or item.screened_gain_micro,
            tau_micro=ledger.policy.tau_micro,
            title=original.body.title,
            rationale=original.body.rationale,
        )
        self._tools.tell(
            f"“{item.body.title}” contradicts the head; swarm-node show {item.id.hex()[:12]}"
            " has both sides",
            item.id,
        )


def digest_of(source: str) -> bytes | None:
    """The normalised digest of a script; None where it breaks the limits of a source."""
    try:
        return source_digest(source)
    except SourceError:
        return None
