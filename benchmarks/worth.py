"""What a swarm is worth: three nodes together against three agents alone, at the same compute.

The swarm (`benchmarks.together`) works until it has screened so many hypotheses; its runs,
verification included, are then shared out among three agents that each work alone and accept by
their own screening (`benchmarks.lone`). All heads are compared on seeds that nobody used. A profile
says what the swarm's runs were for.

With `--landscape real` every run is a real one, remembered in `benchmarks/out/`, so that a
comparison that was cut off goes on where it was; `made-up` reads the metric off the script's text,
with noise. No run fails for its cost here.
"""

import argparse
import concurrent.futures
import random
import statistics
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

import trio

from benchmarks.agent import JUDGING_SEEDS
from benchmarks.lone import Lineage
from benchmarks.outcomes import Measured, open_outcomes
from benchmarks.report import Figure, figure, line, write
from benchmarks.together import NODES, Setting, Together, together
from node.agent.offline import OfflineProposer
from protocol.policy import POLICIES
from swarm.source import source_digest
from tests.node.agent.objective import MEASURED, worth
from trainer.job import MICRO
from trainer.task import Task, built_in_task

_NOISE: Final = 0.006
"""Noise of a made-up run that its script has for itself; what a seed shares is five times that."""

_T_95: Final = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 7: 2.36, 9: 2.26, 11: 2.20, 15: 2.13}
"""Student's quantile for a two-sided interval of 95 %, by degrees of freedom."""

Run = Callable[[str, int], Awaitable[Measured]]
"""Runs a script on a seed."""


@dataclass(frozen=True)
class Comparison:
    """What came of both ways of working, once.

    Attributes:
        swarm: The swarm.
        experiments: Experiments of the agents alone.
        swarm_gain: Gain of the swarm's head.
        alone_gains: Gains of the agents' heads.
    """

    swarm: Together
    experiments: tuple[int, ...]
    swarm_gain: float
    alone_gains: tuple[float, ...]


async def alone(task: Task, tier: str, number: int, run: Run, runs: int) -> tuple[str, int]:
    """Let one agent work alone for so many runs; its head's script and its experiments."""
    made: set[tuple[bytes, int]] = set()

    async def counted(script: str, seed: int) -> Measured:
        own = 1_000_000 * (number + 1) + seed
        made.add((source_digest(script), own))
        return await run(script, own)

    genesis = task.genesis_script(tier)
    lineage = Lineage(
        OfflineProposer(),
        random.Random(f"alone {number}"),
        counted,
        task.tier(tier).tau_micro,
        genesis,
    )
    while len(made) < runs and await lineage.step():
        pass
    return lineage.head, len(lineage.experiments)


def made_up(script: str, seed: int) -> Measured:
    """A metric read off the script's text, with noise."""
    shared = random.Random(seed).gauss(0, 5 * _NOISE)
    own = random.Random(f"{seed} {source_digest(script).hex()}").gauss(0, _NOISE)
    return Measured("ok", round((4.0 - worth(script, MEASURED) + shared + own) * MICRO), 0)


def blocking(
    run: Run, nursery: trio.Nursery, token: trio.lowlevel.TrioToken
) -> Callable[[str, int], Measured]:
    """What runs a script in this loop, for a thread that has a loop of its own and waits."""

    def measure(script: str, seed: int) -> Measured:
        done: concurrent.futures.Future[Measured] = concurrent.futures.Future()

        async def work() -> None:
            try:
                done.set_result(await run(script, seed))
            except BaseException:
                done.set_exception(RuntimeError("the comparison was cut off"))
                raise

        token.run_sync_soon(nursery.start_soon, work)
        return done.result()

    return measure


