"""What a swarm is worth: three nodes together against three agents alone, at the same compute.

The nodes are the program's own (research, verification, merge queue, ledger, verdict) in virtual
time; only training is remembered or done outside of it, and every run takes the same virtual time,
since the budget of FLOPs is the same. So the number of runs is the compute. The swarm works until
it has screened so many hypotheses; its runs, verification included, are then shared out among three
agents that each work alone and accept by their own screening (`benchmarks.lone`). All heads are
compared on seeds that nobody used. A profile says what the swarm's runs were for.

With `--landscape real` every run is a real one, remembered in `benchmarks/out/`; `made-up` reads
the metric off the script's text, with noise, and takes a minute. No run fails for its cost here.
"""

import argparse
import functools
import random
import statistics
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import trio

from benchmarks.agent import JUDGING_SEEDS
from benchmarks.lone import Lineage
from benchmarks.outcomes import Measured, open_outcomes
from benchmarks.report import Figure, figure, line, write
from node import clock
from node.agency import SteadySearch
from node.agent.offline import OfflineProposer
from protocol.policy import POLICIES
from protocol.records import Trial
from swarm.ledger import Ledger
from swarm.merge_queue import names_rebase
from swarm.source import source_digest
from tests.node.agent.objective import MEASURED, worth
from tests.node.fakes import Subject, fake_swarm
from tests.virtual_time import virtually
from trainer.job import MICRO, Job, Outcome, Progress
from trainer.scorer import Bits
from trainer.task import Task, built_in_task

NODES: Final = 3
RUN_S: Final = 3.0
"""Virtual time of one run."""
RUN_CPU_MS: Final = 3_000
_NOISE: Final = 0.006
"""Noise of a made-up run that its script has for itself; what a seed shares is five times that."""

Measure = Callable[[str, int], Awaitable[Measured]]
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
    ) -> Outcome:
        """Run one job of a screening."""
        del parent_bits, on_progress
        self.other += 1
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
        found = await self.measure(job.script, job.seed)
        self.cut -= 1
        if found.metric_micro is None:
            return Outcome("crashed", train_cpu_ms=RUN_CPU_MS)
        return Outcome("ok", found.metric_micro, train_cpu_ms=RUN_CPU_MS, peak_memory_kib=1000)


@dataclass
class Together:
    """How the swarm did.

    Attributes:
        head: The head's script.
        runs: Runs in all.
        verifying: Those of verification.
        profile: Runs by purpose.
        merges: Depth of the head.
        virtual_s: Virtual time that it took.
    """

    head: str = ""
    runs: int = 0
    profile: Counter[str] = field(default_factory=Counter)
    verifying: int = 0
    merges: int = 0
    virtual_s: float = 0.0


VERIFIED_FOR: Final = {
    "merged": "verification of what was merged",
    "verified": "verification of what was merged",
    "refuted": "verification of what was refuted or parked",
    "parked": "verification of what was refuted or parked",
    "stale": "verification that a new head overtook",
}


def profile_of(ledger: Ledger, counted: Counted) -> Counter[str]:
    """What the runs were for; what the records do not tell of were baselines or dropped."""
    profile: Counter[str] = Counter()
    for item in ledger.hypotheses():
        carried = names_rebase(item.body.origin.change)
        purpose = "screening what was carried onto a new head" if carried else "screening ideas"
        profile[purpose] += item.screening.runs
        purpose = VERIFIED_FOR.get(item.status, "verification still open")
        profile[purpose] += 2 * sum(_verifies(record.body) for record in item.trials)
    profile["dropped while they ran, or still running"] = counted.cut
    profile["baselines of screening"] = counted.runs - sum(profile.values())
    return profile


def _verifies(body: object) -> bool:
    return isinstance(body, Trial) and body.purpose == "verify"


async def together(
    task: Task, tier: str, policy: str, measure: Measure, experiments: int
) -> Together:
    """Let three nodes work as a swarm until they have screened so many hypotheses."""
    counted = Counted(measure)
    result = Together()
    subject = Subject(
        source=task.genesis_script(tier),
        make_job=functools.partial(task.job, tier),
        runner=counted,
    )
    with tempfile.TemporaryDirectory(prefix="swarm-worth-") as path:
        proposers = [SteadySearch(OfflineProposer(), lambda _text: None) for _ in range(NODES)]
        rules = POLICIES[policy]
        async with fake_swarm(Path(path), list(proposers), rules, subject) as nodes:
            ledger = nodes[0].intake.ledger
            said = 0
            while _screened(ledger) < experiments:
                await trio.sleep(1.0)
                if _screened(ledger) >= said + 10:
                    said = _screened(ledger)
                    print(
                        f"# swarm: {said} hypotheses, {counted.runs} runs, {ledger.head.depth}"
                        f" merges, {trio.current_time():.0f} virtual s",
                        flush=True,
                    )
            head = nodes[0].materials.local_script(ledger.head.source)
            assert head is not None
            result.head, result.runs = head, counted.runs
            result.profile = profile_of(ledger, counted)
            result.verifying = counted.verifying
            result.merges = ledger.head.depth
            result.virtual_s = trio.current_time()
    return result


