"""The records: everything that a swarm remembers, as a closed union of frozen structs.

A record states what its author did or proposes. What a set of records adds up to (membership,
verdicts, the head) is computed by the `swarm` package and never travels.
"""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from protocol import limits
from protocol.policy import Policy
from protocol.schema import Bool, Bytes, Int, ListOf, OneOf, Optional, Spec, Struct, Text, wire

_ID: Final = Bytes(limits.ID_BYTES)
_KEY: Final = Bytes(limits.KEY_BYTES)
_NAME: Final = Text(limits.NAME_BYTES_MAX, empty=False)
_COUNT: Final = Int(0, limits.COUNT_MAX)
_MICRO: Final[Spec] = Int(-limits.METRIC_MICRO_MAX, limits.METRIC_MICRO_MAX)

Direction: TypeAlias = Literal["min", "max"]
Purpose: TypeAlias = Literal["screen", "verify", "recheck"]
Status: TypeAlias = Literal["ok", "crashed", "diverged", "timeout", "oom", "invalid", "too_costly"]

STATUSES: Final[tuple[Status, ...]] = (
    "ok", "crashed", "diverged", "timeout", "oom", "invalid", "too_costly",
)  # fmt: skip
PURPOSES: Final[tuple[Purpose, ...]] = ("screen", "verify", "recheck")


@dataclass(frozen=True, slots=True)
class Metric:
    """What is measured. Values travel as integers in millionths of `unit`."""

    name: str = wire(_NAME)
    unit: str = wire(_NAME)
    direction: Direction = wire(OneOf(("min", "max")))

    def gain_micro(self, parent_micro: int, child_micro: int) -> int:
        """Sign-normalised difference of two values, in millionths: positive is better."""
        if self.direction == "min":
            return parent_micro - child_micro
        return child_micro - parent_micro


@dataclass(frozen=True, slots=True)
class TaskRef:
    """Which task the swarm works on: the bundle's digest, and how its metric is obtained."""

    name: str = wire(_NAME)
    digest: bytes = wire(_ID)
    scorer: Literal["trusted", "reported"] = wire(OneOf(("trusted", "reported")))


@dataclass(frozen=True, slots=True)
class DataRef:
    """One data split, pinned by the SHA-256 of its bytes."""

    name: str = wire(_NAME)
    digest: bytes = wire(_ID)
    size_bytes: int = wire(_COUNT)


@dataclass(frozen=True, slots=True)
class Genesis:
    """Founds a swarm. The record's id is the swarm id; its author is the founder.

    Attributes:
        name: What people call the swarm.
        task: The task.
        tier: The task's tier, which fixes the budget.
        metric: The metric and its direction.
        data: The data splits of the task.
        source: Digest of the editable file that the lineage starts from.
        policy: The rules.
        nonce: Random bytes, so that two swarms founded in one millisecond differ.
    """

    name: str = wire(_NAME)
    task: TaskRef = wire(Struct(TaskRef))
    tier: str = wire(_NAME)
    metric: Metric = wire(Struct(Metric))
    data: tuple[DataRef, ...] = wire(ListOf(Struct(DataRef), limits.DATA_SPLITS_MAX))
    source: bytes = wire(_ID)
    policy: Policy = wire(Struct(Policy))
    nonce: bytes = wire(Bytes(16))


@dataclass(frozen=True, slots=True)
class Admit:
    """Makes a key a member.

    Attributes:
        member: The key that is admitted.
        can_admit: Whether the new member may admit others in turn.
        grant: Id of the admit record that gives the signer this right; the swarm id when the
            founder signs.
        expires_depth: Lineage depth from which the membership no longer counts; 0 is never.
    """

    member: bytes = wire(_KEY)
    can_admit: bool = wire(Bool())
    grant: bytes = wire(_ID)
    expires_depth: int = wire(Int(0, 1_000_000))


