"""The gate between an idea and a training run: what a proposal must pass before time is spent.

This file decides whether a proposal may be run: a script within the limits, with the entry points
that the task needs, that is not the head itself, not tried on it and not being run by a peer, and
that survives a few steps in the sandbox. What fails goes back to the proposer with the reason, so
that a slip costs one more question and not the idea. It refuses to know how proposals are found.

Proposals of the offline search skip the few steps: its edits are tested with this program, so that
nearly all of them run, and one that crashes is a result that spares every peer the same crash.
"""

from __future__ import annotations

import ast
import dataclasses
from typing import TYPE_CHECKING, Final

from node.agent.edits import apply_replacements
from node.agent.prices import NO_COST
from node.agent.proposal import RejectedError, Rejection
from protocol.syntax import parse_tree
from swarm.source import SourceError, check_source, source_digest

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from node.agent.proposal import Proposal, Proposer, ResearchView

ASKS_MAX: Final = 3
"""The first question, one with the reason why the answer did not do, and one that a fall-back
answers."""


@dataclasses.dataclass(frozen=True, slots=True)
class Checked:
    """A proposal that may be run.

    Attributes:
        proposal: the proposal.
        digest: its script's normalised digest, under which it is claimed.
    """

    proposal: Proposal
    digest: bytes


def check_proposal(proposal: Proposal, view: ResearchView) -> Checked:
    """Checks a proposal against the head that it changes and against what is known.

    Raises:
        RejectedError: it cannot be run, or has been already; the reason is for its proposer.
    """
    try:
        # The limits come first: they are what makes the text safe to parse.
        digest = check_source(proposal.source, view.head_source).digest
        same = digest == source_digest(view.head_source)
    except SourceError as error:
        raise RejectedError(error.reason) from error
    missing = set(view.entry) - _functions(proposal.source) if view.entry else set()
    if missing:
        raise RejectedError(f"the script does not define {min(missing)}() at its top level")
    if same:
        raise RejectedError("the change means nothing: without comments it is the head's script")
    if digest in view.tried:
        raise RejectedError("the same script has been tried on this head already")
    if digest in view.claims:
        raise RejectedError("a peer is running the same script right now")
    return Checked(proposal, digest)


def _functions(source: str) -> set[str]:
    tree = parse_tree(source)
    assert isinstance(tree, ast.Module)
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def move(proposal: Proposal, view: ResearchView) -> Checked:
    """Makes a proposal anew on another head, which came while it was thought of.

    Raises:
        RejectedError: its edits do not fit there, or the result may not be run.
    """
    source = apply_replacements(view.head_source, proposal.replacements)
    return check_proposal(dataclasses.replace(proposal, source=source), view)


async def find_proposal(
    proposer: Proposer,
    view: ResearchView,
    rng: random.Random,
    smoke: Callable[[Proposal], Awaitable[str | None]],
    tell: Callable[[str], None],
) -> Checked | None:
    """Asks a proposer until it gives something that may be run.

    Args:
        proposer: who is asked.
        view: the research so far.
        rng: its source of chance.
        smoke: trains a proposal's script for a few steps and returns how that failed, if it did.
        tell: tells people what was rejected.

    Returns:
        A checked proposal, with what all questions for it have cost; None if the proposer has
        none, or nothing that passes.
    """
    rejection: Rejection | None = None
    cost = NO_COST
    for asks in range(1, ASKS_MAX + 1):
        answer, title = "", ""
        try:
            proposal = await proposer.propose(view, rng, rejection)
            if proposal is None:
                return None
            title, answer = proposal.title, proposal.answer
            cost += proposal.cost
            checked = check_proposal(dataclasses.replace(proposal, cost=cost), view)
            problem = None if proposal.proposer == "offline" else await smoke(proposal)
            if problem is None:
                return checked
        except RejectedError as error:
            problem, answer = error.reason, error.answer or answer
            cost += error.cost
        tell(f"proposal “{title}” rejected: {problem}" if title else f"rejected: {problem}")
        rejection = Rejection(problem, asks, answer)
    return None
