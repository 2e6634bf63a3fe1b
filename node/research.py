"""The researcher: what a node's workers do next, and doing it.

Each worker repeats one step: verify somebody's hypothesis when one waits for this node and its
share of time allows, else screen an idea of its own agent. A screened idea is published with what
came of it, good or bad. Work that the ledger has made pointless (the head moved, the verdict is
in) is cancelled at once.

Decisions about who verifies what are `swarm.verification`'s; numbers are the bench's; this file
puts them in order and signs what comes out.
"""

import logging
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

import trio

from node import clock
from node.activity import Activity, Work, WorkState
from node.agent.proposal import Experience, Proposal, Proposer, ResearchView
from node.bench import Bench
from node.claims import Claims
from node.errors import NodeError, StoreError
from node.intake import Intake
from node.materials import Materials, ScriptUnavailableError
from node.trial_logs import TrialLogs
from protocol import limits
from protocol.envelope import peek_id, seal
from protocol.keys import SigningKey
from protocol.notices import Claim, seal_notice
from protocol.records import Body, Hypothesis, Origin, Purpose
from protocol.schema import printable
from swarm.ledger import Ledger
from swarm.memory import experiences
from swarm.source import SourceError, check_source, source_digest
from swarm.verification import VerificationTask, is_wanted, next_verification
from trainer.job import Outcome

T = TypeVar("T")

_IDLE_S: Final = 1.0
_TROUBLE_S: Final = 10.0
_CLAIM_LEASE_S: Final = 300
_SURE_TAUS: Final = 10
"""A first screening gain of this many tau needs no second run to be worth others' time."""
_SCREENS_MAX: Final = 2
_ABSENT_FIRST_S: Final = 1.0
_ABSENT_MAX_S: Final = 60.0
"""A script that no peer has is asked for again after a while, twice as long each time."""

_log = logging.getLogger(__name__)


class Publisher(Protocol):
    """The part of the network that the researcher uses."""

    async def publish_record(self, envelope: bytes) -> None:
        """Send a record to the swarm."""

    async def publish_notice(self, notice: bytes) -> None:
        """Send a notice to the swarm."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What a researcher works with.

    Attributes:
        key: Signs what it finds.
        intake: The door for its records.
        materials: Scripts.
        bench: Runs them.
        publisher: Tells others.
        claims: What others run now.
        activity: Tells people.
        logs: Keeps what runs printed.
        alive: Members that were heard of lately, by their key.
    """

    key: SigningKey
    intake: Intake
    materials: Materials
    bench: Bench
    publisher: Publisher
    claims: Claims
    activity: Activity
    logs: TrialLogs
    alive: Callable[[], frozenset[bytes]]


