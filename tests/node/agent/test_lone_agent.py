"""The lone agent of the benchmark: its rule, its repeatability, and outcomes that are kept."""

import random
from pathlib import Path
from typing import Any

from benchmarks.agent import hand_scripts
from benchmarks.lone import Lineage, RandomChoice, Searches
from benchmarks.outcomes import Measured, Outcomes
from node.agent.offline import OfflineProposer
from node.agent.proposal import Proposal, ResearchView
from swarm.source import source_digest
from tests.node.agent.objective import MEASURED, TAU_MICRO, worth
from tests.node.agent.scripts import SOURCE
from trainer.job import Job, Outcome
from trainer.task import built_in_task


async def by_worth(script: str, number: int) -> Measured:
    del number
    return Measured("ok", round((4.0 - worth(script, MEASURED)) * 1e6), 0)


async def climbed(search: Searches, steps: int) -> Lineage:
    lineage = Lineage(search, random.Random(5), by_worth, TAU_MICRO, SOURCE)
    for _ in range(steps):
        assert await lineage.step()
    return lineage


async def test_both_agents_climb_without_a_duplicate_and_again_the_same() -> None:
    for kind in (OfflineProposer, RandomChoice):
        one, other = await climbed(kind(), 8), await climbed(kind(), 8)
        assert one.experiments == other.experiments
        assert one.duplicates == 0
        assert worth(one.head, MEASURED) > worth(SOURCE, MEASURED)
        assert len(one.heads) == 9
        assert one.experiments[-1].depth == len(set(one.heads)) - 1


class Always:
    """Proposes one script."""

    def __init__(self, source: str) -> None:
        self.source = source

    def search(self, view: ResearchView, rng: random.Random) -> Proposal | None:
        del view, rng
        return Proposal("title", "", "", "rate", "change", self.source)


async def outcome(gains_micro: list[int | None]) -> Lineage:
    changed = SOURCE.replace("INIT_STD = 0.02", "INIT_STD = 0.03")

    async def run(script: str, number: int) -> Measured:
        gain = gains_micro[number] if script == changed else 0
        if gain is None:
            return Measured("crashed", None, 0)
        return Measured("ok", 3_000_000 - gain, 0)

    lineage = Lineage(Always(changed), random.Random(1), run, 10_000, SOURCE)
    assert await lineage.step()
    return lineage


async def test_what_is_accepted_has_gained_on_every_seed_and_tau_on_average() -> None:
    cases: list[tuple[list[int | None], str, int]] = [
        ([200_000], "verified", 1),
        ([15_000, 12_000], "verified", 2),
        ([30_000, -5_000], "screened_out", 2),
        ([12_000, 5_000], "screened_out", 2),
        ([5_000], "screened_out", 1),
        ([None], "crashed", 1),
        ([20_000, None], "crashed", 2),
    ]
    for gains, status, runs in cases:
        found = (await outcome(gains)).experiments[0]
        assert (found.status, len(found.gains_micro)) == (status, runs), gains


class CountingRunner:
    """Counts what it runs."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    async def run(self, job: Job) -> Outcome:
        self.jobs.append(job)
        return Outcome("ok", 3_000_000 + job.seed, train_cpu_ms=5)


async def test_a_run_is_made_once_also_by_the_next_process(tmp_path: Path) -> None:
    task, path = built_in_task(), tmp_path / "outcomes.jsonl"
    script = task.genesis_script("smoke")
    counting = CountingRunner()
    runner: Any = counting
    first = Outcomes(runner, task, "smoke", path)
    assert (await first.run(script, 1)).metric_micro == 3_000_001
    assert (await first.run(script + "# a comment\n", 1)).metric_micro == 3_000_001
    assert (await first.run(script, 2)).metric_micro == 3_000_002
    assert (first.asked, first.ran) == (3, 2)
    assert all(job.evaluation.probes == 0 for job in counting.jobs)
    again = Outcomes(runner, task, "smoke", path)
    assert await again.run(script, 2) == Measured("ok", 3_000_002, 5)
    assert (again.ran, len(counting.jobs)) == (0, 2)
    other = Outcomes(runner, task, "laptop", path)
    await other.run(script, 2)
    assert other.ran == 1


def test_the_stack_found_by_hand_is_made_of_the_catalogue() -> None:
    scripts = hand_scripts(built_in_task().genesis_script("smoke"))
    assert len({source_digest(script) for script in scripts}) == 3
    for script in scripts:
        for part in ("Muon(", "rotate(q)", ".square()", "F.rms_norm(q", "BATCH_SIZE = 4"):
            assert part in script
