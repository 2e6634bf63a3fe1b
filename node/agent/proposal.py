"""What an agent is asked and what it answers.

This file decides the vocabulary between the node and whatever proposes changes: the view of the
research so far, one experience in it, and a proposal. It refuses to know how a proposal is found,
how it is signed and how it is tested. All text in a view was written by peers: it is data to be
looked up and counted, never instructions and never code to be run here.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

from node.agent.prices import NO_COST, Used
from trainer.job import printable_line

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

TITLE_CHARS_MAX: Final = 120
"""A title is one line of a terminal table."""

RATIONALE_CHARS_MAX: Final = 2_000
"""A rationale is a few sentences that a person reads."""

CHANGE_CHARS_MAX: Final = 200
"""A change names at most three edits of the catalogue."""

ExperienceStatus: TypeAlias = Literal[
    "verified", "refuted", "screened_out", "crashed", "undecided", "duplicate", "conflict"
]
"""`conflict`: measured on an older head, and its text contradicts the present one."""

ProposerName: TypeAlias = Literal["offline", "claude", "person"]


class AgentError(Exception):
    """Base of every error that the agent raises."""


@dataclasses.dataclass(frozen=True, slots=True)
class Experience:
    """One change that somebody in the swarm has tried, and what came of it.

    Attributes:
        kind: category of the change, such as `optimizer`.
        change: the change in the proposer's terms, such as `LEARNING_RATE=0.002`.
        parent: id of the lineage entry that it was tried on.
        on_head: whether that entry is the present head.
        status: what came of it.
        gain_micro: measured gain in millionths of the metric's unit, positive is better; None
            when nothing was measured.
        tau_micro: smallest gain that the swarm's policy cares for, same unit.
        title: its author's one line about it.
        rationale: why its author thought that it would help.
        before: the value that a changed constant had in the parent; None if that is not known, or
            the change is no constant's.
    """

    kind: str
    change: str
    parent: bytes
    on_head: bool
    status: ExperienceStatus
    gain_micro: int | None
    tau_micro: int
    title: str = ""
    rationale: str = ""
    before: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ResearchView:
    """What a proposer may know when it is asked for the next change.

    Attributes:
        head_id: id of the lineage entry to build on.
        head_source: its script.
        tried: normalised digests of scripts already tried on this head.
        claims: normalised digests of scripts that others are running now.
        experiences: what was tried anywhere in the swarm, oldest first.
        entry: functions that the task needs a script to define.
    """

    head_id: bytes
    head_source: str
    tried: frozenset[bytes]
    claims: frozenset[bytes]
    experiences: Sequence[Experience]
    entry: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Replacement:
    """One exact edit of a script: a text that occurs in it once, and what takes its place."""

    search: str
    replace: str


@dataclasses.dataclass(frozen=True, slots=True)
class Proposal:
    """A proposed change to the head's script.

    Attributes:
        title: one line, at most TITLE_CHARS_MAX characters.
        rationale: why it might help, at most RATIONALE_CHARS_MAX characters.
        expected_effect: what should be seen if the rationale is right.
        kind: category of the change.
        change: stable description from which the catalogue can apply the change to another script.
        source: the changed script, whole.
        proposer: who found it, as the record will say.
        model: the language model's name; empty without one.
        replacements: the edits that made the source, for who answers in edits; from them the change
            can be made again on another head.
        answer: what the proposer answered, in its own terms, in case it has to be told why not.
        cost: what asking for it has cost, answers that did not do included.
    """

    title: str
    rationale: str
    expected_effect: str
    kind: str
    change: str
    source: str
    proposer: ProposerName = "offline"
    model: str = ""
    replacements: tuple[Replacement, ...] = ()
    answer: str = ""
    cost: Used = NO_COST

    def __post_init__(self) -> None:
        assert 0 < len(self.title) <= TITLE_CHARS_MAX
        assert len(self.rationale) <= RATIONALE_CHARS_MAX
        assert len(self.expected_effect) <= RATIONALE_CHARS_MAX
        assert 0 < len(self.change) <= CHANGE_CHARS_MAX


class RejectedError(AgentError):
    """A proposal cannot be tested; `reason` says why, for whoever made it.

    Attributes:
        reason: the cause, in a sentence.
        answer: what the proposer had answered, in its own terms.
        cost: what the answer has cost.
    """

    def __init__(self, reason: str, answer: str = "", cost: Used = NO_COST) -> None:
        super().__init__(reason)
        self.reason = reason
        self.answer = answer
        self.cost = cost


@dataclasses.dataclass(frozen=True, slots=True)
class Rejection:
    """What is said to a proposer whose proposal was not accepted.

    Attributes:
        reason: why not.
        asks: how often it has been asked for this proposal already.
        answer: what it had answered, in its own terms.
    """

    reason: str
    asks: int
    answer: str = ""


class Proposer(Protocol):
    """Finds the next change worth testing: a search, a language model, or a person."""

    async def propose(
        self, view: ResearchView, rng: random.Random, rejection: Rejection | None = None
    ) -> Proposal | None:
        """Returns a change that is neither tried on this head nor claimed, or None.

        Args:
            view: the research so far.
            rng: the only source of chance; every node seeds its own, which spreads the swarm.
            rejection: why the last answer to the same question was not accepted.

        Raises:
            RejectedError: it has an answer, and the answer makes no script.
        """
        ...


def one_line(text: str, chars_max: int) -> str:
    """Returns text as one printable line of at most chars_max characters."""
    line = printable_line(text)
    return line if len(line) <= chars_max else line[: chars_max - 1] + "…"
