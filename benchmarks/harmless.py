"""Whether noise gets merged: edits that should not matter, through the real worker and verdict.

The head is the genesis script with three of the catalogue's improvements. Each harmless edit of it
(`node.harmless`) becomes a hypothesis that two members verify in turn: pairs of parent and child on
seeds that follow from their signatures, trained, scored and audited in the sandbox, written as
trials, counted and judged by the swarm's own rules until they are decided. None may be verified.

A run of the smoke tier takes some three CPU seconds, so the whole takes half an hour of one core.
Every pair is kept in `benchmarks/out/harmless-TIER.jsonl`: interrupted, it goes on from there.
`--beyond N` lets parked hypotheses go on to N pairs each; `--print-head` only prints the head's
script, for `swarm-node calibrate --script`.
"""

import argparse
import dataclasses
import hashlib
import json
import math
import os
import statistics
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final

import trio

from benchmarks.local import local_runner
from benchmarks.report import OUT, Figure, figure, line, write
from node.agent.catalogue import Script, apply_edits, find_edits
from node.bench import Bench, Costs
from node.harmless import HarmlessEdit, harmless_edits
from node.runner import Runner
from protocol.keys import SigningKey
from protocol.policy import POLICIES, Policy
from protocol.records import Arm, Metric, Trial
from swarm.counting import TrialsByPair, contiguous_count, counted_pairs
from swarm.verdict import Verdict, conclude
from trainer.task import Task, built_in_task

IMPROVEMENTS: Final = "optimizer:muon + positions:rope + attention:shift"
MEMBERS: Final = tuple(
    SigningKey.from_seed(hashlib.sha256(f"harmless member {number}".encode()).digest())
    for number in range(2)
)
RATIO: Final = POLICIES["demo"].cost_ratio_permille
KINDS: Final = ("rename", "draws", "sums")


@dataclasses.dataclass(slots=True)
class Case:
    """One edit on trial.

    Attributes:
        edit: the edit.
        hypothesis: stands for the record id: a digest of both scripts.
        trials: what the members ran, by member and pair.
    """

    edit: HarmlessEdit
    hypothesis: bytes
    trials: dict[bytes, dict[int, tuple[bytes, Trial]]]

    @property
    def gains(self) -> list[int]:
        """Gains of all pairs that gave one."""
        found = []
        for trials in self.trials.values():
            for _, trial in trials.values():
                before, after = trial.parent.metric_micro, trial.child.metric_micro
                if before is not None and after is not None:
                    found.append(before - after)
        return found

    def add(self, member: SigningKey, trial: Trial) -> None:
        """Files a trial."""
        identity = hashlib.sha256(self.hypothesis + member.public + bytes([trial.pair])).digest()
        self.trials[member.public][trial.pair] = (identity, trial)

    def verdict(self, metric: Metric, policy: Policy) -> Verdict:
        """What the trials add up to."""
        trials: dict[bytes, TrialsByPair] = dict(self.trials.items())
        pairs = counted_pairs(self.hypothesis, trials, metric=metric, policy=policy)
        return conclude(pairs, policy, policy.liars)

    def next_member(self) -> SigningKey:
        """Whose turn it is: the members run their pairs alternately."""
        return min(MEMBERS, key=lambda member: contiguous_count(self.trials[member.public]))


def cases(head: str) -> list[Case]:
    """Every harmless edit of a head."""
    return [
        Case(
            edit,
            hashlib.sha256(f"{head}\0{edit.script}".encode()).digest(),
            {member.public: {} for member in MEMBERS},
        )
        for edit in harmless_edits(head)
    ]


@dataclasses.dataclass(frozen=True, slots=True)
class GoingOn:
    """How far each edit is followed.

    Attributes:
        wanted: whether another pair of a case is to be run.
        workers: pairs that are run at once.
    """

    wanted: Callable[[Case], bool]
    workers: int


