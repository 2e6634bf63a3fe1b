"""The researcher: what a node's workers do next.

Each worker repeats one step: verify somebody's hypothesis when one waits for this node and its
share of time allows, else screen an idea of its own agent (`node.exploration`). Work that the
ledger has made pointless (the head moved, the verdict is in) is dropped at once.

Who verifies what is decided by `swarm.verification`, numbers come from the bench; this file puts
the work in order.
"""

import logging
import math
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Literal, TypeVar

import trio

from node.activity import Work, WorkState
from node.agent.proposal import Proposer
from node.duties import share_allows
from node.errors import NodeError
from node.exploration import Explorer
from node.materials import ScriptUnavailableError
from node.sandbox import SandboxError
from node.words import verdict_word
from node.workbench import Tools, Watch
from swarm.source import SourceError, check_source
from swarm.verification import Leases, VerificationTask, is_wanted, next_recheck, next_verification

T = TypeVar("T")

_IDLE_S: Final = 1.0
_TROUBLE_S: Final = 10.0
_ABSENT_FIRST_S: Final = 1.0
_ABSENT_MAX_S: Final = 60.0
"""A script that no peer has is asked for again after a while, twice as long each time."""

_log = logging.getLogger(__name__)


class Researcher:
    """Runs the workers of one node.

    Args:
        tools: What they work with.
        proposer: Finds ideas; None for a node that only verifies.
        seed: Seeds the agent's choices, together with the worker's number.

    Attributes:
        finishing: Whether nothing new is begun any more.
    """

    def __init__(self, tools: Tools, proposer: Proposer | None, seed: int) -> None:
        self.finishing = False
        self._dropping = False
        self._rests: dict[str, str] = {}
        self._tools = tools
        self._seed = seed
        self._watch = Watch()
        self._only_verifies = proposer is None
        self._explorer = Explorer(
            tools, self._watch, proposer, lambda: self._dropping, lambda: self.finishing
        )
        self._leases = Leases()
        self._running: set[tuple[bytes, int]] = set()
        self._unusable: dict[bytes, tuple[float, float]] = {}
        self._changed = trio.Event()

    def on_change(self) -> None:
        """Look again at what is worth doing: the ledger or a claim has changed."""
        self._changed.set()
        self._changed = trio.Event()
        self._watch.look_again()

    def finish(self, *, drop: bool = True) -> None:
        """Begin nothing new.

        Args:
            drop: Whether what runs is dropped too, or may end.
        """
        self.finishing = True
        self._dropping = self._dropping or drop
        self.on_change()

    @property
    def resting(self) -> str:
        """Why nothing new is begun for now; empty while that is not so."""
        return "; ".join(self._rests.values())

    def rest(self, who: str, reason: str) -> None:
        """Begin nothing new until whoever says so takes it back; what runs may end.

        Args:
            who: A person or the machine: each has a say of its own.
            reason: Why, in words; empty to take it back.
        """
        before = self.resting
        if reason:
            self._rests[who] = reason
        else:
            self._rests.pop(who, None)
        if self.resting != before:
            self._tools.tell(f"resting: {self.resting}" if self.resting else "going on")
            self.on_change()

    async def suggest(self, source: str, title: str, rationale: str) -> dict[str, str]:
        """Take in a person's change: checked now, screened by the next free worker.

        Args:
            source: The whole changed script.
            title: One line; empty for a description of the change.
            rationale: Why it should help.

        Raises:
            NodeError: It cannot be tested; the text says why.
        """
        if self.finishing:
            raise NodeError("this node is finishing")
        view = await self._explorer.recall()
        suggestion = await self._explorer.suggestions.add(view, source, title, rationale)
        self.on_change()
        proposal = suggestion.checked.proposal
        return {"title": proposal.title, "change": proposal.change, "parent": view.head_id.hex()}

    async def work(self, worker: int) -> None:
        """Work until finished or cancelled.

        Args:
            worker: The worker's number, from 0.
        """
        rng = random.Random(f"{self._seed}:{worker}")
        begin = partial(self._tools.activity.begin, worker)
        while not self.finishing:
            changed = self._changed
            if self._rests:
                begin(Work("paused", title=self.resting))
                await changed.wait()
                continue
            try:
                busy = await self._step(worker, rng)
            except (NodeError, SandboxError, OSError) as error:
                _log.warning("worker %d: %s", worker, error)
                self._tools.tell(f"trouble: {error}")
                begin(Work("idle"))
                await trio.sleep(_TROUBLE_S)
                continue
            if not busy and not self.finishing:
                begin(Work("idle"))
                with trio.move_on_after(_IDLE_S):
                    await changed.wait()
        begin(Work("finished"))

    async def _step(self, worker: int, rng: random.Random) -> bool:
        """Do one piece of work; False when there is none."""
        # A person waits for an answer; what peers wait for comes next.
        task = None if self._explorer.suggestions else self._next_verification()
        if task is not None:
            await self._timed("verifying", partial(self._verify, worker, task))
            return True
        task = self._next_recheck()
        if task is not None:
            await self._timed("verifying", partial(self._recheck, worker, task))
            return True
        if await self._timed("screening", partial(self._explorer.explore, worker, rng)):
            return True
        task = self._next_verification(quiet=True)
        if task is not None:
            await self._timed("verifying", partial(self._verify, worker, task))
        return task is not None

    async def _timed(self, state: WorkState, work: Callable[[], Awaitable[T]]) -> T:
        started_s = trio.current_time()
        try:
            return await work()
        finally:
            self._tools.activity.spent(state, trio.current_time() - started_s)

    def _next_verification(self, *, quiet: bool = False) -> VerificationTask | None:
        """A pair to run; the share of time only matters while there is something else to do."""
        if not (quiet or self._share_allows()):
            return None
        now_s = trio.current_time()
        unusable = {item for item, (until_s, _) in self._unusable.items() if until_s > now_s}
        return next_verification(
            self._tools.ledger,
            self._tools.me,
            alive=self._tools.alive(),
            leases=self._leases,
            now_s=now_s,
            running=frozenset(self._running),
            unusable=frozenset(unusable),
            quiet=quiet,
        )

    def _next_recheck(self) -> VerificationTask | None:
        """A look at the new head before this node's agent builds on it."""
        task = next_recheck(self._tools.ledger, self._tools.me)
        if task is None or self._only_verifies or not self._share_allows():
            return None
        until_s, _ = self._unusable.get(task.hypothesis, (0.0, 0.0))
        busy = (task.hypothesis, task.pair) in self._running
        return None if busy or trio.current_time() < until_s else task

    def _share_allows(self) -> bool:
        """Whether verifying stays within the policy's share of this node's time."""
        if self._only_verifies:
            return True
        busy_s = self._tools.activity.busy_s
        return share_allows(
            busy_s.get("verifying", 0.0),
            busy_s.get("screening", 0.0),
            self._tools.ledger.policy.verify_share_permille,
        )

    async def _verify(self, worker: int, task: VerificationTask) -> None:
        """Run a pair for somebody else's hypothesis and publish the trial."""
        tools = self._tools
        word = verdict_word("verified", tools.ledger.genesis_body.task.scorer)
        await self._run_pair(
            worker,
            task,
            "verify",
            lambda: is_wanted(tools.ledger, tools.me, task),
            f"{word} pair {task.pair + 1} of",
        )

    async def _recheck(self, worker: int, task: VerificationTask) -> None:
        """Run the new head against its parent; what comes of it is shown and not counted."""
        await self._run_pair(
            worker,
            task,
            "recheck",
            lambda: self._tools.ledger.head.hypothesis == task.hypothesis,
            "looked again at",
        )

    async def _run_pair(
        self,
        worker: int,
        task: VerificationTask,
        purpose: Literal["verify", "recheck"],
        wanted: Callable[[], bool],
        told: str,
    ) -> None:
        tools = self._tools
        body = tools.ledger.hypothesis(task.hypothesis).body
        state: WorkState = "verifying" if purpose == "verify" else "rechecking"
        work = Work(state, task.hypothesis, body.title, task.pair)
        tools.activity.begin(worker, work)
        slot = (task.hypothesis, task.pair)
        self._running.add(slot)
        try:
            baseline = tools.ledger.entries[body.parents[0]]
            parent = await tools.materials.script(baseline.source)
            child = await tools.materials.script(body.source)
            await trio.to_thread.run_sync(check_source, child, parent)
            show = tools.on_arm(worker, work)
            run = partial(tools.bench.verify, task.hypothesis, task.pair, parent, child, show)
            arms = await self._watch.run(lambda: not self._dropping and wanted(), run)
            # What this node signed before a crash may have come from a peer in the meantime.
            if arms is None or not wanted():
                return
            tools.keep_logs(task.hypothesis, purpose, task.pair, arms)
            await tools.author.publish(tools.bench.trial(task.hypothesis, purpose, task.pair, arms))
            tools.tell(f"{told} “{body.title}”: {tools.describe_arms(arms)}", task.hypothesis)
        except (ScriptUnavailableError, SourceError) as error:
            # Nobody runs a script that breaks the limits; one that is missing may come later, and
            # must not keep the worker from everything else until then.
            delay_s = math.inf
            if isinstance(error, ScriptUnavailableError):
                _, last_s = self._unusable.get(task.hypothesis, (0.0, _ABSENT_FIRST_S / 2))
                delay_s = min(_ABSENT_MAX_S, 2 * last_s)
            self._unusable[task.hypothesis] = (trio.current_time() + delay_s, delay_s)
            tools.tell(f"cannot verify “{body.title}”: {error}", task.hypothesis)
        finally:
            self._running.discard(slot)
