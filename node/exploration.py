"""Ideas of this node's own: ask the agent, claim, screen, and publish what came of it.

A screened idea is published whether it was good or bad; one that became pointless while it ran (the
head moved, a peer runs the same change) leaves no record.
"""

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import trio

from node.activity import Work
from node.agent.checking import find_proposal, move
from node.agent.proposal import Experience, Proposal, Proposer, RejectedError, ResearchView
from node.materials import ScriptUnavailableError
from node.workbench import Tools, Watch
from protocol import limits
from protocol.notices import Claim
from protocol.records import Hypothesis, Origin
from protocol.schema import printable
from swarm.memory import experiences
from swarm.source import SourceError, source_digest
from trainer.job import Outcome

_CLAIM_LEASE_S: Final = 300
_SURE_TAUS: Final = 10
"""A first screening gain of this many tau needs no second run to be worth others' time."""
_SCREENS_MAX: Final = 2
_TAIL_CHARS: Final = 2_000
"""A traceback's end is what its proposer needs."""


class Explorer:
    """Screens the ideas of one agent.

    Args:
        tools: What it works with.
        watch: Drops pointless work.
        proposer: The agent.
        stopped: Whether the node is finishing.
    """

    def __init__(
        self, tools: Tools, watch: Watch, proposer: Proposer, stopped: Callable[[], bool]
    ) -> None:
        self._tools = tools
        self._watch = watch
        self._proposer = proposer
        self._stopped = stopped
        self._digests: dict[bytes, bytes | None] = {}

    async def explore(self, worker: int, rng: random.Random) -> bool:
        """Screen one idea and publish what came of it; False when the agent has none.

        Raises:
            NodeError: The head's script cannot be had, or the result cannot be stored.
        """
        tools = self._tools
        head = tools.ledger.head
        tools.activity.begin(worker, Work("proposing"))
        parent = await tools.materials.script(head.source)
        view = await self._view(parent)
        found = await find_proposal(
            self._proposer, view, rng, partial(self._smoke, worker), tools.tell
        )
        if found is None:
            return False
        if tools.ledger.head.id != head.id:
            # A language model thinks for a while; its edits may fit the new head as well.
            head = tools.ledger.head
            parent = await tools.materials.script(head.source)
            try:
                found = move(found.proposal, await self._view(parent))
            except RejectedError as error:
                tools.tell(f"dropped “{found.proposal.title}”: the head has moved; {error}")
                return True
        proposal, change = found.proposal, found.digest
        await self._claim(head.id, change)

        def useful() -> bool:
            ours = self._claim_is_ours(head.id, change)
            return not self._stopped() and tools.ledger.head.id == head.id and ours

        arms = await self._watch.run(useful, partial(self._screen, worker, proposal, parent))
        if arms is None:
            moved = tools.ledger.head.id != head.id
            why = "the head has moved" if moved else "a peer runs it, or this node is finishing"
            tools.tell(f"dropped “{proposal.title}”: {why}")
            return True
        await self._publish(head.id, proposal, arms)
        return True

    async def _view(self, parent: str) -> ResearchView:
        """What the agent may know now."""
        ledger = self._tools.ledger
        head = ledger.head
        seen: list[Experience] = []
        tried: set[bytes] = set()
        for item in experiences(ledger):
            if item.parent == head.id:
                digest = await self._change_digest(item.source)
                if digest is not None:
                    tried.add(digest)
            seen.append(
                Experience(
                    kind=item.category,
                    change=item.change,
                    parent=item.parent,
                    on_head=item.parent == head.id,
                    status=item.status,
                    gain_micro=item.gain_micro,
                    tau_micro=ledger.policy.tau_micro,
                    title=item.title,
                    rationale=item.rationale,
                )
            )
        return ResearchView(
            head_id=head.id,
            head_source=parent,
            tried=frozenset(tried),
            claims=self._tools.claims.on(head.id, trio.current_time()),
            experiences=tuple(seen),
            entry=self._tools.entry,
        )

    async def _change_digest(self, source: bytes) -> bytes | None:
        """Normalised digest of a script; None while it cannot be had or read."""
        if source not in self._digests:
            try:
                text = await self._tools.materials.script(source)
            except ScriptUnavailableError:
                return None
            try:
                self._digests[source] = source_digest(text)
            except SourceError:
                self._digests[source] = None
        return self._digests[source]

    async def _claim(self, head: bytes, change: bytes) -> None:
        """Tell others that this change is being run here."""
        claim = Claim(parent=head, change=change, lease_s=_CLAIM_LEASE_S)
        self._tools.claims.take(claim, self._tools.me, trio.current_time())
        await self._tools.author.notify(claim)

    def _claim_is_ours(self, head: bytes, change: bytes) -> bool:
        """Whether no peer that claimed the change in the same moment has the right of way."""
        holder = self._tools.claims.holder(head, change, trio.current_time())
        return holder in {None, self._tools.me}

    async def _smoke(self, worker: int, proposal: Proposal) -> str | None:
        """Run a proposal for a few steps; how it failed, for its proposer, or None."""
        tools = self._tools
        show = tools.on_arm(worker, Work("screening", None, f"few steps of {proposal.title}"))
        outcome = await tools.bench.smoke(proposal.source, show)
        if outcome.status == "ok":
            return None
        tail = outcome.log_tail[-_TAIL_CHARS:]
        return f"a run of a few steps ended as {outcome.status}: {outcome.reason}\n{tail}".strip()

    async def _screen(
        self, worker: int, proposal: Proposal, parent: str
    ) -> list[tuple[Outcome, Outcome]]:
        """Run an idea on this node's own seeds: a second one only when the first leaves doubt."""
        tools = self._tools
        results: list[tuple[Outcome, Outcome]] = []
        tau_micro = tools.ledger.policy.tau_micro
        for number in range(_SCREENS_MAX):
            work = Work("screening", None, proposal.title, number)
            show = tools.on_arm(worker, work)
            arms = await tools.bench.screen(parent, proposal.source, number, show)
            results.append(arms)
            before, after = arms[0].metric_micro, arms[1].metric_micro
            if before is None or after is None:
                break
            gain_micro = tools.ledger.metric.gain_micro(before, after)
            if not tau_micro <= gain_micro < _SURE_TAUS * tau_micro:
                break
        return results

    async def _publish(
        self, head: bytes, proposal: Proposal, arms: Sequence[tuple[Outcome, Outcome]]
    ) -> None:
        tools = self._tools
        rationale = f"{proposal.rationale}\n\nExpected: {proposal.expected_effect}"
        hypothesis = Hypothesis(
            parents=(head,),
            source=tools.materials.keep_script(proposal.source),
            title=printable(proposal.title, limits.TITLE_BYTES_MAX),
            rationale=printable(rationale, limits.RATIONALE_BYTES_MAX, lines=True),
            origin=Origin(
                proposer=proposal.proposer,
                model=printable(proposal.model, limits.NAME_BYTES_MAX),
                category=printable(proposal.kind, limits.NAME_BYTES_MAX),
                change=printable(proposal.change, limits.CHANGE_BYTES_MAX),
            ),
        )
        identity = await tools.author.publish(hypothesis)
        for number, pair in enumerate(arms):
            tools.keep_logs(identity, "screen", number, pair)
            await tools.author.publish(tools.bench.trial(identity, "screen", number, pair))
        tools.tell(f"screened “{proposal.title}”: {tools.describe_arms(arms[-1])}", identity)
