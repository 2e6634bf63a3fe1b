"""Many runs on all cores, and what only their sum can show: the bounds on errors."""

import math
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from tests.sim.invariants import Tally
from tests.sim.plan import draw
from tests.sim.plants import PLANTS, planted
from tests.sim.run import Result, run

SIGMAS: Final = 5
"""Margin on a count with the mean that alpha allows: a sound swarm exceeds it once in a million
campaigns, and a verdict whose errors are twice too frequent is found in some thousand runs."""
SPARE: Final = 3
"""And a few more, since small counts are no normal ones."""


@dataclass
class Summary:
    """What came of many runs.

    Attributes:
        runs: How many.
        failures: Seeds whose runs violated an invariant, with what was seen.
        tally: Sums of their counts.
        events: Simulated events.
        records: Records at the ends.
        virtual_s: Virtual seconds.
        wall_s: Real seconds.
    """

    runs: int = 0
    failures: dict[int, str] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    events: int = 0
    records: int = 0
    virtual_s: float = 0.0
    wall_s: float = 0.0

    def add(self, seed: int, result: Result) -> None:
        """Add a run."""
        self.runs += 1
        self.tally.add(result.tally)
        self.events += result.events
        self.records += result.records
        self.virtual_s += result.virtual_s
        if result.violation:
            self.failures[seed] = result.detail

    def excesses(self) -> list[str]:
        """Bounds on errors that do not hold, in words."""
        tally = self.tally
        found = []
        for name, count, mean in (
            ("false merges", tally.false_merges, tally.alpha),
            ("false refusals", tally.false_refusals, tally.alpha_good),
        ):
            if count > bound(mean):
                found.append(f"{name}: {count}, of which alpha allows {mean:.1f}")
        return found


def bound(mean: float) -> float:
    """The largest count that is still taken for chance."""
    return mean + SIGMAS * math.sqrt(mean) + SPARE


def play(seed: int, *, plant: str | None = None, large: bool = True) -> tuple[int, Result]:
    """Run one seed."""
    with planted(plant):
        return seed, run(draw(seed, large=large))


def results(
    seeds: Sequence[int], *, jobs: int | None = None, plant: str | None = None, large: bool = True
) -> Iterator[tuple[int, Result]]:
    """The runs of many seeds, as they end."""
    todo = partial(play, plant=plant, large=large)
    jobs = min(jobs or os.cpu_count() or 1, len(seeds))
    if jobs <= 1:
        yield from map(todo, seeds)
        return
    # Large swarms first: one that begins last would leave the other cores idle.
    ordered = sorted(seeds, key=lambda seed: -draw(seed, large=large).nodes)
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(todo, ordered)


def campaign(
    seeds: Sequence[int], *, jobs: int | None = None, plant: str | None = None, large: bool = True
) -> Summary:
    """Run many seeds and sum up."""
    summary = Summary()
    began_s = time.perf_counter()
    for seed, result in results(seeds, jobs=jobs, plant=plant, large=large):
        summary.add(seed, result)
    summary.wall_s = time.perf_counter() - began_s
    return summary


def seeds_to_find(plant: str, limit: int) -> tuple[int, str] | None:
    """How many seeds it takes until a planted bug is found, and by what; None within no limit."""
    summary = Summary()
    for seed in range(limit):
        plan = PLANTS[plant].shape(draw(seed, large=False))
        with planted(plant):
            result = run(plan)
        summary.add(seed, result)
        if result.violation:
            return seed + 1, result.violation
        if excesses := summary.excesses():
            return seed + 1, excesses[0].split(":", maxsplit=1)[0]
    return None
