"""The bench: runs scripts for this node and writes what came of them as trials.

It knows seeds, pairs and costs, and where a remembered result may be used: a verification pair
always runs both arms afresh, on a seed that nobody could choose; screening compares with what this
node knows of the parent, on its own seeds or on those on which it has verified the parent.

A change is called too costly by comparison with the genesis script on this machine. That was
measured when the node started, and a machine that has become busy since makes every script dearer.
So a pair that looks too costly has the genesis script measured again, beside the same load, and
is judged by that.

What is screened gives way to everything else on the machine; pairs and what they are judged by do
not.
"""

import hashlib
import itertools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol, TypeAlias

from node.errors import NodeError
from node.hardware import describe_device, describe_runtime
from protocol.ids import seed_from, seed_from_proof
from protocol.keys import SigningKey
from protocol.records import Arm, Purpose, Trial
from swarm.counting import cost_permille
from trainer.job import BudgetKind, Job, Outcome, Progress
from trainer.scorer import Bits

OnArm: TypeAlias = Callable[[str, float], None]
"""Called with the arm that runs and the share of its run that is done."""

_SCREENING_TAG: Final = b"swarm-node/screening-seed/1\0"
_KNOWN_MAX: Final = 256
"""Results that are remembered: any script that was run here may become the head."""

_SMOKE_SHARE: Final = 60
"""A smoke run may spend this part of the budget: about five steps of a short run."""
_SMOKE_WINDOWS: Final = 16

_STAGE_SHARES: Final = {"start": (0.0, 0.0), "train": (0.0, 0.8), "score": (0.8, 0.15)}
"""Where a stage begins in a run, and how much of the run it is; the audit is the rest."""


class RunsJobs(Protocol):
    """The part of a runner that runs one script."""

    async def run(
        self,
        job: Job,
        *,
        parent_bits: Bits | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        yields: bool = False,
    ) -> Outcome:
        """Train, score and audit one job."""

    def bits_of(self, job: Job) -> Bits | None:
        """Bits of a recent result, to aim the audit."""


class RunsPairs(RunsJobs, Protocol):
    """The part of a runner that the bench uses."""

    async def pair(
        self,
        parent: Job,
        child: Job,
        *,
        on_progress: Callable[[Literal["parent", "child"], Progress], None] | None = None,
    ) -> tuple[Outcome, Outcome]:
        """Run two jobs back to back."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What the genesis script costs on this machine.

    Attributes:
        cpu_ms: CPU time of training and scoring together.
        wall_ms: Wall time.
        memory_kib: Highest resident memory.
        tokens: Tokens drawn under a budget of tokens, where they are what is spent; 0 under any
            other, where a cheaper step that leaves room for more of them is what is looked for.
    """

    cpu_ms: int = 0
    wall_ms: int = 0
    memory_kib: int = 0
    tokens: int = 0

    @classmethod
    def of(cls, outcome: Outcome, kind: BudgetKind) -> "Costs":
        """What a run under a budget of this kind has cost."""
        return cls(
            cpu_ms=outcome.train_cpu_ms + outcome.score_cpu_ms,
            wall_ms=outcome.wall_ms,
            memory_kib=outcome.peak_memory_kib,
            tokens=outcome.tokens if kind == "tokens" else 0,
        )

    def at_least(self, other: "Costs") -> "Costs":
        """The higher of both in everything."""
        return Costs(
            max(self.cpu_ms, other.cpu_ms),
            max(self.wall_ms, other.wall_ms),
            max(self.memory_kib, other.memory_kib),
            max(self.tokens, other.tokens),
        )


