"""What one training run is asked to do, and what came of it.

This file decides the vocabulary in which a node and its trainer speak of a run: the job, the
progress of the worker and the outcome. It is pure data without torch, so that a node that never
trains can import it. It refuses to know how a run is sandboxed, metered or scored.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from protocol.sources import SourcesError, holds_files, split_files

BudgetKind = Literal["flops", "tokens", "seconds"]
Status = Literal["ok", "crashed", "diverged", "timeout", "oom", "invalid", "too_costly"]

MICRO = 1_000_000
MAX_SEED = 2**63 - 1
SECONDS_SLACK = 0.1
"""How far a run under a `seconds` budget may go beyond it before it is stopped from outside."""
LAST_STEP_S = 5.0
"""A step that began within the budget may end, and weights are written, after it."""
CLAIM_SLACK = 0.02
"""How far a worker's own count may lie above its budget."""
MAX_REASON_BYTES = 300
MAX_LOG_TAIL_BYTES = 16_384


class TrainerError(Exception):
    """Base of everything the trainer raises: a fault in a task, its data or its machinery."""


@dataclasses.dataclass(frozen=True, slots=True)
class Budget:
    """How much a training run may spend.

    Attributes:
        kind: what is counted: `flops` of the script's own steps, `tokens` drawn, or `seconds`.
        amount: how many of them; for `seconds` a fraction is lost, as it counts whole ones.
    """

    kind: BudgetKind
    amount: int

    def __post_init__(self) -> None:
        if self.kind not in {"flops", "tokens", "seconds"}:
            raise TrainerError(f"unknown budget kind {self.kind!r}")
        if self.amount <= 0:
            raise TrainerError(f"a budget must be positive, not {self.amount}")


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Hard bounds that the node enforces from outside the sandbox.

    Attributes:
        train_wall_s: longest wall time of training, after which the worker is killed.
        score_wall_s: longest wall time of one serving process while it is scored or audited.
        memory_bytes: most memory that the processes of one run may hold together.
        weights_bytes: most bytes of trained weights that leave the training process.
        log_bytes: most bytes of the script's output that are kept, from its end.
        cpu_s: most CPU seconds of one process of the run; 0 leaves it to the wall limits.
        startup_s: longest start-up and compilation that a `seconds` budget does not count.
    """

    train_wall_s: float = 600.0
    score_wall_s: float = 120.0
    memory_bytes: int = 2 << 30
    weights_bytes: int = 256 << 20
    log_bytes: int = MAX_LOG_TAIL_BYTES
    cpu_s: int = 0
    startup_s: float = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Evaluation:
    """Which windows of the validation bytes are scored, and how hard causality is probed.

    Attributes:
        context: tokens per window.
        windows: evenly spaced windows scored.
        probes: windows of the causality audit; 0 leaves it out.
    """

    context: int
    windows: int
    probes: int = 256


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """One training run: a script, a budget and a seed.

    Attributes:
        script: the source of what is edited, UTF-8: a Python file, or a text that holds several
            files (`protocol.sources`).
        budget: what it may spend.
        evaluation: how it is scored.
        seed: 63-bit seed of initialisation, data order and metered steps.
        vocab_size: number of distinct tokens.
        device: torch device the worker uses.
        limits: bounds enforced from outside.
        token_width: bytes of a stored token, 1 or 2.
        run: arguments of Python when a program prints the metric, the file that is run first;
            empty when the node scores the model that the script trains.
        metric_name: the metric that such a program prints.
        editable: the names under which such a program imports, runs or reads what is edited.
    """

    script: str
    budget: Budget
    evaluation: Evaluation
    seed: int
    vocab_size: int = 256
    device: str = "cpu"
    limits: Limits = dataclasses.field(default_factory=Limits)
    token_width: Literal[1, 2] = 1
    run: tuple[str, ...] = ()
    metric_name: str = ""
    editable: tuple[str, ...] = ("train.py",)

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= MAX_SEED:
            raise TrainerError(f"a seed is between 0 and 2**63 - 1, not {self.seed}")

    def sources(self) -> dict[str, str]:
        """Returns what is edited, by file name, as a program finds it.

        Raises:
            TrainerError: the script does not hold the files that it should.
        """
        if not holds_files(self.script):
            files = {self.editable[0]: self.script}
        else:
            try:
                files = split_files(self.script)
            except SourcesError as error:
                raise TrainerError(f"the source cannot be read: {error}") from error
        if set(files) != set(self.editable):
            raise TrainerError(f"the source must hold {', '.join(self.editable)} and nothing else")
        return files

    @property
    def train_wall_s(self) -> float:
        """The wall time after which training is stopped.

        A `seconds` budget is kept by the worker's own clock; this is how it is kept from outside.
        """
        limits = self.limits
        if self.budget.kind != "seconds":
            return limits.train_wall_s
        whole_s = limits.startup_s + self.budget.amount * (1 + SECONDS_SLACK) + LAST_STEP_S
        if self.run:
            # Such a program evaluates itself.
            whole_s += limits.score_wall_s
        return min(limits.train_wall_s, whole_s)


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is, as the worker itself says: shown, never believed.

    Attributes:
        stage: what is being done.
        fraction: share of the stage done, 0 to 1.
        steps: batches drawn so far.
        tokens: tokens drawn so far.
        loss_micro: last logged training loss in millionths of a nat, or None.
    """

    stage: Literal["start", "train", "score", "audit"]
    fraction: float
    steps: int = 0
    tokens: int = 0
    loss_micro: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job.

    The metric is computed by the node; `steps`, `tokens` and `flops` are the worker's own honest
    bookkeeping, and the costs are measured from outside the process.

    Attributes:
        status: how the run ended; only `ok` carries a metric.
        metric_micro: the task's metric in millionths of its unit.
        train_cpu_ms: CPU time of the training process.
        score_cpu_ms: CPU time of the serving processes, audit included.
        wall_ms: wall time of the whole run.
        peak_memory_kib: largest resident size of any of its processes.
        steps: batches drawn.
        tokens: tokens drawn.
        flops: floating point operations charged.
        reason: why the run did not end well, at most 300 bytes; empty when it did.
        log_tail: end of what the script printed; stays on this machine, is never published.
    """

    status: Status
    metric_micro: int | None = None
    train_cpu_ms: int = 0
    score_cpu_ms: int = 0
    wall_ms: int = 0
    peak_memory_kib: int = 0
    steps: int = 0
    tokens: int = 0
    flops: int = 0
    reason: str = ""
    log_tail: str = ""

    def __post_init__(self) -> None:
        assert (self.status == "ok") == (self.metric_micro is not None)


def printable_line(text: str) -> str:
    """Returns text as one line, with single spaces for all that cannot be printed."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def clip_reason(text: str) -> str:
    """Returns text as one printable line of at most MAX_REASON_BYTES bytes of UTF-8."""
    return printable_line(text).encode(errors="replace")[:MAX_REASON_BYTES].decode(errors="ignore")
