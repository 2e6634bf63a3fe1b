"""How far the offline agent gets by itself, from the naive script, against lots and against a hand.

Two agents work alone with equal experiments: the offline search, and random choice from the same
catalogue. Both screen and accept alike (`benchmarks.lone`). The best stack that people found by
hand is run too; its gain over the naive script is the measure. What is printed is the metric of the
heads on seeds that no agent screens with. Repetitions differ in the agents' chance; the screening
seeds are the same in all, so that a run that two lineages share is made once.

Every outcome is remembered in `benchmarks/out/`, so that an interrupted benchmark goes on where it
was, and every experiment is listed there. `--minutes` ends it early; figures are then printed only
for what is complete.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import trio

from benchmarks.lone import Lineage, RandomChoice, Searches
from benchmarks.outcomes import Measured, Outcomes, open_outcomes
from benchmarks.report import OUT, Figure, figure, line, write
from node.agent.catalogue import Document, Script, apply_edits, find_edits
from node.agent.offline import OfflineProposer
from trainer.job import MICRO
from trainer.task import built_in_task

HAND: Final = (
    "optimizer:muon",
    "positions:rope",
    "activation:relu2",
    "norm:qk",
    "init:zero_outputs",
    "schedule:linear",
    "BATCH_SIZE=4",
)
"""The best stack found by hand, in the catalogue's words."""
HAND_RATES: Final = ("LEARNING_RATE=0.001", "LEARNING_RATE=0.002", "LEARNING_RATE=0.004")
"""Learning rates at which it is tried; the best one on the first screening seed counts."""

SCREENING_SEED: Final = 1_000
JUDGING_SEEDS: Final = (9_001, 9_002, 9_003)
"""No agent sees these."""
POINTS: Final = (30, 60, 120)
"""Experiments after which the agents are compared."""
TWICE_AT: Final = 60
"""Experiments after which the search should have gained twice what lots have."""
BLOCK: Final = 10
"""Experiments of a lineage before the next lineage has its turn."""

