"""What a node's workers have at hand: tools, and work that is dropped once it is pointless."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

import trio

from node import clock
from node.activity import Activity, Work
from node.author import Author
from node.bench import Bench
from node.claims import Claims
from node.drafts import Drafts
from node.hypothesis_costs import HypothesisCosts
from node.materials import Materials
from node.trial_logs import TrialLogs
from protocol.records import Purpose
from swarm.ledger import Ledger
from trainer.job import Outcome

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Tools:
    """What workers use.

    Attributes:
        author: Signs what they find.
        materials: Scripts.
        bench: Runs them.
        claims: What others run now.
        activity: Tells people.
        logs: Keeps what runs printed.
        drafts: Keeps what people put in.
        alive: Members that were heard of lately, by their key.
        entry: Functions that the task needs a script to define.
        costs: Remembers what hypotheses have cost to think of.
    """

    author: Author
    materials: Materials
    bench: Bench
    claims: Claims
    activity: Activity
    logs: TrialLogs
    drafts: Drafts
    alive: Callable[[], frozenset[bytes]]
    entry: tuple[str, ...] = ()
    costs: HypothesisCosts = field(default_factory=HypothesisCosts)

    @property
    def me(self) -> bytes:
        """This node's key."""
        return self.author.key.public

    @property
    def ledger(self) -> Ledger:
        """The state now. Ask again after every wait."""
        return self.author.intake.ledger

    def on_arm(self, worker: int, work: Work) -> Callable[[str, float], None]:
        """What shows a worker's run: which arm, and how far."""

        def show(arm: str, share: float) -> None:
            self.activity.begin(worker, replace(work, arm=arm, progress=share))

        return show

    def keep_logs(
        self, hypothesis: bytes, purpose: Purpose, pair: int, arms: tuple[Outcome, Outcome]
    ) -> None:
        """Keep what the child printed, and the parent where it failed."""
        name = f"{hypothesis.hex()[:16]}-{purpose}-{pair}"
        self.logs.keep(f"{name}-child", arms[1].log_tail)
        if arms[0].status != "ok":
            self.logs.keep(f"{name}-parent", arms[0].log_tail)

    def tell(self, text: str, hypothesis: bytes | None = None) -> None:
        """Add a line to the node's news."""
        self.activity.news(clock.now_ms(), text, hypothesis)

    def describe_arms(self, arms: tuple[Outcome, Outcome]) -> str:
        """What came of a pair, in a few words."""
        before, after = arms[0].metric_micro, arms[1].metric_micro
        if before is not None and after is not None:
            return f"gain {self.ledger.metric.gain_micro(before, after) / 1e6:+.4f}"
        failed = arms[0] if before is None else arms[1]
        return f"{failed.status}: {failed.reason}" if failed.reason else failed.status


class Watch:
    """Runs work for as long as it is useful, which is asked again at every change."""

    def __init__(self) -> None:
        self._watched: dict[trio.CancelScope, Callable[[], bool]] = {}

    async def run(self, useful: Callable[[], bool], work: Callable[[], Awaitable[T]]) -> T | None:
        """Do some work; None when it was dropped because it became useless."""
        result: T | None = None
        if not useful():
            # It may have become useless while it was prepared, when nobody watched yet.
            return None
        with trio.CancelScope() as scope:
            self._watched[scope] = useful
            try:
                result = await work()
            finally:
                del self._watched[scope]
        return result

    def look_again(self) -> None:
        """Something has changed: drop the work that is not useful any more."""
        for scope, useful in list(self._watched.items()):
            if not useful():
                scope.cancel()
