"""A swarm of the program's own nodes in virtual time, with every training run counted by purpose.

Research, verification, merge queue, ledger and verdict are the nodes' own code; only training is
done by whoever is asked (`Measure`), and takes the same virtual time each time, since the budget of
FLOPs is the same. So the number of runs is the compute. A run that is dropped half-way counts as
one and is not made. Everything follows from the numbers of the nodes and from what runs give, so a
swarm that was cut off comes to the same again.
"""

import functools
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import trio

from benchmarks.outcomes import Measured
from node import clock
from node.agency import SteadySearch
from node.agent.offline import OfflineProposer
from protocol.policy import Policy
from protocol.records import Trial
from swarm.hypotheses import HypothesisView
from swarm.ledger import Ledger
from swarm.merge_queue import is_carried
from tests.node.fakes import Subject, fake_swarm
from tests.virtual_time import reproducibly
from trainer.job import Job, Outcome, Progress
from trainer.scorer import Bits
from trainer.task import Task

NODES: Final = 3
RUN_S: Final = 3.0
"""Virtual time of one run."""
RUN_CPU_MS: Final = 3_000

Measure = Callable[[str, int], Measured]
"""Runs a script on a seed."""


@dataclass
class Counted:
    """Runs for a whole swarm, in virtual time.

    Attributes:
        measure: What comes of a run.
        verifying: Runs of verification pairs.
        other: Runs of screening, baselines included.
        cut: Runs that were begun and have not ended.
    """

    measure: Measure
    verifying: int = 0
    other: int = 0
    cut: int = 0

    @property
    def runs(self) -> int:
        """All runs begun."""
        return self.verifying + self.other

    async def run(
        self,
        job: Job,
        *,
        parent_bits: Bits | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        yields: bool = False,
    ) -> Outcome:
        """Run one job of a screening."""
        del parent_bits, yields
        self.other += 1
        if on_progress is not None:
            on_progress(Progress("train", 0.0))
        return await self._run(job)

    async def pair(
        self,
        parent: Job,
        child: Job,
        *,
        on_progress: Callable[[Literal["parent", "child"], Progress], None] | None = None,
    ) -> tuple[Outcome, Outcome]:
        """Run a verification pair."""
        del on_progress
        self.verifying += 1
        before = await self._run(parent)
        self.verifying += 1
        return before, await self._run(child)

    def bits_of(self, job: Job) -> Bits | None:
        """Nothing is audited here."""
        del job
        return None

    async def _run(self, job: Job) -> Outcome:
        # A run that is dropped half-way has cost half its time, but it counts as one.
        self.cut += 1
        await trio.sleep(RUN_S)
        found = self.measure(job.script, job.seed)
        self.cut -= 1
        if found.metric_micro is None:
            return Outcome("crashed", train_cpu_ms=RUN_CPU_MS)
        return Outcome("ok", found.metric_micro, train_cpu_ms=RUN_CPU_MS, peak_memory_kib=1000)


@dataclass
class Together:
    """How a swarm did.

    Attributes:
        heads: The head's script after each merge, with the runs until then; the first script first.
        runs: Runs in all.
        verifying: Those of verification.
        profile: Runs by purpose.
        hypotheses: How many were screened.
        virtual_s: Virtual time that it took.
    """

    heads: list[tuple[int, str]] = field(default_factory=list)
    runs: int = 0
    verifying: int = 0
    profile: Counter[str] = field(default_factory=Counter)
    hypotheses: int = 0
    virtual_s: float = 0.0

    @property
    def head(self) -> str:
        """The last head's script."""
        return self.heads[-1][1]


@dataclass(frozen=True)
class Setting:
    """What a swarm works on.

    Attributes:
        task: The task.
        tier: Its tier.
        policy: The swarm's policy.
        experiments: Hypotheses to screen.
        first: Number of the first node: other numbers are other keys and other chance.
    """

    task: Task
    tier: str
    policy: Policy
    experiments: int
    first: int = 0


def together(setting: Setting, measure: Measure) -> Together:
    """Let nodes work as a swarm until they have screened so many hypotheses."""
    result = Together()

    async def work() -> None:
        clock.now_ms = lambda: 1_000_000_000 + round(trio.current_time() * 1000)
        await _work(result, setting, Counted(measure))

    now_ms = clock.now_ms
    try:
        reproducibly(work, setting.first)
    finally:
        clock.now_ms = now_ms
    return result


async def _work(result: Together, setting: Setting, counted: Counted) -> None:
    subject = Subject(
        source=setting.task.genesis_script(setting.tier),
        make_job=functools.partial(setting.task.job, setting.tier),
        runner=counted,
    )
    with tempfile.TemporaryDirectory(prefix="swarm-worth-") as path:
        proposers = [SteadySearch(OfflineProposer(), lambda _text: None) for _ in range(NODES)]
        async with fake_swarm(
            Path(path), list(proposers), setting.policy, subject, first=setting.first
        ) as nodes:
            ledger = nodes[0].intake.ledger
            head = b""
            while True:
                script = nodes[0].materials.local_script(ledger.head.source)
                if ledger.head.id != head and script is not None:
                    head = ledger.head.id
                    result.heads.append((counted.runs, script))
                    told = f"{counted.runs} runs, {screened(ledger)} hypotheses"
                    print(f"# swarm {setting.first}: {told}: {ledger.head.title}", flush=True)
                if screened(ledger) >= setting.experiments:
                    break
                await trio.sleep(1.0)
            result.runs, result.verifying = counted.runs, counted.verifying
            result.profile = profile_of(ledger, counted)
            result.hypotheses = screened(ledger)
            result.virtual_s = trio.current_time()


def screened(ledger: Ledger) -> int:
    """How many hypotheses were screened."""
    return sum(item.screening.runs > 0 for item in ledger.hypotheses())


_VERIFIED_FOR: Final = {
    "merged": "verification of what was merged",
    "verified": "verification of what was merged",
    "refuted": "verification of what was refuted or parked",
    "parked": "verification of what was refuted or parked",
    "stale": "verification that a new head overtook",
}


def profile_of(ledger: Ledger, counted: Counted) -> Counter[str]:
    """What the runs were for; what the records do not tell of were baselines."""
    profile: Counter[str] = Counter()
    seen: set[tuple[bytes, bytes]] = set()
    for item in sorted(ledger.hypotheses(), key=lambda item: item.created_ms):
        script = item.body.parents[0], item.body.source
        purpose = "screening what was carried" if is_carried(item) else "screening ideas"
        profile["screening twice" if script in seen else purpose] += item.screening.runs
        seen.add(script)
        purpose = _VERIFIED_FOR.get(item.status, "verification still open")
        profile[purpose] += 2 * _verification_trials(item)
    told = sum(count for name, count in profile.items() if name.startswith("verification"))
    profile["dropped or not ended"] = counted.cut
    profile["pairs that ended in vain"] = max(0, counted.verifying - told - counted.cut)
    profile["baselines of screening"] = counted.runs - sum(profile.values())
    return profile


def _verification_trials(item: HypothesisView) -> int:
    return sum(
        isinstance(record.body, Trial) and record.body.purpose == "verify" for record in item.trials
    )
