"""Ideas that this node runs: whose turn it is, and what an agent is told.

In this order: what a person put in, what the merge queue brings onto the head, what the agent
proposes. All of it is screened the same way (`node.screening`).
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

import trio

from node.activity import Work
from node.agent.checking import Checked, find_proposal, move
from node.agent.proposal import Proposal, Proposer, RejectedError, ResearchView
from node.merge_queue import MergeQueue
from node.recollection import KeptConstants, recollect, scripts_on_head
from node.screening import Screener
from node.suggestions import Suggestions
from node.workbench import Tools, Watch
from swarm.memory import ExperienceStatus
from swarm.patience import Research
from swarm.source import SourceError, source_digest

_DOUBTED_AFTER: Final = 10
"""Hypotheses screened on a head before what others spoke against is tried on it again."""

_TAIL_CHARS: Final = 2_000
"""A traceback's end is what its proposer needs."""


class Explorer:
    """Screens what people, the merge queue and one agent come up with.

    Args:
        tools: What it works with.
        watch: Drops pointless work.
        proposer: The agent; None for a node without one.
        stopped: Whether what runs is dropped.
        finishing: Whether nothing new is begun.

    Attributes:
        suggestions: Changes that a person put in.
    """

    def __init__(
        self,
        tools: Tools,
        watch: Watch,
        proposer: Proposer | None,
        stopped: Callable[[], bool],
        finishing: Callable[[], bool],
    ) -> None:
        self._tools = tools
        self._watch = watch
        self._finishing = finishing
        self._proposer = proposer
        self._screener = Screener(tools, watch, stopped)
        self._queue = MergeQueue(tools)
        self._digests: dict[bytes, bytes | None] = {}
        self._constants = KeptConstants(tools.materials.local_script)
        self.suggestions = Suggestions(tools)

    async def explore(self, worker: int, rng: random.Random) -> bool:
        """Screen one idea and publish what came of it; False when there is none.

        Raises:
            NodeError: The head's script cannot be had, or the result cannot be stored.
        """
        if self._proposer is None and not self.suggestions and not self._queue.has_work():
            return False
        self._tools.activity.begin(worker, Work("proposing"))
        view, tried = await self._recall()
        if self.suggestions:
            return await self._run_suggestion(worker, view)
        doubted = (
            self._proposer is None
            or Research.on_head(self._tools.ledger).screened >= _DOUBTED_AFTER
        )
        if await self._carry(worker, view, tried, doubted=doubted):
            return True
        if self._proposer is None:
            return False
        wide = replace(view, claims=view.claims | self._queue.reserved)
        if await self._run_proposal(worker, rng, self._proposer, wide):
            return True
        return await self._carry(worker, view, tried, doubted=True)

    async def _carry(
        self,
        worker: int,
        view: ResearchView,
        tried: Mapping[bytes, ExperienceStatus],
        *,
        doubted: bool,
    ) -> bool:
        """Screen what the merge queue brings; False when that is nothing."""
        carried = await self._queue.next(view, tried, doubted=doubted)
        if carried is not None:
            await self._screener.screen(worker, carried.checked, carried.parents, view.head_source)
        return carried is not None

    async def _run_suggestion(self, worker: int, view: ResearchView) -> bool:
        suggestion = await self.suggestions.take(view)
        if suggestion is None:
            return True
        published = False
        try:
            published = await self._screener.screen(
                worker, suggestion.checked, (view.head_id,), view.head_source
            )
        finally:
            if published:
                self.suggestions.done(suggestion)
            else:
                self.suggestions.put_back(suggestion)
        return True

    async def _run_proposal(
        self, worker: int, rng: random.Random, proposer: Proposer, view: ResearchView
    ) -> bool:
        tools = self._tools
        smoke = partial(self._smoke, worker)
        # A question to a language model may take minutes, for which nobody waits who wants to stop.
        ask = partial(find_proposal, proposer, view, rng, smoke, tools.tell)
        found = await self._watch.run(lambda: not self._finishing(), ask)
        if found is None:
            return False
        if tools.ledger.head.id != view.head_id:
            # A language model thinks for a while; its edits may fit the new head as well.
            moved = await self._move(found, view)
            if moved is None:
                return True
            found, view = moved
        await self._screener.screen(worker, found, (view.head_id,), view.head_source)
        return True

    async def _move(
        self, found: Checked, before: ResearchView
    ) -> tuple[Checked, ResearchView] | None:
        """A proposal on the new head; None when it does not fit there."""
        view, _ = await self._recall()
        if view.head_id == before.head_id:
            return found, before
        if not found.proposal.replacements:
            # The search wrote a whole script; it is asked again, which costs nothing.
            self._tools.tell(f"dropped “{found.proposal.title}”: the head has moved")
            return None
        try:
            return move(found.proposal, view), view
        except RejectedError as error:
            self._tools.tell(f"dropped “{found.proposal.title}”: the head has moved; {error}")
            return None

    async def recall(self) -> ResearchView:
        """What is known of the head now.

        Raises:
            NodeError: The head's script cannot be had.
        """
        view, _ = await self._recall()
        return view

    async def _recall(self) -> tuple[ResearchView, Mapping[bytes, ExperienceStatus]]:
        """What the agent may know now, and what came of each script on the head, by digest."""
        while True:
            head = self._tools.ledger.head
            parent = await self._tools.materials.script(head.source)
            for source in scripts_on_head(self._tools.ledger):
                await self._change_digest(source)
            # Fetching takes time, in which the head may have moved.
            ledger = self._tools.ledger
            if ledger.head.id == head.id:
                break
        past = recollect(ledger, self._digests.get, self._constants)
        view = ResearchView(
            head_id=head.id,
            head_source=parent,
            tried=frozenset(past.tried),
            claims=self._tools.claims.on(head.id, trio.current_time()),
            experiences=(*past.experiences, *self._queue.conflicts),
            entry=self._tools.entry,
        )
        return view, past.tried

    async def _change_digest(self, source: bytes) -> bytes | None:
        """Normalised digest of a script; None while it cannot be had or read."""
        if source not in self._digests:
            # Scripts are fetched by the steward. Waiting for one here would let whoever names
            # scripts that nobody has keep this node from thinking.
            text = self._tools.materials.local_script(source)
            if text is None:
                return None
            try:
                # A stranger's text may take half a second.
                self._digests[source] = await trio.to_thread.run_sync(source_digest, text)
            except SourceError:
                self._digests[source] = None
        return self._digests[source]

    async def _smoke(self, worker: int, proposal: Proposal) -> str | None:
        """Run a proposal for a few steps; how it failed, for its proposer, or None."""
        tools = self._tools
        show = tools.on_arm(worker, Work("screening", None, f"few steps of {proposal.title}"))
        outcome = await tools.bench.smoke(proposal.source, show)
        if outcome.status == "ok":
            return None
        tail = outcome.log_tail[-_TAIL_CHARS:]
        return f"a run of a few steps ended as {outcome.status}: {outcome.reason}\n{tail}".strip()
