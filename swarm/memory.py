"""The swarm's memory: what was tried, on which entry, and what came of it."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from swarm.hypotheses import HypothesisStatus
from swarm.ledger import Ledger

ExperienceStatus: TypeAlias = Literal["verified", "refuted", "screened_out", "crashed", "undecided"]

_WORDS: dict[HypothesisStatus, ExperienceStatus] = {
    "merged": "verified",
    "verified": "verified",
    "refuted": "refuted",
    "parked": "refuted",
    "screened_out": "screened_out",
    "crashed": "crashed",
    "claimed": "undecided",
    "undecided": "undecided",
    "stale": "undecided",
}


@dataclass(frozen=True, slots=True)
class Experience:
    """One hypothesis as an agent remembers it.

    Attributes:
        hypothesis: Record id.
        author: Who tried it.
        parent: The entry that was changed.
        source: Digest of the changed script.
        category: Kind of change.
        change: The change in the proposer's terms.
        title: The hypothesis's title.
        status: What came of it.
        gain_micro: Measured gain: the verdict's where pairs were counted, else the author's own.
        rationale: Why its author thought that it would help.
    """

    hypothesis: bytes
    author: bytes
    parent: bytes
    source: bytes
    category: str
    change: str
    title: str
    status: ExperienceStatus
    gain_micro: int | None
    rationale: str


def experiences(ledger: Ledger) -> list[Experience]:
    """Everything that was tried and has an outcome, oldest first by its author's clock.

    A hypothesis without a trial is left out: its author may have stopped before it was run, and
    then others should feel free to try it.
    """
    items = sorted(ledger.hypotheses(), key=lambda item: (item.created_ms, item.id))
    return [
        Experience(
            hypothesis=item.id,
            author=item.author,
            parent=item.body.parents[0],
            source=item.body.source,
            category=item.body.origin.category,
            change=item.body.origin.change,
            title=item.body.title,
            status=_WORDS[item.status],
            gain_micro=(
                item.screened_gain_micro
                if item.standing.gain_micro is None
                else item.standing.gain_micro
            ),
            rationale=item.body.rationale,
        )
        for item in items
        if item.status in _WORDS
    ]
