"""Run the simulator: many seeds, or one with its trace.

python -m tests.sim                       1,000 seeds on all cores
python -m tests.sim --count 100           fewer
python -m tests.sim --seed 82 --trace     replay one seed, line by line
python -m tests.sim --seed 82 --shrink    reduce a failing seed first
python -m tests.sim --plant no_takeover   plant a bug (--plant list names them)
"""

import argparse
import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import Final

from tests.sim.campaign import Summary, bound, campaign, seeds_to_find
from tests.sim.plan import draw
from tests.sim.plants import PLANTS, planted
from tests.sim.run import Result, run
from tests.sim.shrink import describe, shrink

TRACE_TAIL: Final = 40
Print = Callable[[str], None]


def main(arguments: Sequence[str] | None = None, out: Print | None = None) -> int:
    """Do what the arguments say; 1 when something was found to be wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seed", type=int, help="run this one seed")
    parser.add_argument("--count", type=int, default=1_000, help="number of seeds")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--jobs", type=int, help="processes; all cores without it")
    parser.add_argument("--trace", action="store_true", help="print the whole trace")
    parser.add_argument("--shrink", action="store_true", help="reduce a failing seed")
    parser.add_argument("--plant", help="plant a bug; 'list' names them, 'all' tries each")
    options = parser.parse_args(arguments)
    tell = out or (lambda text: print(text, flush=True))  # noqa: T201  (a command's output)
    if options.plant == "list":
        for name, plant in PLANTS.items():
            tell(f"{name:26} {plant.words}")
        return 0
    if options.plant == "all":
        return _try_plants(options.count, tell)
    if options.seed is not None:
        with planted(options.plant):
            return _one(options.seed, tell, tracing=options.trace, reduce=options.shrink)
    seeds = range(options.first, options.first + options.count)
    summary = campaign(seeds, jobs=options.jobs, plant=options.plant)
    report(summary, tell)
    failed = bool(summary.failures or summary.excesses())
    if summary.failures:
        seed = min(summary.failures, key=lambda one: draw(one).nodes)
        tell(f"\nseed {seed}, reduced:")
        with planted(options.plant):
            _one(seed, tell, tracing=False, reduce=True)
    return int(failed)


def report(summary: Summary, tell: Print) -> None:
    """Say what came of many runs."""
    tally = summary.tally
    tell(
        f"{summary.runs} seeds in {summary.wall_s:.0f} s: {summary.virtual_s / 3600:.0f} virtual"
        f" hours, {summary.events:,} events, {summary.records:,} records"
    )
    tell(
        f"false merges: {tally.false_merges} of {tally.nulls} worthless hypotheses"
        f" (alpha allows {tally.alpha:.1f}; more than {bound(tally.alpha):.0f} would fail)"
    )
    tell(
        f"false refusals: {tally.false_refusals} of {tally.good} real gains"
        f" (alpha allows {tally.alpha_good:.1f}; more than {bound(tally.alpha_good):.0f} would"
        " fail)"
    )
    for excess in summary.excesses():
        tell(f"FAILED {excess}")
    for seed, detail in sorted(summary.failures.items()):
        tell(f"FAILED seed {seed}: {detail}")
    if not (summary.failures or summary.excesses()):
        tell("every invariant held")


def _one(seed: int, tell: Print, *, tracing: bool, reduce: bool) -> int:
    plan = draw(seed)
    result = run(plan, tracing=not reduce)
    if reduce and result.violation:
        plan = shrink(plan, result.violation, tell=tell)
        result = run(plan, tracing=True)
    tell(describe(plan))
    _tell_trace(result, tell, whole=tracing)
    tell(
        result.detail
        or f"every invariant held: {result.records} records, head at depth {result.depth}"
    )
    return int(bool(result.violation))


def _tell_trace(result: Result, tell: Print, *, whole: bool) -> None:
    lines = result.trace if whole or len(result.trace) <= TRACE_TAIL else result.trace[-TRACE_TAIL:]
    if len(lines) < len(result.trace):
        tell(f"... {len(result.trace) - len(lines)} lines before (--trace shows them)")
    for line in lines:
        tell(line)


def _try_plants(limit: int, tell: Print) -> int:
    missed = 0
    for name, plant in PLANTS.items():
        found = seeds_to_find(name, limit)
        missed += found is None
        words = "not found" if found is None else f"{found[0]} seeds, by “{found[1]}”"
        tell(f"{name:26} {words:40} {plant.words}")
    return int(missed > 0)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