ARMS: Final[dict[str, Callable[[], Searches]]] = {
    "offline": OfflineProposer,
    "random": RandomChoice,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for.

    Attributes:
        tier: The tier.
        experiments: Experiments of a lineage.
        repetitions: Lineages of each arm.
        workers: Runs at the same time.
        arms: Which agents.
        until_s: When to stop, on `time.monotonic`.
    """

    tier: str
    experiments: int
    repetitions: int
    workers: int
    arms: tuple[str, ...]
    until_s: float


def hand_scripts(genesis: str) -> list[str]:
    """The stack found by hand, at each of its learning rates."""
    scripts = []
    for rate in HAND_RATES:
        script: Document = Script.parse(genesis)
        # A proposal holds three edits at most; this is many.
        for change in (*HAND, rate):
            edits = find_edits(change)
            if rate != change or script.constants()["LEARNING_RATE"] != float(rate.split("=")[1]):
                script = apply_edits(script, edits)
        scripts.append(script.code)
    return scripts


class Bench:
    """The lineages of a plan."""

    def __init__(self, plan: Plan, outcomes: Outcomes, genesis: str, tau_micro: int) -> None:
        self._plan = plan
        self._outcomes = outcomes
        self._genesis = genesis
        self.lineages = {
            (arm, number): Lineage(
                ARMS[arm](), random.Random(f"{arm} {number}"), self._screen, tau_micro, genesis
            )
            for number in range(plan.repetitions)
            for arm in plan.arms
        }

    async def run(self) -> None:
        """Go on with every lineage, a block at a time, until all are complete or time is over."""
        blocks = range(BLOCK, self._plan.experiments + BLOCK, BLOCK)
        todo = [(block, key) for block in blocks for key in self.lineages]
        # Whole repetitions up to the first point come first: they are what can be compared soonest.
        todo.sort(key=lambda item: (item[0] > TWICE_AT, item[1][1], item[0]), reverse=True)
        turns = {key: trio.Lock() for key in self.lineages}

        async def work() -> None:
            while todo and time.monotonic() < self._plan.until_s:
                block, key = todo.pop()
                async with turns[key]:
                    await self._advance(key, min(block, self._plan.experiments))

        async with trio.open_nursery() as nursery:
            for _ in range(self._plan.workers):
                nursery.start_soon(work)

    async def _advance(self, key: tuple[str, int], experiments: int) -> None:
        lineage = self.lineages[key]
        while len(lineage.experiments) < experiments and time.monotonic() < self._plan.until_s:
            if not await lineage.step():
                return
            self._record()
        last = lineage.experiments[-1]
        print(
            f"# {key[0]} {key[1] + 1}: {last.number} experiments, head"
            f" {last.head_micro / MICRO:.4f} at depth {last.depth}; {self._outcomes.ran} runs made,"
            f" {self._outcomes.asked} asked for",
            flush=True,
        )

    def _record(self) -> None:
        path = OUT / f"agent-{self._plan.tier}-experiments.jsonl"
        rows = [
            json.dumps({"arm": arm, "repetition": number + 1} | asdict(item)) + "\n"
            for (arm, number), lineage in self.lineages.items()
            for item in lineage.experiments
        ]
        path.write_text("".join(rows))

    async def _screen(self, script: str, number: int) -> Measured:
        return await self._outcomes.run(script, SCREENING_SEED + number)

    async def judge(self, script: str) -> float:
        """Metric of a script on seeds that no agent screens with."""
        metrics = []
        for seed in JUDGING_SEEDS:
            measured = await self._outcomes.run(script, seed)
            assert measured.metric_micro is not None, measured
            metrics.append(measured.metric_micro / MICRO)
        return statistics.mean(metrics)

    async def hand(self) -> str:
        """The best of the stacks found by hand."""
        best: list[tuple[int, str]] = []
        for script in hand_scripts(self._genesis):
            metric = (await self._screen(script, 0)).metric_micro
            assert metric is not None
            best.append((metric, script))
        return min(best)[1]

    async def figures(self) -> list[Figure]:
        """What came of it."""
        tier = self._plan.tier
        naive = await self.judge(self._genesis)
        hand_script = await self.hand()
        hand = await self.judge(hand_script)
        found = [
            figure(f"{tier}: naive script", naive, "bits/byte"),
            figure(f"{tier}: stack found by hand", hand, "bits/byte"),
        ]
        gains: dict[tuple[str, int], float] = {}
        points = sorted({min(point, self._plan.experiments) for point in POINTS})
        for arm in self._plan.arms:
            for point in points:
                complete = self._complete(arm, point)
                if not complete:
                    continue
                judged = [await self.judge(item.heads[point]) for item in complete]
                gains[arm, point] = naive - statistics.mean(judged)
                name = f"{tier}: {arm}, {point} experiments"
                wanted = arm == "offline" and point == points[-1]
                found += judged_figures(name, judged, naive, hand, target=wanted)
        for point in points:
            if ("offline", point) in gains and ("random", point) in gains:
                found.append(
                    figure(
                        f"{tier}: gain of offline over gain of random, {point} experiments",
                        gains["offline", point] / max(1e-9, gains["random", point]),
                        "times",
                        at_least=2.0 if point == TWICE_AT else None,
                    )
                )
        every = list(self.lineages.values())
        duplicates = sum(item.duplicates for item in every)
        found.append(figure(f"{tier}: runs of a script twice on one head", duplicates, "runs",
                            at_most=0))  # fmt: skip
        return found

    def _complete(self, arm: str, point: int) -> list[Lineage]:
        return [
            lineage
            for (name, _), lineage in self.lineages.items()
            if name == arm and len(lineage.experiments) >= point
        ]


def judged_figures(
    name: str, judged: Sequence[float], naive: float, hand: float, *, target: bool
) -> list[Figure]:
    """Figures of one arm after a number of experiments."""
    mean = statistics.mean(judged)
    share = 100 * (naive - mean) / (naive - hand)
    figures = [
        figure(f"{name}, of {len(judged)}: val_bpb", mean, "bits/byte", limit=hand),
        figure(f"{name}: share of the gain by hand", share, "%", at_least=90.0 if target else None),
    ]
    if len(judged) > 1:
        figures.append(figure(f"{name}: worst repetition", max(judged), "bits/byte", limit=hand))
    return figures


async def bench(plan: Plan) -> list[Figure]:
    """Run a plan."""
    task = built_in_task()
    genesis = task.genesis_script(plan.tier)
    async with open_outcomes(task, plan.tier, plan.workers) as outcomes:
        made = Bench(plan, outcomes, genesis, task.tier(plan.tier).tau_micro)
        await made.run()
        return await made.figures()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tier", default="smoke", help="tier of the experiments")
    parser.add_argument("--experiments", type=int, default=120, help="experiments of a lineage")
    parser.add_argument("--repetitions", type=int, default=3, help="lineages of each agent")
    parser.add_argument("--workers", type=int, default=2, help="runs at the same time")
    parser.add_argument("--arms", default="offline,random", help="which agents")
    parser.add_argument("--minutes", type=float, default=1e6, help="end after this long")
    options = parser.parse_args()
    plan = Plan(
        options.tier,
        options.experiments,
        options.repetitions,
        options.workers,
        tuple(options.arms.split(",")),
        time.monotonic() + 60 * options.minutes,
    )
    figures = trio.run(bench, plan)
    for item in figures:
        print(line(item))
    write(f"agent-{plan.tier}", figures)


if __name__ == "__main__":
    main()