def _screened(ledger: Ledger) -> int:
    return sum(item.screening.runs > 0 for item in ledger.hypotheses())


async def alone(task: Task, tier: str, number: int, measure: Measure, runs: int) -> tuple[str, int]:
    """Let one agent work alone for so many runs; its head's script and its experiments."""
    made: set[tuple[bytes, int]] = set()

    async def run(script: str, seed: int) -> Measured:
        own = 1_000_000 * (number + 1) + seed
        made.add((source_digest(script), own))
        return await measure(script, own)

    genesis = task.genesis_script(tier)
    lineage = Lineage(
        OfflineProposer(), random.Random(f"alone {number}"), run, task.tier(tier).tau_micro, genesis
    )
    while len(made) < runs and await lineage.step():
        pass
    return lineage.head, len(lineage.experiments)


def made_up(script: str, seed: int) -> Measured:
    """A metric read off the script's text, with noise."""
    shared = random.Random(seed).gauss(0, 5 * _NOISE)
    own = random.Random(f"{seed} {source_digest(script).hex()}").gauss(0, _NOISE)
    return Measured("ok", round((4.0 - worth(script, MEASURED) + shared + own) * MICRO), 0)


async def compare(
    task: Task, tier: str, policy: str, measure: Measure, experiments: int
) -> list[Figure]:
    """Both ways of working, and what came of them."""

    async def judge(script: str) -> float:
        metrics = [(await measure(script, seed)).metric_micro for seed in JUDGING_SEEDS]
        return statistics.mean(metric for metric in metrics if metric is not None) / MICRO

    swarm = await together(task, tier, policy, measure, experiments)
    for name, count in swarm.profile.most_common():
        print(f"# swarm: {count:>4} of {swarm.runs} runs: {name}", flush=True)
    heads, lone_experiments = [], 0
    for number in range(NODES):
        head, count = await alone(task, tier, number, measure, swarm.runs // NODES)
        print(f"# alone {number + 1}: {count} experiments", flush=True)
        heads.append(await judge(head))
        lone_experiments += count
    genesis, found = await judge(task.genesis_script(tier)), await judge(swarm.head)
    mean, best = statistics.mean(heads), min(heads)
    return [
        figure("runs of each way of working", swarm.runs, "runs"),
        figure("swarm: verification in all", 100 * swarm.verifying / swarm.runs, "% runs"),
        *(
            figure(f"swarm: {name}", 100 * count / swarm.runs, "% runs")
            for name, count in swarm.profile.most_common()
        ),
        figure("swarm: hypotheses screened", experiments, ""),
        figure("alone: experiments of all three", lone_experiments, ""),
        figure("swarm: merges", swarm.merges, ""),
        figure("swarm: gain of the head", genesis - found, task.metric.unit),
        figure("alone: gain, mean of three", genesis - mean, task.metric.unit),
        figure("alone: gain, best of three", genesis - best, task.metric.unit),
        figure("gain of the swarm over the mean alone", (genesis - found) / (genesis - mean),
               "times", at_least=1.0),
        figure("gain of the swarm over the best alone", (genesis - found) / (genesis - best),
               "times", at_least=1.0),
    ]  # fmt: skip


def in_virtual_time(
    options: argparse.Namespace, task: Task, measure: Callable[[str, int], Measured]
) -> list[Figure]:
    """Run the comparison on a clock that stands still while something is trained."""
    found: list[Figure] = []

    async def measured(script: str, seed: int) -> Measured:
        return await trio.to_thread.run_sync(measure, script, seed)

    async def work() -> None:
        clock.now_ms = lambda: 1_000_000_000 + round(trio.current_time() * 1000)
        found.extend(
            await compare(task, options.tier, options.policy, measured, options.experiments)
        )

    now_ms = clock.now_ms
    try:
        virtually(work)
    finally:
        clock.now_ms = now_ms
    return found


async def with_real_runs(options: argparse.Namespace, task: Task) -> list[Figure]:
    """Train in this loop for a swarm that lives in another one, in a thread of its own."""
    async with open_outcomes(task, options.tier, options.workers) as outcomes:
        token = trio.lowlevel.current_trio_token()

        def measure(script: str, seed: int) -> Measured:
            found: Measured = trio.from_thread.run(outcomes.run, script, seed, trio_token=token)
            return found

        return await trio.to_thread.run_sync(in_virtual_time, options, task, measure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--landscape", choices=["real", "made-up"], default="real")
    parser.add_argument("--tier", default="smoke")
    parser.add_argument("--policy", choices=sorted(POLICIES), default="demo")
    parser.add_argument("--experiments", type=int, default=60, help="hypotheses of the swarm")
    parser.add_argument("--workers", type=int, default=2, help="real runs at the same time")
    options = parser.parse_args()
    task = built_in_task()
    if options.landscape == "real":
        figures = trio.run(with_real_runs, options, task)
    else:
        figures = in_virtual_time(options, task, made_up)
    for item in figures:
        print(line(item))
    write(f"worth-{options.landscape}", figures)


if __name__ == "__main__":
    main()
