"""Where a hypothesis stands, in one word and with its figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from protocol.records import Hypothesis, Metric, Record, Status, Trial
from swarm.verdict import Verdict

HypothesisStatus: TypeAlias = Literal[
    "proposed",
    "screened_out",
    "crashed",
    "claimed",
    "undecided",
    "parked",
    "stale",
    "refuted",
    "verified",
    "merged",
]
"""`proposed`: no trial yet. `screened_out`, `crashed`: its author's own runs speak against it.
`claimed`: they speak for it, and nobody has verified yet. `undecided`, `parked`, `refuted`,
`verified`: the verdict. `stale`: tried but not decided, and its parent is not the head any more.
`merged`: an entry of the lineage."""


@dataclass(frozen=True, slots=True)
class Screening:
    """What the author's own trials say.

    Attributes:
        runs: Number of them.
        failure: How the child failed in one; None when it never did.
        gain_micro: Mean gain; None when nothing was measured.
        promising: Whether others should spend time on verifying it.
    """

    runs: int
    failure: Status | None
    gain_micro: int | None
    promising: bool


@dataclass(frozen=True, slots=True)
class HypothesisView:
    """One hypothesis with everything that is known about it.

    Attributes:
        id: Record id.
        author: Who proposed it.
        created_ms: The author's wall clock then.
        body: The record's content.
        entry_id: The entry that it yields when merged.
        screening: What its author's own trials say.
        verdict: What the counted trials add up to.
        own: What its author's own verification adds up to; None without any, or where the policy
            does not ask for it.
        proof: What it stands on where the counted trials leave it undecided, after more of its
            verifiers signed a merge than may lie; None otherwise.
        self_verified: Whether the author's own stands, and others have neither confirmed nor
            doubted it.
        absent_for: Members that could not get the script of what only its author verified: it is
            no entry until others have run it.
        status: Where it stands.
        trials: Every trial of it, by id.
    """

    id: bytes
    author: bytes
    created_ms: int
    body: Hypothesis
    entry_id: bytes
    screening: Screening
    verdict: Verdict
    own: Verdict | None
    proof: Verdict | None
    self_verified: bool
    absent_for: frozenset[bytes]
    status: HypothesisStatus
    trials: tuple[Record, ...]

    @property
    def standing(self) -> Verdict:
        """The verdict that it stands on: its author's own while it is self-verified."""
        if self.proof is not None:
            return self.proof
        return self.own if self.self_verified and self.own is not None else self.verdict

    @property
    def holds(self) -> bool:
        """Whether others verified it, and nothing since has taken that back."""
        return self.verdict.status == "verified" or self.proof is not None

    @property
    def absentees(self) -> str:
        """The names of those for whom its script is absent, as people read them."""
        return ", ".join(sorted(key.hex()[:8] for key in self.absent_for))

    @property
    def screened_gain_micro(self) -> int | None:
        """Mean gain in the author's own trials."""
        return self.screening.gain_micro


def describe_screening(trials: Sequence[Trial], metric: Metric, tau_micro: int) -> Screening:
    """Sum up the author's trials: promising when nothing failed and the mean gain reaches tau."""
    failures: list[Status] = sorted(
        trial.child.status
        for trial in trials
        if trial.child.status != "ok" and trial.parent.status == "ok"
    )
    gains = [
        metric.gain_micro(trial.parent.metric_micro, trial.child.metric_micro)
        for trial in trials
        if trial.parent.metric_micro is not None and trial.child.metric_micro is not None
    ]
    gain_micro = sum(gains) // len(gains) if gains else None
    return Screening(
        runs=len(trials),
        failure=failures[0] if failures else None,
        gain_micro=gain_micro,
        promising=not failures and gain_micro is not None and gain_micro >= tau_micro,
    )


def status_of(
    screening: Screening, verdict: Verdict, *, merged: bool, on_head: bool
) -> HypothesisStatus:
    """The one word for where a hypothesis stands.

    Args:
        screening: What its author's own trials say.
        verdict: What the counted trials add up to.
        merged: Whether it is an entry of the lineage.
        on_head: Whether its parent is the present head.
    """
    if merged:
        return "merged"
    if verdict.status in {"verified", "refuted"}:
        return verdict.status
    if screening.failure is not None:
        return "crashed"
    if screening.runs and not screening.promising:
        return "screened_out"
    if verdict.status == "parked":
        return "parked"
    if not screening.runs and not verdict.trials:
        return "proposed"
    if not on_head:
        return "stale"
    return "undecided" if verdict.trials else "claimed"
