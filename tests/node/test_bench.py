"""The bench: what a node writes about a pair, and how it knows that a change costs too much."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from node.bench import Bench, Costs
from node.errors import NodeError
from protocol.envelope import seal
from protocol.keys import SigningKey
from swarm.counting import cost_permille
from tests.node.fakes import ArmsRunner
from trainer.job import Budget, BudgetKind, Evaluation, Job, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer.job import Progress
    from trainer.scorer import Bits

KEY = SigningKey.from_seed(b"k" * 32)
HYPOTHESIS = b"h" * 32
RATIO_PERMILLE = 2_500


class LoadedRunner(ArmsRunner):
    """Every script takes a second, or `slow` seconds, times the load of the machine.

    Attributes:
        load: how many times longer everything takes.
        ran: the scripts that were run, with their seeds.
        yielded: those of them that gave way to others.
    """

    def __init__(self) -> None:
        self.load = 1
        self.ran: list[tuple[str, int]] = []
        self.yielded: list[str] = []

    async def run(
        self,
        job: Job,
        *,
        parent_bits: Bits | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        yields: bool = False,
    ) -> Outcome:
        self.ran.append((job.script, job.seed))
        if yields:
            self.yielded.append(job.script)
        if job.script == "broken":
            return Outcome("crashed", reason="no such number")
        time_ms = (4_000 if job.script == "slow" else 1_000) * self.load
        return Outcome(
            "ok",
            3_000_000,
            train_cpu_ms=time_ms // 2,
            wall_ms=time_ms,
            peak_memory_kib=300_000,
            steps=10,
            tokens=640,
        )


def _bench(runner: LoadedRunner, kind: BudgetKind = "flops") -> Bench:
    def make_job(script: str, seed: int) -> Job:
        return Job(script, Budget(kind, 1_000), Evaluation(32, 48), seed)

    return Bench(runner, make_job, KEY, RATIO_PERMILLE)


async def _measured(runner: LoadedRunner, kind: BudgetKind = "flops") -> Bench:
    bench = _bench(runner, kind)
    await bench.measure_genesis("genesis", lambda _arm, _share: None)
    runner.ran.clear()
    return bench


async def _cost(bench: Bench, child: str, pair: int = 0) -> int | None:
    arms = await bench.verify(HYPOTHESIS, pair, "parent", child, lambda _arm, _share: None)
    return cost_permille(bench.trial(HYPOTHESIS, "verify", pair, arms))


async def test_the_genesis_scripts_costs_travel_with_a_trial() -> None:
    bench = await _measured(LoadedRunner())
    assert bench.costs == Costs(cpu_ms=500, wall_ms=1_000, memory_kib=300_000, tokens=0)
    assert await _cost(bench, "child") == 1_000


async def test_a_busier_machine_does_not_make_a_change_too_costly() -> None:
    runner = LoadedRunner()
    bench = await _measured(runner)
    runner.load = 3
    assert await _cost(bench, "child") == 1_000
    parent, child, genesis = runner.ran
    assert genesis[0] == "genesis"
    assert parent[1] == child[1] == genesis[1]
    # What it measured then says nothing about pairs that are run beside no load.
    runner.load = 1
    assert await _cost(bench, "slow", pair=1) == 4_000


async def test_a_change_that_costs_too_much_does_so_beside_any_load() -> None:
    runner = LoadedRunner()
    bench = await _measured(runner)
    runner.load = 3
    assert await _cost(bench, "slow") == 4_000
    assert [script for script, _ in runner.ran] == ["parent", "slow", "genesis"]


async def test_an_ordinary_pair_measures_nothing_again() -> None:
    runner = LoadedRunner()
    bench = await _measured(runner)
    runner.load = 2
    assert await _cost(bench, "child") == 2_000
    assert [script for script, _ in runner.ran] == ["parent", "child"]


@pytest.mark.parametrize(
    ("kind", "permille"), [("flops", 1_000), ("seconds", 1_000), ("tokens", 100_000)]
)
async def test_more_tokens_are_a_cost_only_where_they_are_the_budget(
    kind: BudgetKind, permille: int
) -> None:
    bench = await _measured(LoadedRunner(), kind)
    trial = bench.trial(HYPOTHESIS, "verify", 0, (_ran(640), _ran(64_000)))
    assert cost_permille(trial) == permille


async def test_nothing_that_a_run_printed_is_in_its_trial() -> None:
    bench = await _measured(LoadedRunner())
    said = "\x1b[2J<script>alert(1)</script>"
    failed = Outcome("crashed", reason=said, log_tail=said)
    trial = bench.trial(HYPOTHESIS, "screen", 0, (_ran(640), failed))
    envelope = seal(trial, key=KEY, swarm=b"s" * 32, created_ms=1)
    assert trial.child.status == "crashed"
    assert b"alert" not in envelope
    assert b"\x1b[2J" not in envelope


async def test_what_is_screened_gives_way_and_what_a_pair_is_judged_by_does_not() -> None:
    runner = LoadedRunner()
    bench = await _measured(runner)
    await _cost(bench, "slow")
    assert "genesis" in dict(runner.ran), "it was measured again"
    assert runner.yielded == []
    await bench.screen("head", "child", 1, lambda _arm, _share: None)
    await bench.smoke("rough", lambda _arm, _share: None)
    assert runner.yielded == ["head", "child", "rough"]


async def test_a_machine_that_cannot_run_the_head_says_nothing_of_a_change_to_it() -> None:
    runner = LoadedRunner()
    bench = await _measured(runner)
    with pytest.raises(NodeError, match=r"ended as crashed on this machine \(no such number\)"):
        await bench.screen("broken", "child", 1, lambda _arm, _share: None)
    assert runner.ran == [("broken", 1)]
    # The next time it may work: nothing is remembered of it.
    with pytest.raises(NodeError):
        await bench.screen("broken", "child", 1, lambda _arm, _share: None)
    assert len(runner.ran) == 2


def _ran(tokens: int) -> Outcome:
    plain = Outcome("ok", 3_000_000, train_cpu_ms=500, wall_ms=1_000, peak_memory_kib=300_000)
    return dataclasses.replace(plain, tokens=tokens)