class Bench:
    """Runs arms and pairs of the swarm's task and tier.

    Args:
        runner: Trains and scores.
        make_job: Makes the job of a script and a seed on the swarm's tier.
        key: The node's identity: its screening seeds and seed proofs follow from it.
        cost_ratio_permille: The policy's highest cost: a pair that looks dearer is looked at twice.
        device: What it computes on, in words; this machine's processor if empty.
    """

    def __init__(
        self,
        runner: RunsPairs,
        make_job: Callable[[str, int], Job],
        key: SigningKey,
        cost_ratio_permille: int,
        device: str = "",
    ) -> None:
        self._runner = runner
        self._make_job = make_job
        self._key = key
        self._cost_ratio_permille = cost_ratio_permille
        self._device = device or describe_device()
        self._genesis = ""
        self._costs_of: dict[tuple[bytes, int], Costs] = {}
        self._known: OrderedDict[tuple[bytes, int], Outcome] = OrderedDict()
        self.costs = Costs()

    def screening_seed(self, number: int) -> int:
        """This node's own seed for the screening run of that number; 63 bits."""
        return seed_from(_SCREENING_TAG + self._key.public + number.to_bytes(4, "big"))

    def seeds_to_screen(self, parent: str, count: int) -> tuple[int, ...]:
        """Seeds for the screening runs of a change to a parent.

        First come those on which this node knows the parent's result, which saves a run for each.
        """
        digest = _digest(parent)
        seeds = [seed for script, seed in self._known if script == digest]
        own = map(self.screening_seed, itertools.count())
        while len(seeds) < count:
            seed = next(own)
            if seed not in seeds:
                seeds.append(seed)
        return tuple(seeds[:count])

    async def measure_genesis(self, script: str, on_arm: OnArm) -> Outcome:
        """Run the genesis script once, to know its cost on this machine."""
        outcome = await self._parent(script, self.screening_seed(0), on_arm)
        if outcome.status == "ok":
            self._genesis = script
            self.costs = self._costs(outcome)
        return outcome

    async def smoke(self, script: str, on_arm: OnArm) -> Outcome:
        """Run a script for a few steps and score a few windows: enough to see it crash."""
        job = self._make_job(script, self.screening_seed(0))
        few = replace(
            job,
            budget=replace(job.budget, amount=max(1, job.budget.amount // _SMOKE_SHARE)),
            evaluation=replace(
                job.evaluation, windows=min(_SMOKE_WINDOWS, job.evaluation.windows), probes=0
            ),
        )
        return await self._runner.run(
            few, on_progress=lambda progress: on_arm("child", _share(progress)), yields=True
        )

    async def screen(
        self, parent: str, child: str, seed: int, on_arm: OnArm
    ) -> tuple[Outcome, Outcome]:
        """Compare two scripts on a seed to screen; the parent's value may be remembered.

        Raises:
            NodeError: The parent does not run on this machine, so nothing can be said of the child.
        """
        before = await self._parent(parent, seed, on_arm, yields=True)
        if before.status != "ok":
            raise NodeError(
                f"the head's own script ended as {before.status} on this machine ({before.reason}),"
                " so no change to it can be measured here"
            )
        bits = self._runner.bits_of(self._make_job(parent, seed))
        after = await self._runner.run(
            self._make_job(child, seed),
            parent_bits=bits,
            on_progress=lambda progress: on_arm("child", _share(progress)),
            yields=True,
        )
        self._remember(child, seed, after)
        return before, after

    async def verify(
        self, hypothesis: bytes, pair: int, parent: str, child: str, on_arm: OnArm
    ) -> tuple[Outcome, Outcome]:
        """Run both arms of a verification pair afresh, on the seed that the proof gives."""
        seed = seed_from_proof(self._key.prove_seed(hypothesis, pair))
        arms = await self._runner.pair(
            self._make_job(parent, seed),
            self._make_job(child, seed),
            on_progress=lambda arm, progress: on_arm(arm, _share(progress)),
        )
        self._remember(child, seed, arms[1])
        cost = cost_permille(self.trial(hypothesis, "verify", pair, arms))
        if cost is not None and cost > self._cost_ratio_permille and self._genesis:
            now = await self._runner.run(
                self._make_job(self._genesis, seed),
                on_progress=lambda progress: on_arm("parent", _share(progress)),
            )
            if now.status == "ok":
                self._costs_of[hypothesis, pair] = self.costs.at_least(self._costs(now))
        return arms

    def trial(
        self,
        hypothesis: bytes,
        purpose: Purpose,
        pair: int,
        arms: tuple[Outcome, Outcome],
        seed: int = 0,
    ) -> Trial:
        """Write what came of a pair as a trial; the seed is given for a screening only."""
        proof = b""
        if purpose != "screen":
            proof = self._key.prove_seed(hypothesis, pair)
            seed = seed_from_proof(proof)
        costs = self._costs_of.pop((hypothesis, pair), self.costs)
        return Trial(
            hypothesis=hypothesis,
            purpose=purpose,
            pair=pair,
            seed=seed,
            seed_proof=proof,
            parent=_arm(arms[0]),
            child=_arm(arms[1]),
            genesis_cpu_ms=costs.cpu_ms,
            genesis_wall_ms=costs.wall_ms,
            genesis_memory_kib=costs.memory_kib,
            genesis_tokens=costs.tokens,
            device=self._device,
            runtime=describe_runtime(),
        )

    def _costs(self, genesis: Outcome) -> Costs:
        return Costs.of(genesis, self._make_job("", 0).budget.kind)

    async def _parent(
        self, script: str, seed: int, on_arm: OnArm, *, yields: bool = False
    ) -> Outcome:
        key = _digest(script), seed
        if key not in self._known:
            outcome = await self._runner.run(
                self._make_job(script, seed),
                on_progress=lambda progress: on_arm("parent", _share(progress)),
                yields=yields,
            )
            if outcome.status != "ok":
                return outcome
            self._remember(script, seed, outcome)
            return outcome
        self._known.move_to_end(key)
        return self._known[key]

    def _remember(self, script: str, seed: int, outcome: Outcome) -> None:
        if outcome.status == "ok":
            self._known.setdefault((_digest(script), seed), outcome)
            while len(self._known) > _KNOWN_MAX:
                self._known.popitem(last=False)


def _digest(script: str) -> bytes:
    return hashlib.sha256(script.encode()).digest()


def _share(progress: Progress) -> float:
    start, length = _STAGE_SHARES.get(progress.stage, (0.95, 0.05))
    return start + length * progress.fraction


def _arm(outcome: Outcome) -> Arm:
    """What of an outcome travels: numbers and the status, never text from the sandbox."""
    return Arm(
        status=outcome.status,
        metric_micro=outcome.metric_micro,
        train_cpu_ms=outcome.train_cpu_ms,
        score_cpu_ms=outcome.score_cpu_ms,
        wall_ms=outcome.wall_ms,
        peak_memory_kib=outcome.peak_memory_kib,
        steps=outcome.steps,
        tokens=outcome.tokens,
    )
