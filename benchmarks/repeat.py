"""Whether one script, seed and budget give one number, however busy the machine is.

The genesis script of a tier is trained, scored and audited `--runs` times on a machine that does
nothing else, and as often beside one busy loop for each core. Under a budget of operations every
run has to give the same metric to the last millionth, and the same steps and tokens. Twenty runs of
the smoke tier take about three minutes.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator

import trio

from benchmarks.local import Local, local_runner
from benchmarks.report import Figure, figure, line, write
from trainer.job import Outcome

BUSY = "while True: pass"


@contextlib.contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Keeps so many cores busy."""
    loops = [subprocess.Popen([sys.executable, "-I", "-S", "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


async def repeat(local: Local, runs: int, tier: str, seed: int, where: str) -> list[Outcome]:
    """Makes the same run several times, and prints each."""
    job = local.task.job(tier, local.task.genesis_script(tier), seed)
    outcomes = []
    for number in range(1, runs + 1):
        outcome = await local.runner.run(job)
        outcomes.append(outcome)
        value = "-" if outcome.metric_micro is None else f"{outcome.metric_micro / 1e6:.6f}"
        print(
            f"{where} {number:>2}: {outcome.status} {local.task.metric.name} {value},"
            f" {outcome.steps} steps, {outcome.wall_ms / 1000:.1f} s",
            flush=True,
        )
    return outcomes


def figures_of(tier: str, idle: list[Outcome], busy: list[Outcome]) -> list[Figure]:
    """What the runs amount to."""
    both = [*idle, *busy]
    results = {(o.status, o.metric_micro, o.steps, o.tokens, o.flops) for o in both}
    well = sum(outcome.status == "ok" for outcome in both)
    return [
        figure(f"runs that ended well, {tier}", well, "", at_least=len(both)),
        figure("different results in all of them", len(results), "", at_most=1),
        figure("wall time of a run, idle, median", _median_s(idle), "s"),
        figure("wall time of a run, beside busy loops, median", _median_s(busy), "s"),
    ]


def _median_s(outcomes: list[Outcome]) -> float:
    return statistics.median(outcome.wall_ms for outcome in outcomes) / 1000


async def compare(runs: int, tier: str, seed: int) -> list[Figure]:
    """Makes all runs and returns the figures."""
    async with local_runner() as local:
        idle = await repeat(local, runs, tier, seed, "idle")
        with busy_loops(len(os.sched_getaffinity(0))):
            busy = await repeat(local, runs, tier, seed, "busy")
    return figures_of(tier, idle, busy)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="runs idle, and as many beside loops")
    parser.add_argument("--tier", default="smoke", help="the built-in task's tier")
    parser.add_argument("--seed", type=int, default=1, help="the seed of every run")
    options = parser.parse_args()
    figures = trio.run(compare, options.runs, options.tier, options.seed)
    for item in figures:
        print(line(item))
    write("repeat", figures)


if __name__ == "__main__":
    main()
