"""Screening: one idea is claimed, run on this node's own seeds, and published with what came of it.

Whoever had the idea (the agent, a person, the merge queue), it goes this way. An idea that became
pointless while it ran (the head moved, a peer runs the same change) leaves no record.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import trio

from node.activity import Work
from node.agent.checking import Checked
from node.agent.proposal import Proposal
from node.duties import screens_enough, tells_at_once
from node.workbench import Tools, Watch
from protocol import limits
from protocol.notices import Claim
from protocol.records import Hypothesis, Origin
from protocol.schema import printable
from trainer.job import Outcome

_CLAIM_LEASE_S: Final = 300


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

        def useful() -> bool:
            ours = self._claim_is_ours(head, checked.digest)
            return not self._stopped() and tools.ledger.head.id == head and ours

        arms = await self._watch.run(useful, partial(self._run, worker, proposal, baseline))
        if arms is None:
            moved = tools.ledger.head.id != head
            why = "the head has moved" if moved else "a peer runs it, or this node is finishing"
            tools.tell(f"dropped “{proposal.title}”: {why}")
            return False
        await self._publish(parents, proposal, arms)
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
        self, worker: int, proposal: Proposal, baseline: str
    ) -> list[tuple[Outcome, Outcome]]:
        """Run an idea on this node's own seeds: a second one only when the first leaves doubt."""
        tools = self._tools
        results: list[tuple[Outcome, Outcome]] = []
        while not screens_enough(self._gains_micro(results), tools.ledger.policy.tau_micro):
            number = len(results)
            show = tools.on_arm(worker, Work("screening", None, proposal.title, number))
            arms = await tools.bench.screen(baseline, proposal.source, number, show)
            results.append(arms)
        return results

    def _gains_micro(self, arms: Sequence[tuple[Outcome, Outcome]]) -> list[int | None]:
        """Gain of each run; None where an arm failed."""
        gain_micro = self._tools.ledger.metric.gain_micro
        return [
            None
            if before.metric_micro is None or after.metric_micro is None
            else gain_micro(before.metric_micro, after.metric_micro)
            for before, after in arms
        ]

    async def _publish(
        self,
        parents: tuple[bytes, ...],
        proposal: Proposal,
        arms: Sequence[tuple[Outcome, Outcome]],
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
        aloud = tells_at_once(self._gains_micro(arms), tau_micro, agents)
        identity = await tools.author.publish(hypothesis, aloud=aloud)
        tools.costs.keep(identity, proposal.cost)
        for number, pair in enumerate(arms):
            tools.keep_logs(identity, "screen", number, pair)
            trial = tools.bench.trial(identity, "screen", number, pair)
            await tools.author.publish(trial, aloud=aloud)
        tools.tell(f"screened “{proposal.title}”: {tools.describe_arms(arms[-1])}", identity)
