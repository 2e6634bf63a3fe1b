"""A swarm against agents alone: counted by purpose, and going on where it was cut off."""

from collections import Counter

import pytest
import trio

from benchmarks.outcomes import Measured
from benchmarks.together import Setting, Together, together
from benchmarks.worth import Comparison, compare, figures_of, made_up
from protocol.policy import DEMO
from trainer.task import built_in_task


class CutOffError(Exception):
    """The benchmark was stopped."""


class Remembering:
    """Runs that are made once, as real ones are (`benchmarks.outcomes`).

    Attributes:
        made: How often each was made.
        left: Runs until the benchmark is stopped.
    """

    def __init__(self) -> None:
        self.made: Counter[tuple[str, int]] = Counter()
        self.left = 1_000_000

    def measure(self, script: str, seed: int) -> Measured:
        if (script, seed) not in self.made:
            if self.left == 0:
                raise CutOffError
            self.left -= 1
            self.made[script, seed] += 1
        return made_up(script, seed)

    async def run(self, script: str, seed: int) -> Measured:
        await trio.lowlevel.checkpoint()
        return self.measure(script, seed)


def small_swarm(runs: Remembering) -> Together:
    return together(Setting(built_in_task(), "smoke", DEMO, 3), runs.measure)


def test_a_swarm_that_was_cut_off_comes_to_the_same() -> None:
    whole = Remembering()
    expected = small_swarm(whole)
    runs = Remembering()
    runs.left = 3
    with pytest.raises(BaseExceptionGroup) as caught:
        small_swarm(runs)
    assert caught.group_contains(CutOffError)
    runs.left = 1_000_000
    assert small_swarm(runs) == expected
    assert runs.made == whole.made
    assert expected.hypotheses >= 3
    assert sum(expected.profile.values()) == expected.runs
    assert expected.profile["screening ideas"] >= 3


def test_a_comparison_gives_every_way_of_working_the_same_runs() -> None:
    found: list[Comparison] = []

    async def test() -> None:
        runs = Remembering()
        found.append(await compare(built_in_task(), "smoke", "demo", runs.run, 1))

    trio.run(test)
    assert len(found[0].alone_gains) == len(found[0].experiments) == 3
    figures = {item.name: item.value for item in figures_of(found, "bits/byte")}
    assert figures["runs of each way of working"] == found[0].swarm.runs
    assert figures["swarm: gain of the head"] == pytest.approx(found[0].swarm_gain)
    shares = [value for name, value in figures.items() if name.startswith("swarm: screening")]
    assert 0 < sum(shares) <= 100
