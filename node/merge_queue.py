"""The merge queue at work: what the lineage left behind becomes hypotheses on the present head.

`swarm.merge_queue` plans and `node.head_merges` merges the scripts; here what is known of the
result decides: was the same script tried on this head, is a peer running it, is it this node's
turn. Everything is forgotten with the head, so that what was rejected on it comes up again on the
next.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from node.agent.checking import Checked, check_proposal
from node.agent.proposal import (
    CHANGE_CHARS_MAX,
    RATIONALE_CHARS_MAX,
    TITLE_CHARS_MAX,
    Experience,
    Proposal,
    RejectedError,
    ResearchView,
    one_line,
)
from node.head_merges import HeadMerges, digest_of
from node.merge3 import Conflict, Merged
from node.workbench import Tools
from swarm.hypotheses import HypothesisView
from swarm.memory import ExperienceStatus
from swarm.merge_queue import (
    BUNDLE_MAX,
    Group,
    Outcome,
    bundle_change,
    bundle_title,
    combination_change,
    combination_title,
    is_turn_of,
    next_group,
    original_of,
    outcome_of,
    plan,
    rebase_change,
)
from swarm.source import source_digest

_REBASED: Final = " (rebased)"


@dataclass(frozen=True, slots=True)
class Carried:
    """A change that is ready to be screened on the head.

    Attributes:
        checked: The merged script, as a proposal.
        parents: The head, and the siblings that it is combined with.
    """

    checked: Checked
    parents: tuple[bytes, ...]


class MergeQueue:
    """Finds what to bring onto the head next.

    Args:
        tools: What the node's workers work with.
    """

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._head = b""
        self._since_s = 0.0
        self._merges = HeadMerges(tools)
        self._bundle: Group = ()

    def has_work(self) -> bool:
        """Whether anything could be brought onto the head at all."""
        planned = plan(self._tools.ledger)
        return bool(planned.siblings or planned.rebases or planned.doubted)

    @property
    def conflicts(self) -> Sequence[Experience]:
        """Changes that contradict the present head, for agents to learn from."""
        current = self._tools.ledger.head.id == self._head
        return self._merges.conflicts if current else ()

    async def next(
        self, view: ResearchView, tried: Mapping[bytes, ExperienceStatus], *, doubted: bool = False
    ) -> Carried | None:
        """What this node should bring onto the head now.

        Args:
            view: What is known of the head.
            tried: What came of every script that was tried on it, by normalised digest.
            doubted: Whether what was parked, or has failed on a head before, comes in question.
        """
        ledger = self._tools.ledger
        if ledger.head.id != view.head_id:
            return None
        self._begin(view.head_id)
        planned = plan(ledger)
        outcomes: dict[Group, Outcome] = {}
        while group := next_group(planned.siblings, outcomes):
            if outcomes.get(group) == "open":
                return await self._combination(group, view)
            outcomes[group] = await self._outcome_of(group, view, tried)
        carried, waiting = await self._next_of_bundle(view, tried)
        if carried is None and not waiting:
            # What has come since then is brought over when nobody is at the first bundle any more.
            self._bundle = await self._compatible(planned.rebases, view)
            carried, waiting = await self._next_of_bundle(view, tried)
        if carried is not None or not doubted:
            return carried
        for item in planned.doubted:
            rebased = await self._rebase(item, view, tried)
            if isinstance(rebased, Carried):
                return rebased
        return None

    def _begin(self, head: bytes) -> None:
        if head != self._head:
            self._head = head
            self._since_s = trio.current_time()
            self._merges.begin()
            self._bundle = ()

    def _is_mine(self, item: HypothesisView) -> bool:
        tools = self._tools
        waited_s = trio.current_time() - self._since_s
        return is_turn_of(tools.me, tools.ledger, item, tools.alive(), waited_s=waited_s)

    # -- groups of siblings ---------------------------------------------------------------------

    async def _outcome_of(
        self, group: Group, view: ResearchView, tried: Mapping[bytes, ExperienceStatus]
    ) -> Outcome:
        """What is known of a combination."""
        items = self._items(group)
        merged = await self._merges.merged(group, items, view)
        if merged is None:
            return "waiting"
        if isinstance(merged, Conflict):
            return "failed"
        outcome = self._outcome(merged, items[0], view, tried)
        if outcome != "open":
            return outcome
        return "failed" if self._combined(group, items, merged, view) is None else "open"

    async def _combination(self, group: Group, view: ResearchView) -> Carried | None:
        items = self._items(group)
        merged = await self._merges.merged(group, items, view)
        assert isinstance(merged, Merged)
        checked = self._combined(group, items, merged, view)
        return None if checked is None else Carried(checked, (view.head_id, *group))

    def _combined(
        self, group: Group, items: Sequence[HypothesisView], merged: Merged, view: ResearchView
    ) -> Checked | None:
        """The combination as a proposal; None when its script may not be run."""
        ledger = self._tools.ledger
        siblings = [ledger.entries[identity] for identity in group if identity in ledger.entries]
        names = "\n".join(f"- {item.body.title}" for item in items)
        return _checked(
            view,
            items[0],
            title=combination_title(ledger.head, siblings),
            rationale=f"Verified apart, now tested together with “{ledger.head.title}”:\n{names}",
            change=combination_change(group),
            kind="combination",
            source=merged.source,
        )

    def _items(self, group: Group) -> list[HypothesisView]:
        """The hypotheses of a group's entries."""
        ledger = self._tools.ledger
        hypotheses = [ledger.entries[identity].hypothesis for identity in group]
        return [ledger.hypothesis(identity) for identity in hypotheses if identity is not None]

    # -- bundles of rebases ---------------------------------------------------------------------

    async def _next_of_bundle(
        self, view: ResearchView, tried: Mapping[bytes, ExperienceStatus]
    ) -> tuple[Carried | None, bool]:
        """What of the bundle is to be screened now, and whether somebody else is about to."""
        ledger = self._tools.ledger
        outcomes: dict[Group, Outcome] = {}
        opened: dict[Group, Carried] = {}
        while group := next_group(self._bundle, outcomes):
            if group in opened:
                return opened[group], True
            items = [ledger.hypothesis(identity) for identity in group]
            found = await (
                self._rebase(items[0], view, tried)
                if len(items) == 1
                else self._together(group, items, view, tried)
            )
            if isinstance(found, Carried):
                opened[group] = found
            outcomes[group] = "open" if isinstance(found, Carried) else found
        waiting = [group for group, outcome in outcomes.items() if outcome == "waiting"]
        return None, any(self._merges.digest_of(group) not in tried for group in waiting)

    async def _compatible(self, items: Sequence[HypothesisView], view: ResearchView) -> Group:
        """The most promising hypotheses whose texts do not contradict each other or the head."""
        chosen: list[HypothesisView] = []
        before = digest_of(view.head_source)
        for item in items[: BUNDLE_MAX * 2]:
            # By itself first: what contradicts the head, and not only its company, is told of.
            await self._merges.merged((item.id,), [item], view)
            candidate = [*chosen, item]
            name = tuple(each.id for each in candidate)
            merged = await self._merges.merged(name, candidate, view)
            # What brings nothing new is in the head, or in something larger.
            if isinstance(merged, Merged) and self._merges.digest_of(name) != before:
                chosen, before = candidate, self._merges.digest_of(name)
            if len(chosen) == BUNDLE_MAX:
                break
        if len(chosen) == 1 and chosen[0].body.parents[0] == view.head_id:
            # It stands on the head already, and is verified as it is.
            return ()
        return tuple(item.id for item in chosen)

    @property
    def reserved(self) -> frozenset[bytes]:
        """Scripts of single changes that are brought over together: nobody needs to try them."""
        digests = {self._merges.digest_of((identity,)) for identity in self._bundle}
        return frozenset(digest for digest in digests if digest is not None)

    async def _together(
        self,
        group: Group,
        items: Sequence[HypothesisView],
        view: ResearchView,
        tried: Mapping[bytes, ExperienceStatus],
    ) -> Carried | Outcome:
        """Several hypotheses at once: ready to be screened, or what is known of that."""
        merged = await self._merges.merged(group, items, view)
        if not isinstance(merged, Merged):
            return "failed"
        outcome = self._outcome(merged, items[0], view, tried)
        if outcome != "open":
            return outcome
        names = "\n".join(f"- {_describe(item)}" for item in items)
        checked = _checked(
            view,
            items[0],
            title=bundle_title(item.body.title for item in items),
            rationale=f"Promising apart, now tested together:\n{names}",
            change=bundle_change(group),
            kind="combination",
            source=merged.source,
        )
        return "failed" if checked is None else Carried(checked, (view.head_id,))

    async def _rebase(
        self,
        item: HypothesisView,
        view: ResearchView,
        tried: Mapping[bytes, ExperienceStatus],
    ) -> Carried | Outcome:
        """One hypothesis: ready to be screened, or what is known of that."""
        if item.body.parents[0] == view.head_id:
            return "waiting"
        merged = await self._merges.merged((item.id,), [item], view)
        if not isinstance(merged, Merged):
            return "failed"
        outcome = self._outcome(merged, item, view, tried)
        if outcome != "open":
            return outcome
        original = original_of(self._tools.ledger, item)
        checked = _checked(
            view,
            item,
            title=original.body.title[: TITLE_CHARS_MAX - len(_REBASED)] + _REBASED,
            rationale=f"{_describe(item)}; merged onto the present head, it is tested again."
            f"\n\n{original.body.rationale}",
            change=rebase_change(item.id),
            kind=original.body.origin.category,
            source=merged.source,
        )
        return "failed" if checked is None else Carried(checked, (view.head_id,))

    def _outcome(
        self,
        merged: Merged,
        first: HypothesisView,
        view: ResearchView,
        tried: Mapping[bytes, ExperienceStatus],
    ) -> Outcome:
        return outcome_of(
            digest_of(merged.source),
            head=source_digest(view.head_source),
            tried=tried,
            claimed=view.claims,
            mine=self._is_mine(first),
        )


def _describe(item: HypothesisView) -> str:
    """What a hypothesis has brought where it was measured."""
    gain_micro = item.verdict.gain_micro or item.screened_gain_micro or 0
    return (
        f"{item.body.title}: on entry {item.body.parents[0].hex()[:16]} this gained"
        f" {gain_micro / 1e6:+.4f}"
    )


def _checked(
    view: ResearchView,
    item: HypothesisView,
    *,
    title: str,
    rationale: str,
    change: str,
    kind: str,
    source: str,
) -> Checked | None:
    """A merged script as a proposal of the original's proposer; None when it may not be run."""
    proposal = Proposal(
        title=one_line(title, TITLE_CHARS_MAX),
        rationale=rationale[:RATIONALE_CHARS_MAX],
        expected_effect="",
        kind=kind,
        change=one_line(change, CHANGE_CHARS_MAX),
        source=source,
        proposer=item.body.origin.proposer,
        model=item.body.origin.model,
    )
    try:
        return check_proposal(proposal, view)
    except RejectedError:
        return None
