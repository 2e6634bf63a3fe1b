"""Replaying the lineage at another scale: which entries, the journal, the runs, the delivery."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio

from node.devices import Device
from node.errors import NodeError, NotRunningError, UsageError
from node.home import Home
from node.identity import load_identity
from node.offline import fold_home
from node.transfer.delivery import control_methods, deliver, fetch_script
from node.transfer.journal import Heading, Journal, Measured
from node.transfer.replay import Plan, Replay, find_entry, path_to
from protocol.envelope import open_envelope, seal
from protocol.ids import transfer_seed
from protocol.records import Merge
from swarm.transfer import Judge, report
from tests.node.replayable import TIER, Replayable, replayable
from tests.swarm.helpers import key
from trainer.job import Job, Outcome, Progress
from trainer.scales import find_scaling
from trainer.task import load_task

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainer.scorer import Bits

HEADING = Heading(swarm=b"s" * 32, entry=b"e" * 32, scale="width=2", device="d", runtime="r")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Replayable:
    return replayable(tmp_path_factory.mktemp("replayable"))


class FakeRunner:
    """Computes a metric from the script and the seed, in no time.

    Attributes:
        jobs: What was run.
        stop_after: Runs after which it is interrupted.
    """

    def __init__(self, stop_after: int = 1_000) -> None:
        self.jobs: list[Job] = []
        self.stop_after = stop_after

    async def run(
        self,
        job: Job,
        *,
        parent_bits: Bits | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        yields: bool = False,
    ) -> Outcome:
        await trio.lowlevel.checkpoint()
        if len(self.jobs) == self.stop_after:
            raise KeyboardInterrupt
        assert on_progress is not None
        on_progress(Progress("train", 1.0))
        self.jobs.append(job)
        if "CRASH" in job.script:
            return Outcome("crashed", train_cpu_ms=7, reason="no")
        (rate,) = re.findall(r"^LEARNING_RATE = ([\d.]+)", job.script, re.MULTILINE)
        noise = job.seed % 1_000 + len(job.script) % 7
        return Outcome("ok", 3_000_000 - round(float(rate) * 10**7) + noise, 900, 100)

    def bits_of(self, job: Job) -> Bits | None:
        return None


def plan_for(made: Replayable, seeds_max: int = 8, scale: str = "width=2") -> Plan:
    ledger = fold_home(made.home)
    task = load_task(made.home.root.parent / "task")
    path = path_to(ledger, ledger.head, 64)
    blobs = made.home.blobs
    scripts = {
        entry.source: (blobs / entry.source.hex()[:2] / entry.source.hex()).read_text()
        for entry in path
    }
    return Plan(task, find_scaling(task, TIER, scale), path, scripts, Device("cpu"), seeds_max)


def replay_in(made: Replayable, directory: Path, plan: Plan) -> Replay:
    ledger = fold_home(made.home)
    judge = Judge(ledger.metric, ledger.policy.tau_micro)
    heading = replace(HEADING, entry=plan.path[-1].id)
    return Replay(plan, judge, Journal(directory, heading), load_identity(made.home.key))


def run(replay: Replay, runner: FakeRunner) -> list[tuple[int, int]]:
    """Run a replay to its end, or to the interruption; which runs were kept."""
    kept: list[tuple[int, int]] = []

    async def main() -> None:
        await replay.run(
            runner, lambda *_: None, lambda number, seed, _: kept.append((number, seed))
        )

    try:
        trio.run(main)
    except KeyboardInterrupt:
        assert len(runner.jobs) == runner.stop_after
    return kept


def test_entries_are_found_by_the_start_of_an_id(made: Replayable) -> None:
    ledger = fold_home(made.home)
    assert find_entry(ledger, "").id == ledger.head.id == made.entries[2]
    assert find_entry(ledger, made.entries[1].hex()[:10].upper()).id == made.entries[1]
    hypothesis = ledger.entries[made.entries[1]].hypothesis
    assert hypothesis is not None
    assert find_entry(ledger, hypothesis.hex()).id == made.entries[1]
    for prefix in ("abc", "0123456789abcdef", "zzzz"):
        with pytest.raises(UsageError):
            find_entry(ledger, prefix)


def test_the_path_begins_at_the_genesis_and_can_be_thinned(made: Replayable) -> None:
    ledger = fold_home(made.home)
    assert [entry.id for entry in path_to(ledger, ledger.head, 64)] == made.entries
    assert [entry.id for entry in path_to(ledger, ledger.head, 1)] == made.entries[::2]
    with pytest.raises(UsageError, match="nothing to replay"):
        path_to(ledger, ledger.root, 64)


def test_every_script_runs_scaled_on_seeds_that_nobody_chose(
    made: Replayable, tmp_path: Path
) -> None:
    runner = FakeRunner()
    plan = plan_for(made)
    replay = replay_in(made, tmp_path, plan)
    run(replay, runner)
    assert all("D_MODEL = 32" in job.script for job in runner.jobs)
    assert {job.budget.amount for job in runner.jobs} == {2 * 1024}
    proof = load_identity(made.home.key).prove_transfer(made.entries[2], "width=2")
    seeds = [transfer_seed(proof, number) for number in range(8)]
    assert {job.seed for job in runner.jobs} <= set(seeds)
    assert [job.seed for job in runner.jobs[:3]] == [seeds[0]] * 3
    ledger = fold_home(made.home)
    found = report(replay.body(), Judge(ledger.metric, ledger.policy.tau_micro))
    assert [step.step.status for step in found.steps] == ["carried", "lost"]
    assert found.steps[1].whole.status == "carried"
    assert all(run.cpu_ms == 1_000 * len(run.metrics) for run in replay.body().runs)


def test_what_was_interrupted_goes_on_and_ends_the_same(made: Replayable, tmp_path: Path) -> None:
    whole = replay_in(made, tmp_path / "whole", plan_for(made))
    order = run(whole, FakeRunner())
    pieces: list[tuple[int, int]] = []
    for _ in range(30):
        replay = replay_in(made, tmp_path / "pieces", plan_for(made))
        pieces += run(replay, FakeRunner(stop_after=2))
        if replay.wanted is None:
            break
    assert pieces == order
    assert replay.body() == whole.body()
    again = FakeRunner()
    run(replay_in(made, tmp_path / "pieces", plan_for(made)), again)
    assert again.jobs == []


def test_fewer_seeds_end_earlier_and_more_go_on(made: Replayable, tmp_path: Path) -> None:
    few = replay_in(made, tmp_path, plan_for(made, seeds_max=2))
    run(few, FakeRunner())
    assert [len(item.metrics) for item in few.body().runs] == [2, 2, 2]
    more = replay_in(made, tmp_path, plan_for(made))
    kept = run(more, FakeRunner())
    assert kept
    assert min(seed for _, seed in kept) == 2
    # What was measured beyond the seeds that are asked for is left out, not lost.
    fewer = replay_in(made, tmp_path, plan_for(made, seeds_max=1))
    assert [len(item.metrics) for item in fewer.body().runs] == [1, 1, 1]


def test_a_script_that_fails_or_cannot_be_scaled_is_a_failed_step(
    made: Replayable, tmp_path: Path
) -> None:
    plan = plan_for(made)
    source = plan.path[1].source
    for number, (text, status) in enumerate(
        [("CRASH = 1\n" + plan.scripts[source], "crashed"), ("D_MODEL = 1 + 1\n", "invalid")]
    ):
        changed = replace(plan, scripts={**plan.scripts, source: text})
        replay = replay_in(made, tmp_path / str(number), changed)
        run(replay, FakeRunner())
        genesis, failed, last = replay.body().runs
        assert (failed.status, failed.metrics) == (status, (None,))
        # The last script is still compared with the genesis.
        assert genesis.metrics
        assert len(genesis.metrics) == len(last.metrics) > 2


def test_without_the_genesis_nothing_can_be_compared(made: Replayable, tmp_path: Path) -> None:
    plan = plan_for(made)
    source = plan.path[0].source
    broken = replace(plan, scripts={**plan.scripts, source: "CRASH = 1\n" + plan.scripts[source]})

    async def main() -> None:
        replay = replay_in(made, tmp_path, broken)
        with pytest.raises(NodeError, match="the genesis script ended as crashed"):
            await replay.run(FakeRunner(), lambda *_: None, lambda *_: None)

    trio.run(main)


# -- the journal --------------------------------------------------------------------------------

WELL = Measured("ok", 3_000_000, 5)
BADLY = Measured("oom", None, 6)


def journal_with_runs(directory: Path) -> Journal:
    journal = Journal(directory, HEADING)
    journal.add(b"a" * 32, 0, WELL)
    journal.add(b"b" * 32, 0, BADLY)
    return journal


def test_a_journal_is_read_back(tmp_path: Path) -> None:
    written = journal_with_runs(tmp_path)
    assert (
        Journal(tmp_path, HEADING).runs
        == written.runs
        == {
            (b"a" * 32, 0): WELL,
            (b"b" * 32, 0): BADLY,
        }
    )


@pytest.mark.parametrize(
    "other",
    [
        replace(HEADING, swarm=b"x" * 32),
        replace(HEADING, entry=b"x" * 32),
        replace(HEADING, scale="confirm"),
        replace(HEADING, device="x"),
        replace(HEADING, runtime="x"),
    ],
    ids=["swarm", "entry", "scale", "device", "runtime"],
)
def test_a_journal_about_something_else_is_not_used(tmp_path: Path, other: Heading) -> None:
    path = journal_with_runs(tmp_path).path
    Journal(tmp_path, other).path.write_bytes(path.read_bytes())
    assert Journal(tmp_path, other).runs == {}


RUN = {"entry": "cc" * 32, "seed": 0, "status": "ok", "metric_micro": 5, "cpu_ms": 1}


@pytest.mark.parametrize(
    "damage",
    [
        b"garbage\n",
        b"\xff\n",
        b"[]\n",
        json.dumps(RUN).encode(),
        *(
            json.dumps({**RUN, **change}).encode() + b"\n"
            for change in (
                {"seed": 16}, {"seed": -1}, {"seed": True}, {"seed": "0"}, {"status": "well"},
                {"status": ["ok"]}, {"status": "oom"}, {"metric_micro": None},
                {"metric_micro": 1.5},
                {"metric_micro": 1 << 60}, {"cpu_ms": -1}, {"entry": 5}, {"entry": "zz"},
            )
        ),
        b"[" * 100_000 + b"\n",
    ],
)  # fmt: skip
def test_a_journal_is_believed_up_to_the_damage(tmp_path: Path, damage: bytes) -> None:
    written = journal_with_runs(tmp_path)
    after = json.dumps(RUN).encode() + b"\n"
    written.path.write_bytes(written.path.read_bytes() + damage + after)
    read = Journal(tmp_path, HEADING)
    assert read.runs == written.runs
    read.add(b"d" * 32, 3, WELL)
    assert Journal(tmp_path, HEADING).runs == read.runs


# -- delivery -----------------------------------------------------------------------------------


def sealed(made: Replayable, tmp_path: Path, created_ms: int = 5) -> bytes:
    replay = replay_in(made, tmp_path, plan_for(made, seeds_max=1))
    run(replay, FakeRunner())
    own = load_identity(made.home.key)
    return seal(replay.body(), key=own, swarm=made.genesis.id, created_ms=created_ms)


def test_a_stopped_home_gets_the_record_into_its_store(tmp_path: Path) -> None:
    made = replayable(tmp_path)
    envelope = sealed(made, tmp_path / "journal")
    before = fold_home(made.home)
    assert before.transfers() == []
    with made.home.locked(), pytest.raises(NodeError, match="already running"):
        deliver(made.home, envelope)
    assert deliver(made.home, envelope) == "stored"
    assert deliver(made.home, envelope) == "stored", "twice is once"
    after = fold_home(made.home)
    ((record, _),) = after.transfers()
    assert record == open_envelope(envelope, swarm=made.genesis.id)
    assert len(after) == len(before) + 1
    assert after.head == before.head
    with pytest.raises(NodeError, match="no node runs"):
        fetch_script(made.home, bytes(32))


class FakeAuthor:
    """An author whose intake keeps everything."""

    def __init__(self, made: Replayable) -> None:
        self.key = load_identity(made.home.key)
        self.intake = self
        self.ledger = fold_home(made.home)
        self.taken: list[bytes] = []

    async def bring_in(self, envelope: bytes) -> bytes:
        self.taken.append(envelope)
        return b""


def test_a_running_node_takes_its_own_transfers_and_nothing_else(
    made: Replayable, tmp_path: Path
) -> None:
    author = FakeAuthor(made)

    async def script(digest: bytes) -> str:
        return digest.hex()

    methods = control_methods(author, script)  # type: ignore[arg-type]
    good = sealed(made, tmp_path)
    body = open_envelope(good, swarm=made.genesis.id).body
    swarm = made.genesis.id
    foreign = seal(body, key=author.key, swarm=bytes(32), created_ms=5)
    by_another = seal(body, key=key(1), swarm=swarm, created_ms=5)
    merge = seal(Merge(bytes(32), ()), key=author.key, swarm=swarm, created_ms=5)

    async def main() -> None:
        for bad in (b"", foreign, by_another, merge, good[:-1], bytes(64) + good[64:]):
            with pytest.raises(UsageError):
                await methods["take_transfer"]({"envelope": b64encode(bad).decode()})
        for params in ({}, {"envelope": "§"}, {"envelope": 5}):
            with pytest.raises(UsageError):
                await methods["take_transfer"](params)
        answer = await methods["take_transfer"]({"envelope": b64encode(good).decode()})
        assert answer == {"id": open_envelope(good, swarm=swarm).id.hex()}
        assert author.taken == [good]
        assert await methods["transfer_script"]({"digest": "ab" * 32}) == {"bytes": 64}
        for digest in ("", "ab", "zz" * 32):
            with pytest.raises(UsageError):
                await methods["transfer_script"]({"digest": digest})

    trio.run(main)


def test_nothing_is_made_where_there_is_no_swarm(tmp_path: Path) -> None:
    with pytest.raises(NotRunningError):
        fold_home(Home(tmp_path / "none"))
