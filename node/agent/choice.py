"""Claude first, the offline search in its place: a node that never waits for anybody.

This file decides which of two proposers is asked, and tells people when that changes. It refuses to
know why one has no answer: each trouble has a pause, in which the other answers alone.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from node.agent.prices import NO_COST
from node.agent.proposal import RejectedError
from node.agent.trouble import TroubleError, pause_s

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from node.agent.proposal import Proposal, Proposer, Rejection, ResearchView

FIRST_ASKS_MAX: Final = 2
"""How often the first proposer is asked for one proposal; the second time it hears why not."""


class FallbackProposer:
    """Asks the first proposer unless it has been in trouble lately, else the second.

    Args:
        first: may fail with a `TroubleError`.
        second: never fails.
        tell: tells people.
        now_s: a clock that only goes forward.

    Attributes:
        trouble: the latest trouble of the first one; None once it has answered again.
    """

    def __init__(
        self,
        first: Proposer,
        second: Proposer,
        tell: Callable[[str], None],
        now_s: Callable[[], float],
    ) -> None:
        self._first = first
        self._second = second
        self._tell = tell
        self._now_s = now_s
        self._in_a_row = 0
        self._until_s = float("-inf")
        self.trouble: TroubleError | None = None

    async def propose(
        self, view: ResearchView, rng: random.Random, rejection: Rejection | None = None
    ) -> Proposal | None:
        """Returns a proposal of the first proposer if it has one, else of the second."""
        cost = NO_COST
        stuck = rejection is not None and rejection.asks >= FIRST_ASKS_MAX
        if not stuck and self._now_s() >= self._until_s:
            try:
                proposal = await self._first.propose(view, rng, rejection)
            except TroubleError as error:
                self._note(error)
                cost = error.cost
            except RejectedError:
                self._recovered()
                raise
            else:
                self._recovered()
                if proposal is not None:
                    return proposal
        proposal = await self._second.propose(view, rng)
        # What the first one took without an answer was spent for what is proposed in its place.
        return proposal and dataclasses.replace(proposal, cost=proposal.cost + cost)

    def _note(self, error: TroubleError) -> None:
        self._in_a_row += 1
        wait_s = pause_s(error, self._in_a_row)
        self._until_s = self._now_s() + wait_s
        # The same trouble again is no news.
        if self.trouble is None or self.trouble.kind != error.kind:
            self._tell(
                f"Claude gives no proposal ({error.kind.replace('_', ' ')}): {error}; the offline"
                f" agent goes on, and Claude is asked again in {wait_s:.0f} s"
            )
        self.trouble = error

    def _recovered(self) -> None:
        if self.trouble is not None:
            self._tell("Claude answers again")
        self.trouble = None
        self._in_a_row = 0