class Kept:
    """The pairs that were run, one JSON object a line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def restore(self, known: Iterable[Case]) -> None:
        """Files what earlier runs measured. Lines about other scripts are left alone."""
        by_id = {case.hypothesis.hex(): case for case in known}
        by_key = {member.public.hex(): member for member in MEMBERS}
        for text in self._path.read_text().splitlines() if self._path.exists() else []:
            kept = json.loads(text)
            if (case := by_id.get(kept["hypothesis"])) is not None:
                trial = Trial(
                    **kept["trial"]
                    | {name: Arm(**kept["trial"][name]) for name in ("parent", "child")}
                    | {
                        name: bytes.fromhex(kept["trial"][name])
                        for name in ("hypothesis", "seed_proof")
                    }
                )
                case.add(by_key[kept["member"]], trial)

    def append(self, case: Case, member: SigningKey, trial: Trial) -> None:
        """Keeps one pair."""
        OUT.mkdir(exist_ok=True)
        content = dataclasses.asdict(trial)
        text = json.dumps(
            {
                "edit": case.edit.name,
                "hypothesis": case.hypothesis.hex(),
                "member": member.public.hex(),
                "trial": content,
            },
            default=bytes.hex,
        )
        with self._path.open("a") as file:
            file.write(text + "\n")


async def run_all(
    task: Task, tier: str, waiting: list[Case], kept: Kept, going_on: GoingOn
) -> None:
    """Runs pairs until none is wanted.

    Args:
        task: the built-in task.
        tier: its tier.
        waiting: the cases; used up.
        kept: takes every pair.
        going_on: how far.
    """
    head = improved_head(task, tier)

    async with local_runner(going_on.workers) as local:
        runner = local.runner
        costs = await genesis_costs(runner, task, tier)

        async def work() -> None:
            while waiting:
                case = waiting.pop(0)
                while going_on.wanted(case):
                    member = case.next_member()
                    bench = Bench(runner, partial(task.job, tier), member, RATIO)
                    bench.costs = costs
                    number = contiguous_count(case.trials[member.public])
                    arms = await bench.verify(
                        case.hypothesis, number, head, case.edit.script, lambda *_: None
                    )
                    trial = bench.trial(case.hypothesis, "verify", number, arms)
                    case.add(member, trial)
                    kept.append(case, member, trial)
                    print(f"{case.edit.name}: pair {len(case.gains)}, gain {case.gains[-1:]}")

        async with trio.open_nursery() as nursery:
            for _ in range(going_on.workers):
                nursery.start_soon(work)


async def genesis_costs(runner: Runner, task: Task, tier: str) -> Costs:
    """What the genesis script costs here, as a node measures it at its start."""
    bench = Bench(runner, partial(task.job, tier), MEMBERS[0], RATIO)
    outcome = await bench.measure_genesis(task.genesis_script(tier), lambda *_: None)
    assert outcome.status == "ok", outcome
    return bench.costs


def improved_head(task: Task, tier: str) -> str:
    """The genesis script with the improvements that a demo finds."""
    script = Script.parse(task.genesis_script(tier))
    return apply_edits(script, find_edits(IMPROVEMENTS)).code


def report(every: list[Case], metric: Metric, policy: Policy) -> list[Figure]:
    """Prints a line an edit and returns the figures."""
    verdicts = [(case, case.verdict(metric, policy)) for case in every]
    print(f"{'edit':<28} {'kind':<7} {'pairs':>5} {'mean gain':>10} {'sd':>8} {'e':>7}  verdict")
    for case, verdict in verdicts:
        gains = case.gains
        print(
            f"{case.edit.name:<28} {case.edit.kind:<7} {len(gains):>5}"
            f" {statistics.fmean(gains or [0]) / 1e6:>+10.5f} {spread(gains) / 1e6:>8.5f}"
            f" {verdict.evidence_milli / 1e3:>7.3f}  {verdict.status}: {verdict.reason}"
        )
    figures = [
        figure("harmless edits on trial", len(every), "", at_least=40),
        figure("of which merged", count(verdicts, "verified"), "", at_most=0),
        *(
            figure(f"of which {status}", count(verdicts, status), "")
            for status in ("parked", "refuted", "undecided")
        ),
        figure("pairs", sum(len(case.gains) for case in every), ""),
    ]
    for kind in KINDS:
        pooled = [case.gains for case in every if case.edit.kind == kind and len(case.gains) > 1]
        if pooled:
            within = math.sqrt(statistics.fmean(statistics.variance(gains) for gains in pooled))
            figures.append(figure(f"sd of a pair's gain, {kind}", within / 1e6, "bits/byte"))
    largest = max((verdict.evidence_milli for _, verdict in verdicts), default=0)
    figures.append(figure("largest evidence", largest / 1e3, "", limit=1e6 / policy.alpha_ppm))
    return figures


def spread(gains: list[int]) -> float:
    """Standard deviation, 0 for fewer than two."""
    return statistics.stdev(gains) if len(gains) > 1 else 0.0


def count(verdicts: list[tuple[Case, Verdict]], status: str) -> int:
    """Verdicts of a status."""
    return sum(verdict.status == status for _, verdict in verdicts)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tier", default="smoke", help="the built-in task's tier")
    parser.add_argument("--edits", type=int, default=1000, help="most edits")
    parser.add_argument("--beyond", type=int, default=0, help="pairs to run of parked ones too")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--workers", type=int, default=cores, help="pairs at once")
    parser.add_argument("--print-head", action="store_true", help="only print the head's script")
    parser.add_argument("--report", action="store_true", help="only report what was run before")
    options = parser.parse_args()
    task = built_in_task()
    tier = task.tier(options.tier)
    if options.print_head:
        print(improved_head(task, tier.name), end="")
        return
    metric = Metric(task.metric.name, task.metric.unit, task.metric.direction)
    policy = dataclasses.replace(POLICIES["demo"], tau_micro=tier.tau_micro)
    every = cases(improved_head(task, tier.name))[: options.edits]
    kept = Kept(OUT / f"harmless-{tier.name}.jsonl")
    kept.restore(every)

    def next_of(case: Case) -> bool:
        verdict = case.verdict(metric, policy)
        pairs = sum(len(trials) for trials in case.trials.values())
        if verdict.status in {"verified", "refuted"} or pairs >= policy.cap_pairs:
            return False
        return verdict.status == "undecided" or pairs < options.beyond

    if not options.report:
        going_on = GoingOn(next_of, options.workers)
        trio.run(run_all, task, tier.name, [*every], kept, going_on)
    figures = report(every, metric, policy)
    for item in figures:
        print(line(item))
    write("harmless", figures)


if __name__ == "__main__":
    main()
