"""Why an entry is no longer part of the lineage: what later evidence has taken back.

Nothing is ever deleted. A merged hypothesis whose verdict no longer stands is no entry any more, on
every node by the same rule, and with it falls what was built on it. This file only explains.
"""

from dataclasses import dataclass

from swarm.hypotheses import HypothesisView
from swarm.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Fallen:
    """A merged hypothesis that is no entry now.

    Attributes:
        item: The hypothesis.
        reason: Why, in words.
    """

    item: HypothesisView
    reason: str


def fallen(ledger: Ledger) -> list[Fallen]:
    """Everything that a member merged and that is no entry now, the latest first."""
    items = sorted(ledger.fallen(), key=lambda item: (-item.created_ms, item.id))
    return [_explain(item) for item in items]


def why_rolled_back(ledger: Ledger, before: bytes) -> Fallen | None:
    """What made a former head fall: the lowest of its ancestors that is no entry now.

    Args:
        ledger: The state now.
        before: The former head.

    Returns:
        None when it is an entry still, and fork choice merely prefers another branch.
    """
    by_entry = {item.entry_id: item for item in ledger.fallen()}
    lowest: HypothesisView | None = None
    while before not in ledger.entries and before in by_entry:
        lowest = by_entry[before]
        before = lowest.body.parents[0]
    return None if lowest is None else _explain(lowest)


def _explain(item: HypothesisView) -> Fallen:
    if item.holds:
        return Fallen(item, "what it was built on has been rolled back")
    if item.absent_for:
        who = item.absentees
        return Fallen(item, f"only its author verified it, and {who} could not get its script")
    if item.own is not None and item.own.status == "verified":
        return Fallen(item, f"only its author verified it; of others: {item.verdict.reason}")
    return Fallen(item, item.verdict.reason)
