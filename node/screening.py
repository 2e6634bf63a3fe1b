"""Screening: one idea is claimed, run on this node's own seeds, and published with what came of it.

Whoever had the idea (the agent, a person, the merge queue), it goes this way. An idea that became
pointless (a peer runs the same change, or the head moved before its own run had begun) leaves no
record. A run that has begun is ended when the head moves under it: what comes of it is known then,
and can be brought onto the new head (`swarm.merge_queue`).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeAlias

import trio

from node.activity import Work
from node.agent.checking import Checked
from node.agent.proposal import Proposal
from node.duties import SCREENS_MAX, screens_enough, tells_at_once
from node.workbench import Tools, Watch
from protocol import limits
from protocol.notices import Claim
from protocol.records import Hypothesis, Origin
from protocol.schema import printable
from trainer.job import Outcome

_CLAIM_LEASE_S: Final = 300

_Screened: TypeAlias = tuple[int, tuple[Outcome, Outcome]]
"""A seed, and what came of parent and child on it."""


class Screener:
    """Screens ideas.

    Args:
        tools: What it works with.
        watch: Drops pointless work.
        stopped: Whether the node is finishing.
    """

    def __init__(self, tools: Tools, watch: Watch, stopped: Callable[[], bool]) -> None:
        self._tools = tools
        self._watch = watch
        self._stopped = stopped

    async def screen(
        self, worker: int, checked: Checked, parents: tuple[bytes, ...], baseline: str
    ) -> bool:
        """Run an idea and publish what came of it; False when it was dropped.

        Args:
            worker: Who runs it.
            checked: The idea.
            parents: Lineage entries that it changes; the first is the head that it is run against.
            baseline: The head's script.

        Raises:
            NodeError: The result cannot be stored.
        """
        tools, proposal = self._tools, checked.proposal
        head = parents[0]
        await self._claim(head, checked.digest)
        begun = False

        def show(number: int, arm: str, share: float) -> None:
            nonlocal begun
            begun = begun or arm == "child"
            work = Work("screening", None, proposal.title, number)
            tools.on_arm(worker, work)(arm, share)

        def useful() -> bool:
            ours = self._claim_is_ours(head, checked.digest)
            return not self._stopped() and ours and (begun or tools.ledger.head.id == head)

        run = partial(self._run, proposal, parents, baseline, show)
        results = await self._watch.run(useful, run)
        if results is None:
            moved = tools.ledger.head.id != head
            why = "the head has moved" if moved else "a peer runs it, or this node is finishing"
            tools.tell(f"dropped “{proposal.title}”: {why}")
            return False
        await self._publish(parents, proposal, results)
        return True

    async def _claim(self, head: bytes, change: bytes) -> None:
        """Tell others that this change is being run here."""
        claim = Claim(parent=head, change=change, lease_s=_CLAIM_LEASE_S)
        self._tools.claims.take(claim, self._tools.me, trio.current_time())
        await self._tools.author.notify(claim)

    def _claim_is_ours(self, head: bytes, change: bytes) -> bool:
        """Whether no peer that claimed the change in the same moment has the right of way."""
        holder = self._tools.claims.holder(head, change, trio.current_time())
        return holder in {None, self._tools.me}

    async def _run(
        self,
        proposal: Proposal,
        parents: tuple[bytes, ...],
        baseline: str,
        show: Callable[[int, str, float], None],
    ) -> list[_Screened]:
        """Run an idea on this node's seeds: a second one only when the first leaves doubt."""
        tools = self._tools
        seeds = tools.bench.seeds_to_screen(baseline, SCREENS_MAX)
        results: list[_Screened] = []
        while not screens_enough(self._gains_micro(results), tools.ledger.policy.tau_micro):
            if results and tools.ledger.head.id != parents[0]:
                break
            number = len(results)
            show(number, "parent", 0.0)
            arms = await tools.bench.screen(
                baseline, proposal.source, seeds[number], partial(show, number)
            )
            results.append((seeds[number], arms))
        return results

    def _gains_micro(self, results: Sequence[_Screened]) -> list[int | None]:
        """Gain of each run; None where an arm failed."""
        gain_micro = self._tools.ledger.metric.gain_micro
        return [
            None
            if before.metric_micro is None or after.metric_micro is None
            else gain_micro(before.metric_micro, after.metric_micro)
            for _, (before, after) in results
        ]

    async def _publish(
        self,
        parents: tuple[bytes, ...],
        proposal: Proposal,
        results: Sequence[_Screened],
    ) -> None:
        tools = self._tools
        rationale = proposal.rationale
        if proposal.expected_effect:
            rationale += f"\n\nExpected: {proposal.expected_effect}"
        hypothesis = Hypothesis(
            parents=parents,
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
        tau_micro, agents = tools.ledger.policy.tau_micro, len(tools.alive())
        aloud = tells_at_once(self._gains_micro(results), tau_micro, agents)
        identity = await tools.author.publish(hypothesis, aloud=aloud)
        tools.costs.keep(identity, proposal.cost)
        for number, (seed, arms) in enumerate(results):
            tools.keep_logs(identity, "screen", number, arms)
            trial = tools.bench.trial(identity, "screen", number, arms, seed)
            await tools.author.publish(trial, aloud=aloud)
        tools.tell(f"screened “{proposal.title}”: {tools.describe_arms(results[-1][1])}", identity)
