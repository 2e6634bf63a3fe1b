"""What an agent is told of the swarm's past: the ledger's memory in a proposer's words.

It decides what a hypothesis is remembered as. How its script is had (from peers by a running node,
from the disk by a command) is the caller's business: what cannot be had is left out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from node.agent.catalogue import NotApplicableError, Script
from node.agent.catalogue.constants import parse_assignment
from node.agent.proposal import Experience
from swarm.ledger import Ledger
from swarm.memory import ExperienceStatus, experiences
from swarm.merge_queue import names_rebase, original_of

Constants = Callable[[bytes], Mapping[str, float]]
"""The constants of a script, by the digest of its bytes; none where it is not here."""

_SCRIPTS_KEPT: Final = 256


@dataclass(frozen=True, slots=True)
class Past:
    """What is remembered.

    Attributes:
        experiences: What was tried, oldest first.
        tried: What came of each script on the head, by its normalised digest.
    """

    experiences: tuple[Experience, ...]
    tried: Mapping[bytes, ExperienceStatus]


def scripts_on_head(ledger: Ledger) -> list[bytes]:
    """Digests of the scripts that were tried on the head."""
    head = ledger.head.id
    return [item.source for item in experiences(ledger) if item.parent == head]


def recollect(
    ledger: Ledger, digest_of: Callable[[bytes], bytes | None], constants_of: Constants
) -> Past:
    """Everything that was tried, as agents know it.

    Args:
        ledger: The state.
        digest_of: Normalised digest of a script; None while it cannot be had or read.
        constants_of: Its constants.
    """
    head = ledger.head.id
    found: list[Experience] = []
    tried: dict[bytes, ExperienceStatus] = {}
    for item in experiences(ledger):
        if item.parent == head:
            digest = digest_of(item.source)
            if digest is not None:
                tried[digest] = item.status
        change = item.change
        if names_rebase(change):
            # Agents know a change by its own name, not as the rebase of a record.
            change = original_of(ledger, ledger.hypothesis(item.hypothesis)).body.origin.change
        before = None
        assignment = parse_assignment(change)
        if assignment is not None and item.parent in ledger.entries:
            before = constants_of(ledger.entries[item.parent].source).get(assignment[0])
        found.append(
            Experience(
                kind=item.category,
                change=change,
                parent=item.parent,
                on_head=item.parent == head,
                status=item.status,
                gain_micro=item.gain_micro,
                tau_micro=ledger.policy.tau_micro,
                title=item.title,
                rationale=item.rationale,
                before=before,
            )
        )
    return Past(tuple(found), tried)


class KeptConstants:
    """Constants of scripts, each read once.

    Args:
        text_of: A script by its digest; None where it is not here.
    """

    def __init__(self, text_of: Callable[[bytes], str | None]) -> None:
        self._text_of = text_of
        self._kept: dict[bytes, Mapping[str, float]] = {}

    def __call__(self, source: bytes) -> Mapping[str, float]:
        """The constants of a script; none where it is not here or cannot be read."""
        if source not in self._kept:
            text = self._text_of(source)
            if text is None:
                return {}
            try:
                self._kept[source] = Script.parse(text).constants()
            except NotApplicableError:
                self._kept[source] = {}
            while len(self._kept) > _SCRIPTS_KEPT:
                del self._kept[next(iter(self._kept))]
        return self._kept[source]