async def compare(
    task: Task, tier: str, policy: str, run: Run, experiments: int, *, repetition: int = 0
) -> Comparison:
    """Both ways of working, and what came of them."""
    first = NODES * repetition

    async def gain(script: str) -> float:
        return await judge(task.genesis_script(tier)) - await judge(script)

    async def judge(script: str) -> float:
        metrics = [(await run(script, seed)).metric_micro for seed in JUDGING_SEEDS]
        return statistics.mean(metric for metric in metrics if metric is not None) / MICRO

    async with trio.open_nursery() as nursery:
        measure = blocking(run, nursery, trio.lowlevel.current_trio_token())
        setting = Setting(task, tier, POLICIES[policy], experiments, first)
        swarm = await trio.to_thread.run_sync(together, setting, measure)
    heads: dict[int, tuple[str, int]] = {}

    async def one(number: int) -> None:
        heads[number] = await alone(task, tier, number, run, swarm.runs // NODES)
        print(f"# alone {number}: {heads[number][1]} experiments", flush=True)

    async with trio.open_nursery() as nursery:
        for number in range(first, first + NODES):
            nursery.start_soon(one, number)
    ended = [heads[number] for number in range(first, first + NODES)]
    return Comparison(
        swarm=swarm,
        experiments=tuple(count for _, count in ended),
        swarm_gain=await gain(swarm.head),
        alone_gains=tuple([await gain(script) for script, _ in ended]),
    )


def figures_of(comparisons: list[Comparison], unit: str) -> list[Figure]:
    """What the comparisons say, as means over all of them."""
    swarms = [item.swarm for item in comparisons]
    runs = sum(swarm.runs for swarm in swarms)
    profile = sum((swarm.profile for swarm in swarms), Counter[str]())
    by_mean = [item.swarm_gain / statistics.mean(item.alone_gains) for item in comparisons]
    by_best = [item.swarm_gain / max(item.alone_gains) for item in comparisons]
    figures = [
        figure("comparisons", len(comparisons), ""),
        figure("runs of each way of working", runs / len(swarms), "runs"),
        figure("swarm: verification in all", 100 * sum(swarm.verifying for swarm in swarms) / runs,
               "% runs"),
        *(figure(f"swarm: {name}", 100 * count / runs, "% runs")
          for name, count in profile.most_common()),
        figure("swarm: hypotheses screened", _mean(swarm.hypotheses for swarm in swarms), ""),
        figure("alone: experiments of all three",
               _mean(sum(item.experiments) for item in comparisons), ""),
        figure("swarm: merges", _mean(len(swarm.heads) - 1 for swarm in swarms), ""),
        figure("swarm: gain of the head", _mean(item.swarm_gain for item in comparisons), unit),
        figure("alone: gain, mean of three",
               _mean(statistics.mean(item.alone_gains) for item in comparisons), unit),
        figure("alone: gain, best of three",
               _mean(max(item.alone_gains) for item in comparisons), unit),
    ]  # fmt: skip
    for name, ratios in (("mean", by_mean), ("best", by_best)):
        figures.append(
            figure(f"gain of the swarm over the {name} alone", _mean(ratios), "times", at_least=1.0)
        )
        if len(ratios) > 1:
            half = _t(len(ratios) - 1) * statistics.stdev(ratios) / len(ratios) ** 0.5
            figures += [
                figure("... of 95 % of such: from", _mean(ratios) - half, "times"),
                figure("... to", _mean(ratios) + half, "times"),
            ]
    return figures


def _mean(values: Iterable[float]) -> float:
    return statistics.mean(list(values))


def _t(freedom: int) -> float:
    """Student's quantile; of the next lower degrees of freedom where the table has none."""
    return _T_95[max(key for key in _T_95 if key <= freedom)]


async def work(options: argparse.Namespace) -> list[Figure]:
    """Run the comparisons."""
    task = built_in_task()
    found: list[Comparison] = []

    async def all_of_them(run: Run) -> None:
        for repetition in range(options.repetitions):
            result = await compare(
                task, options.tier, options.policy, run, options.experiments, repetition=repetition
            )
            ratio = result.swarm_gain / max(result.alone_gains)
            print(f"# {repetition + 1}: {result.swarm_gain:.4f} together; alone "
                  + ", ".join(f"{gain:.4f}" for gain in result.alone_gains)
                  + f": {ratio:.3f} times the best", flush=True)  # fmt: skip
            found.append(result)

    if options.landscape == "real":
        async with open_outcomes(task, options.tier, options.workers) as outcomes:
            await all_of_them(outcomes.run)
    else:

        async def run(script: str, seed: int) -> Measured:
            return made_up(script, seed)

        await all_of_them(run)
    return figures_of(found, task.metric.unit)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--landscape", choices=["real", "made-up"], default="real")
    parser.add_argument("--tier", default="smoke")
    parser.add_argument("--policy", choices=sorted(POLICIES), default="demo")
    parser.add_argument("--experiments", type=int, default=60, help="hypotheses of the swarm")
    parser.add_argument("--repetitions", type=int, default=1, help="comparisons, of other chance")
    parser.add_argument("--workers", type=int, default=2, help="real runs at the same time")
    options = parser.parse_args()
    figures = trio.run(work, options)
    for item in figures:
        print(line(item))
    write(f"worth-{options.landscape}", figures)


if __name__ == "__main__":
    main()
