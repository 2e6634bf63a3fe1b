"""The merge queue of a simulated node: planned by the node's own code, merged as sets of changes.

What is simulated is the merging of texts: a script is a set of changes, merging adds one side's
changes to the other's, and some pairs of changes contradict each other (`truth.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swarm.hypotheses import HypothesisView
from swarm.ledger import Ledger
from swarm.memory import ExperienceStatus
from swarm.merge_queue import (
    BUNDLE_MAX,
    Group,
    Outcome,
    bundle_change,
    bundle_title,
    combination_change,
    is_turn_of,
    next_group,
    outcome_of,
    plan,
    rebase_change,
)

if TYPE_CHECKING:
    from tests.sim.peer import Peer
    from tests.sim.truth import Truth


@dataclass(frozen=True)
class Idea:
    """Something to screen on the head.

    Attributes:
        parents: The head, and the siblings that are combined with it.
        source: The changed script.
        title: What people call it.
        change: What its origin says.
    """

    parents: tuple[bytes, ...]
    source: bytes
    title: str
    change: str


class Carrier:
    """Brings what the lineage left behind onto the head.

    Args:
        peer: The node whose turn it may be.
    """

    def __init__(self, peer: "Peer") -> None:
        self._peer = peer
        self._head = b""
        self._since_s = 0.0
        self._bundle: Group = ()

    def next(self, tried: Mapping[bytes, ExperienceStatus]) -> Idea | None:
        """What this node should bring over now."""
        ledger = self._peer.ledger
        if ledger.head.id != self._head:
            self._head = ledger.head.id
            self._since_s = self._peer.world.now_s
            self._bundle = ()
        planned = plan(ledger)
        outcomes: dict[Group, Outcome] = {}
        while group := next_group(planned.siblings, outcomes):
            items = items_of(ledger, group)
            if outcomes.get(group) == "open":
                source = merged(self._peer.world.truth, ledger, items)
                assert source is not None
                title = "combination of " + ", ".join(item.body.title for item in items)
                parents = (self._head, *group)
                return Idea(parents, source, title[:100], combination_change(group))
            outcomes[group] = self._outcome(items, tried)
        idea = self._next_of_bundle(tried)
        if idea is None:
            self._bundle = self._compatible(planned.rebases)
            idea = self._next_of_bundle(tried)
        if idea is not None:
            return idea
        for item in planned.doubted:
            if self._outcome([item], tried) == "open":
                return self._brought([item])
        return None

    def _next_of_bundle(self, tried: Mapping[bytes, ExperienceStatus]) -> Idea | None:
        """What of the bundle is to be screened now."""
        outcomes: dict[Group, Outcome] = {}
        while group := next_group(self._bundle, outcomes):
            items = [self._peer.ledger.hypothesis(identity) for identity in group]
            if outcomes.get(group) == "open":
                return self._brought(items)
            stands = len(items) == 1 and items[0].body.parents[0] == self._head
            outcomes[group] = "waiting" if stands else self._outcome(items, tried)
        return None

    def _compatible(self, items: Sequence[HypothesisView]) -> Group:
        """Hypotheses that contradict neither each other nor the head, and that bring something."""
        truth, ledger = self._peer.world.truth, self._peer.ledger
        chosen: list[HypothesisView] = []
        before = ledger.head.source
        for item in items[:BUNDLE_MAX]:
            source = merged(truth, ledger, [*chosen, item])
            if source is not None and source != before:
                chosen, before = [*chosen, item], source
        return tuple(item.id for item in chosen)

    def _brought(self, items: Sequence[HypothesisView]) -> Idea:
        source = merged(self._peer.world.truth, self._peer.ledger, items)
        assert source is not None
        if len(items) == 1:
            title = f"{items[0].body.title} (rebased)"
            return Idea((self._head,), source, title[:100], rebase_change(items[0].id))
        title = bundle_title(item.body.title for item in items)
        change = bundle_change(item.id for item in items)
        return Idea((self._head,), source, title[:100], change)

    def _outcome(
        self, items: Sequence[HypothesisView], tried: Mapping[bytes, ExperienceStatus]
    ) -> Outcome:
        peer = self._peer
        now_s = peer.world.now_s
        return outcome_of(
            merged(peer.world.truth, peer.ledger, items),
            head=peer.ledger.head.source,
            tried=tried,
            claimed=peer.claims.on(self._head, now_s),
            mine=is_turn_of(
                peer.me,
                peer.ledger,
                items[0],
                peer.presences.alive(now_s),
                waited_s=now_s - self._since_s,
            ),
        )


def items_of(ledger: Ledger, group: Group) -> list[HypothesisView]:
    """The hypotheses of a group's entries."""
    hypotheses = [ledger.entries[identity].hypothesis for identity in group]
    return [ledger.hypothesis(identity) for identity in hypotheses if identity is not None]


def merged(truth: "Truth", ledger: Ledger, items: Sequence[HypothesisView]) -> bytes | None:
    """The head's script with the changes of some hypotheses; None where they contradict it."""
    source: bytes | None = ledger.head.source
    for item in items:
        base = ledger.source_of(item.body.parents[0])
        assert base is not None
        if source is not None:
            source = truth.merge(base, source, item.body.source)
    return source