class Researcher:
    """Runs the workers of one node.

    Args:
        tools: What it works with.
        proposer: Finds ideas; None for a node that only verifies.
        seed: Seeds the agent's choices, together with the worker's number.
    """

    def __init__(self, tools: Tools, proposer: Proposer | None, seed: int) -> None:
        self._tools = tools
        self._proposer = proposer
        self._seed = seed
        self._running: set[tuple[bytes, int]] = set()
        self._unusable: dict[bytes, tuple[float, float]] = {}
        self._watched: dict[trio.CancelScope, Callable[[], bool]] = {}
        self._digests: dict[bytes, bytes | None] = {}
        self._changed = trio.Event()
        self.finishing = False

    @property
    def _ledger(self) -> Ledger:
        return self._tools.intake.ledger

    def on_change(self) -> None:
        """Look again at what is worth doing: the ledger has changed, or the node is finishing."""
        self._changed.set()
        self._changed = trio.Event()
        for scope, useful in list(self._watched.items()):
            if not useful():
                scope.cancel()

    def finish(self) -> None:
        """Begin nothing new, and drop what runs."""
        self.finishing = True
        self.on_change()

    async def work(self, worker: int) -> None:
        """Work until finished or cancelled.

        Args:
            worker: The worker's number, from 0.
        """
        rng = random.Random(f"{self._seed}:{worker}")
        while not self.finishing:
            changed = self._changed
            try:
                busy = await self._step(worker, rng)
            except (StoreError, NodeError) as error:
                _log.warning("worker %d: %s", worker, error)
                self._tools.activity.news(clock.now_ms(), f"trouble: {error}")
                self._begin(worker, Work("idle"))
                await trio.sleep(_TROUBLE_S)
                continue
            if not busy and not self.finishing:
                self._begin(worker, Work("idle"))
                with trio.move_on_after(_IDLE_S):
                    await changed.wait()
        self._begin(worker, Work("finished"))

    async def _step(self, worker: int, rng: random.Random) -> bool:
        """Do one piece of work; False when there is none."""
        task = self._next_verification()
        if task is not None:
            await self._timed("verifying", partial(self._verify, worker, task))
            return True
        if self._proposer is None:
            return False
        return await self._timed("screening", partial(self._explore, worker, rng))

    async def _timed(self, state: WorkState, work: Callable[[], Awaitable[T]]) -> T:
        started_s = trio.current_time()
        try:
            return await work()
        finally:
            self._tools.activity.spent(state, trio.current_time() - started_s)

    def _begin(self, worker: int, work: Work) -> None:
        self._tools.activity.begin(worker, work)

    async def _while(
        self, useful: Callable[[], bool], work: Callable[[], Awaitable[T]]
    ) -> T | None:
        """Do some work for as long as it is useful; None when it was dropped."""
        result: T | None = None
        with trio.CancelScope() as scope:
            self._watched[scope] = lambda: useful() and not self.finishing
            try:
                result = await work()
            finally:
                del self._watched[scope]
        return result

    def _on_arm(self, worker: int, work: Work) -> Callable[[str, float], None]:
        """Show a run's progress: which arm, and how far."""

        def show(arm: str, share: float) -> None:
            self._begin(
                worker, Work(work.state, work.hypothesis, work.title, work.pair, arm, share)
            )

        return show

    # -- verifying others -----------------------------------------------------------------------

    def _next_verification(self) -> VerificationTask | None:
        if not self._share_allows():
            return None
        return next_verification(
            self._ledger,
            self._tools.key.public,
            alive=self._tools.alive(),
            now_ms=clock.now_ms(),
            running=frozenset(self._running),
            unusable=self._unusable_now(),
        )

    def _unusable_now(self) -> frozenset[bytes]:
        """Hypotheses whose scripts cannot be run, or not yet."""
        now_s = trio.current_time()
        return frozenset(item for item, (until_s, _) in self._unusable.items() if until_s > now_s)

    def _share_allows(self) -> bool:
        """Whether verifying stays within the policy's share of this node's time."""
        if self._proposer is None:
            return True
        busy_s = self._tools.activity.busy_s
        verifying_s = busy_s.get("verifying", 0.0)
        total_s = verifying_s + busy_s.get("screening", 0.0)
        share = self._ledger.policy.verify_share_permille / 1000
        # The first minute of verification is free, or a new node could never begin with it.
        return verifying_s <= max(60.0, share * total_s)

    async def _verify(self, worker: int, task: VerificationTask) -> None:
        view = self._ledger.hypothesis(task.hypothesis)
        body = view.body
        work = Work("verifying", task.hypothesis, body.title, task.pair)
        self._begin(worker, work)
        slot = (task.hypothesis, task.pair)
        self._running.add(slot)
        try:
            parent = await self._tools.materials.script(self._entry_source(body.parents[0]))
            child = await self._tools.materials.script(body.source)
            check_source(child, parent)
            arms = await self._while(
                lambda: is_wanted(self._ledger, self._tools.key.public, task),
                partial(
                    self._tools.bench.verify,
                    task.hypothesis,
                    task.pair,
                    parent,
                    child,
                    self._on_arm(worker, work),
                ),
            )
            if arms is None:
                return
            self._keep_logs(task.hypothesis, "verify", task.pair, arms)
            trial = self._tools.bench.trial(task.hypothesis, "verify", task.pair, arms)
            await self._publish(trial)
            self._news_of_arms("verified pair", task.pair, body.title, arms, task.hypothesis)
        except (ScriptUnavailableError, SourceError) as error:
            # Nobody runs a script that breaks the limits; one that is missing may come later, and
            # must not keep the worker from everything else until then.
            delay_s = math.inf
            if isinstance(error, ScriptUnavailableError):
                _, last_s = self._unusable.get(task.hypothesis, (0.0, _ABSENT_FIRST_S / 2))
                delay_s = min(_ABSENT_MAX_S, 2 * last_s)
            self._unusable[task.hypothesis] = (trio.current_time() + delay_s, delay_s)
            self._tools.activity.news(
                clock.now_ms(), f"cannot verify “{body.title}”: {error}", task.hypothesis
            )
        finally:
            self._running.discard(slot)

    # -- ideas of our own -----------------------------------------------------------------------

    async def _explore(self, worker: int, rng: random.Random) -> bool:
        """Ask the agent for an idea, screen it and publish what came of it."""
        assert self._proposer is not None
        head = self._ledger.head
        self._begin(worker, Work("proposing"))
        parent = await self._tools.materials.script(head.source)
        view = await self._view(parent)
        proposal = await trio.to_thread.run_sync(self._proposer.propose, view, rng)
        if proposal is None:
            return False
        try:
            change = check_source(proposal.source, parent).digest
        except SourceError as error:
            _log.warning("own proposal “%s” breaks the limits: %s", proposal.title, error)
            return True
        await self._claim(head.id, change)
        arms = await self._while(
            lambda: self._ledger.head.id == head.id and self._claim_is_ours(head.id, change),
            partial(self._screen, worker, proposal, parent),
        )
        if not arms:
            why = "the head has moved" if self._ledger.head.id != head.id else "a peer runs it"
            self._tools.activity.news(clock.now_ms(), f"dropped “{proposal.title}”: {why}")
            return True
        await self._publish_screened(head.id, proposal, arms)
        return True

    async def _view(self, parent: str) -> ResearchView:
        """What the agent may know now."""
        ledger = self._ledger
        head = ledger.head
        tau_micro = ledger.policy.tau_micro
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
                    tau_micro=tau_micro,
                )
            )
        return ResearchView(
            head_id=head.id,
            head_source=parent,
            tried=frozenset(tried),
            claims=self._tools.claims.on(head.id, trio.current_time()),
            experiences=tuple(seen),
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
        now_s = trio.current_time()
        self._tools.claims.take(claim, self._tools.key.public, now_s)
        await self._tools.publisher.publish_notice(
            seal_notice(
                claim,
                key=self._tools.key,
                swarm=self._ledger.swarm,
                created_ms=clock.now_ms(),
            )
        )

    def _claim_is_ours(self, head: bytes, change: bytes) -> bool:
        """Whether no peer that claimed the change in the same moment has the right of way."""
        holder = self._tools.claims.holder(head, change, trio.current_time())
        return holder in {None, self._tools.key.public}

    async def _screen(
        self, worker: int, proposal: Proposal, parent: str
    ) -> list[tuple[Outcome, Outcome]]:
        """Run an idea on this node's own seeds: a second one only when the first leaves doubt."""
        results: list[tuple[Outcome, Outcome]] = []
        metric, tau_micro = self._ledger.metric, self._ledger.policy.tau_micro
        for number in range(_SCREENS_MAX):
            work = Work("screening", None, proposal.title, number)
            arms = await self._tools.bench.screen(
                parent, proposal.source, number, self._on_arm(worker, work)
            )
            results.append(arms)
            before, after = arms[0].metric_micro, arms[1].metric_micro
            if before is None or after is None:
                break
            gain_micro = metric.gain_micro(before, after)
            if not tau_micro <= gain_micro < _SURE_TAUS * tau_micro:
                break
        return results

    async def _publish_screened(
        self, head: bytes, proposal: Proposal, arms: Sequence[tuple[Outcome, Outcome]]
    ) -> None:
        hypothesis = Hypothesis(
            parents=(head,),
            source=self._tools.materials.keep_script(proposal.source),
            title=printable(proposal.title, limits.TITLE_BYTES_MAX),
            rationale=printable(
                f"{proposal.rationale}\n\nExpected: {proposal.expected_effect}",
                limits.RATIONALE_BYTES_MAX,
                lines=True,
            ),
            origin=Origin(
                proposer="offline",
                model="",
                category=printable(proposal.kind, limits.NAME_BYTES_MAX),
                change=printable(proposal.change, limits.CHANGE_BYTES_MAX),
            ),
        )
        identity = await self._publish(hypothesis)
        for number, pair in enumerate(arms):
            self._keep_logs(identity, "screen", number, pair)
            await self._publish(self._tools.bench.trial(identity, "screen", number, pair))
        self._news_of_arms("screened", None, proposal.title, arms[-1], identity)

    # -- signing --------------------------------------------------------------------------------

    async def _publish(self, body: Body) -> bytes:
        """Sign a record, make it durable, and only then tell others. Returns its id."""
        envelope = seal(
            body, key=self._tools.key, swarm=self._ledger.swarm, created_ms=clock.now_ms()
        )
        disposition = await self._tools.intake.submit(envelope, local=True)
        if disposition == "rejected":
            raise NodeError("this node's own record was rejected; see its log")
        await self._tools.publisher.publish_record(envelope)
        return peek_id(envelope)

    def _keep_logs(
        self, hypothesis: bytes, purpose: Purpose, pair: int, arms: tuple[Outcome, Outcome]
    ) -> None:
        """Keep what the child printed, and the parent where it failed."""
        name = f"{hypothesis.hex()[:16]}-{purpose}-{pair}"
        self._tools.logs.keep(f"{name}-child", arms[1].log_tail)
        if arms[0].status != "ok":
            self._tools.logs.keep(f"{name}-parent", arms[0].log_tail)

    def _entry_source(self, entry: bytes) -> bytes:
        return self._ledger.entries[entry].source

    def _news_of_arms(
        self,
        verb: str,
        pair: int | None,
        title: str,
        arms: tuple[Outcome, Outcome],
        hypothesis: bytes,
    ) -> None:
        before, after = arms[0].metric_micro, arms[1].metric_micro
        if before is None or after is None:
            failed = arms[1] if after is None else arms[0]
            result = f"{failed.status}: {failed.reason}" if failed.reason else failed.status
        else:
            result = f"gain {self._ledger.metric.gain_micro(before, after) / 1e6:+.4f}"
        number = "" if pair is None else f" {pair + 1} of"
        self._tools.activity.news(clock.now_ms(), f"{verb}{number} “{title}”: {result}", hypothesis)