@dataclass(frozen=True, slots=True)
class Origin:
    """How a hypothesis was proposed.

    Attributes:
        proposer: `offline`, `claude` or `person`.
        model: The language model's name, empty without one.
        category: The kind of change, such as `optimizer`.
        change: The change in the proposer's own terms, such as `LEARNING_RATE=0.002`.
    """

    proposer: Literal["offline", "claude", "person"] = wire(OneOf(("offline", "claude", "person")))
    model: str = wire(Text(limits.NAME_BYTES_MAX))
    category: str = wire(_NAME)
    change: str = wire(Text(limits.CHANGE_BYTES_MAX))


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A proposed change to the editable file of a lineage entry.

    Attributes:
        parents: Lineage entries. The first is the paired baseline; more are verified siblings
            that the file combines.
        source: Digest of the changed file.
        title: One line.
        rationale: Why it should help.
        origin: How it was proposed.
    """

    parents: tuple[bytes, ...] = wire(ListOf(_ID, limits.PARENTS_MAX, 1, distinct=True))
    source: bytes = wire(_ID)
    title: str = wire(Text(limits.TITLE_BYTES_MAX, empty=False))
    rationale: str = wire(Text(limits.RATIONALE_BYTES_MAX, lines=True))
    origin: Origin = wire(Struct(Origin))


@dataclass(frozen=True, slots=True)
class Arm:
    """What one run gave: the parent's or the child's half of a pair.

    Attributes:
        status: `ok`, or what went wrong.
        metric_micro: The metric in millionths of its unit; None unless `status` is `ok`.
        train_cpu_ms: CPU time of training, measured outside the sandbox.
        score_cpu_ms: CPU time of the served model while it was scored.
        wall_ms: Wall time of the whole run.
        peak_memory_kib: Highest resident memory.
        steps: Batches handed out.
        tokens: Tokens handed out.
    """

    status: Status = wire(OneOf(STATUSES))
    metric_micro: int | None = wire(Optional(_MICRO))
    train_cpu_ms: int = wire(_COUNT)
    score_cpu_ms: int = wire(_COUNT)
    wall_ms: int = wire(_COUNT)
    peak_memory_kib: int = wire(_COUNT)
    steps: int = wire(_COUNT)
    tokens: int = wire(_COUNT)


@dataclass(frozen=True, slots=True)
class Trial:
    """One peer's outcome of one pair: parent and child run on one seed on one machine.

    Attributes:
        hypothesis: Record id of the hypothesis.
        purpose: `screen` (the author's own), `verify` (counts) or `recheck` (shown only).
        pair: Number of the pair for this verifier: 0, 1, 2 ... without gaps.
        seed: The seed of both arms, 63 bits.
        seed_proof: The signature that the seed is derived from; empty when screening.
        parent: The parent's arm.
        child: The child's arm.
        genesis_cpu_ms: CPU time that the genesis script takes on this machine, training and
            scoring together; 0 when it was not measured. Costs are judged against it.
        genesis_wall_ms: Wall time that the genesis script takes on this machine; 0 when it was not
            measured.
        genesis_memory_kib: Highest resident memory of the genesis script on this machine; 0 when
            it was not measured.
        genesis_tokens: Tokens that the genesis script draws under a budget of tokens; 0 when it was
            not measured, or under any other budget, of which a cheaper step should make more.
        device: The hardware, in words.
        runtime: The software that matters for the numbers.
    """

    hypothesis: bytes = wire(_ID)
    purpose: Purpose = wire(OneOf(PURPOSES))
    pair: int = wire(Int(0, limits.PAIR_MAX))
    seed: int = wire(Int(0, (1 << 63) - 1))
    seed_proof: bytes = wire(Bytes(limits.SIGNATURE_BYTES, or_empty=True))
    parent: Arm = wire(Struct(Arm))
    child: Arm = wire(Struct(Arm))
    genesis_cpu_ms: int = wire(_COUNT)
    genesis_wall_ms: int = wire(_COUNT)
    genesis_memory_kib: int = wire(_COUNT)
    genesis_tokens: int = wire(_COUNT)
    device: str = wire(Text(limits.DEVICE_BYTES_MAX))
    runtime: str = wire(Text(limits.DEVICE_BYTES_MAX))


@dataclass(frozen=True, slots=True)
class Merge:
    """Adds a verified hypothesis to the lineage.

    Attributes:
        hypothesis: Record id of the hypothesis.
        trials: Record ids of the trials that made the signer sure. They bring the evidence along;
            the verdict counts every admitted trial, cited or not.
    """

    hypothesis: bytes = wire(_ID)
    trials: tuple[bytes, ...] = wire(ListOf(_ID, limits.TRIALS_CITED_MAX, distinct=True))


@dataclass(frozen=True, slots=True)
class Absence:
    """Says that the signer asked for a self-verified hypothesis's script and got none to run.

    Attributes:
        hypothesis: Record id of the hypothesis.
    """

    hypothesis: bytes = wire(_ID)


@dataclass(frozen=True, slots=True)
class TransferRun:
    """What one script of a lineage gave at another scale.

    Attributes:
        entry: The lineage entry whose script it is.
        status: `ok`, or how its last run failed, after which it was not run again.
        metrics: The metric on each seed from number 0 on, in millionths of its unit; nothing for
            a run that failed.
        cpu_ms: CPU time of all these runs, training and scoring.
    """

    entry: bytes = wire(_ID)
    status: Status = wire(OneOf(STATUSES))
    metrics: tuple[int | None, ...] = wire(ListOf(Optional(_MICRO), limits.TRANSFER_SEEDS_MAX))
    cpu_ms: int = wire(_COUNT)


@dataclass(frozen=True, slots=True)
class Transfer:
    """A replay of a path of the lineage at another scale. It informs, and decides nothing.

    Attributes:
        scale: The task's tier, such as `confirm`, or a scale that it offers, such as `width=2`.
        seed_proof: The signature that all seeds are derived from.
        runs: The scripts from the genesis to the entry in question, each an ancestor of the next.
        device: The hardware, in words.
        runtime: The software that matters for the numbers.
    """

    scale: str = wire(_NAME)
    seed_proof: bytes = wire(Bytes(limits.SIGNATURE_BYTES))
    runs: tuple[TransferRun, ...] = wire(
        ListOf(Struct(TransferRun), limits.TRANSFER_RUNS_MAX, 2, distinct=True)
    )
    device: str = wire(Text(limits.DEVICE_BYTES_MAX))
    runtime: str = wire(Text(limits.DEVICE_BYTES_MAX))

    @property
    def entry(self) -> bytes:
        """The entry whose lineage was replayed."""
        return self.runs[-1].entry


Body: TypeAlias = Genesis | Admit | Hypothesis | Trial | Merge | Absence | Transfer
Kind: TypeAlias = Literal[
    "genesis", "admit", "hypothesis", "trial", "merge", "absence", "transfer"
]  # fmt: skip

BODY_TYPES: Final[dict[Kind, type[Body]]] = {
    "genesis": Genesis,
    "admit": Admit,
    "hypothesis": Hypothesis,
    "trial": Trial,
    "merge": Merge,
    "absence": Absence,
    "transfer": Transfer,
}


def kind_of(body: Body) -> Kind:
    """Name the kind of a record body, as it is written on the wire."""
    return next(kind for kind, struct in BODY_TYPES.items() if type(body) is struct)


@dataclass(frozen=True, slots=True)
class Record:
    """A record whose envelope has been opened: bytes canonical, signature valid.

    Attributes:
        id: SHA-256 under the record tag over the body bytes.
        swarm: The swarm id; for a genesis its own id.
        author: Ed25519 public key.
        created_ms: The author's wall clock. It orders listings and never decides validity.
        body: The typed content.
    """

    id: bytes
    swarm: bytes
    author: bytes
    created_ms: int
    body: Body
