"""The verdict: what the trials of one hypothesis add up to.

Theory of operation. The counted pairs stand in the canonical order (pair number, rendezvous of
hypothesis and verifier). They are gone through one by one, and the first boundary that is crossed
stands, whatever comes after:

1. *refuted*, when more than `liars` verifiers saw the child crash, diverge or run out of a limit;
2. *refuted*, when more than `liars` verifiers saw one loss far outside what the others saw;
3. *refuted*, when the median verifier finds that it costs more than the policy allows;
4. *refuted*, when the pairs show the gain to be below tau;
5. *verified*, when they show it to be above zero and enough verifiers took part.

Without a crossing the hypothesis is *parked* when the evidence after a few pairs is below one half
(more pairs may still change that), and *undecided* otherwise. Evidence for 4 and 5 holds only if it
holds after leaving out any `liars` verifiers; it takes more than `liars` verifiers to park.

Parts 1 to 3 only ever refute, so the bound alpha on false verification rests on the e-process
alone (`swarm.evidence`). This file knows pairs and the policy; which trials count is decided in
`swarm.counting`, and nothing here knows time, membership or order of arrival.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final, Literal, TypeAlias

from protocol.policy import PERMILLE, Policy
from protocol.records import Status
from swarm.evidence import (
    Gains,
    e_value,
    largest_where,
    remembered_e_value,
    scale_floor_micro,
)
from swarm.fixed_point import BITS, ONE

VerdictStatus: TypeAlias = Literal["verified", "refuted", "undecided", "parked"]

PARK_BELOW: Final = ONE // 2
"""Evidence under which a hypothesis is parked: the pairs speak two to one against a gain."""

INTERVAL_ERROR_PPM: Final = 25_000
"""Error on each side of the interval that is shown and weighed: 95 % confidence together."""

LOSS_TAUS: Final = 4
"""A single loss is large only if it exceeds this many tau."""

LOSS_MEDIANS: Final = 5
"""A single loss is large only if it exceeds this many medians of the pairs' magnitudes. For an
honest normal gain of two standard deviations that is a deviation of about twelve of them."""

LOSS_PAIRS_MIN: Final = 3
"""Pairs before which no loss is called large: the median has to mean something."""

EVIDENCE_MILLI_MAX: Final = 10**12
"""Evidence is shown in thousandths up to this value."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One counted trial, reduced to what a verdict needs.

    Attributes:
        trial: Record id.
        verifier: Who ran it.
        gain_micro: Gain of the child over the parent; None when either arm gave no number.
        failure: What went wrong with the child while its parent ran well; None otherwise.
        parent_micro: The parent's metric, None when it failed.
        child_micro: The child's metric, None when it failed.
        cost_permille: Highest of the child's costs relative to the genesis script's on the same
            machine; None when it was not measured.
    """

    trial: bytes
    verifier: bytes
    gain_micro: int | None
    failure: Status | None
    parent_micro: int | None
    child_micro: int | None
    cost_permille: int | None


@dataclass(frozen=True, slots=True)
class Decision:
    """Where the scan of the pairs ended.

    Attributes:
        status: The verdict's status.
        reason: Why, in words.
        decided_at: Pairs up to and including the one that crossed; all pairs without a crossing.
        gains: Statistics of those pairs by verifier, in order of first appearance.
    """

    status: VerdictStatus
    reason: str
    decided_at: int
    gains: tuple[tuple[bytes, Gains], ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a set of trials adds up to.

    Attributes:
        status: `verified`, `refuted`, `undecided` or `parked`.
        reason: Why, in words.
        evidence_milli: Evidence for a gain, in thousandths, after the worst exclusion of `liars`
            verifiers; capped at `EVIDENCE_MILLI_MAX`.
        pairs: Pairs that gave a gain, up to the decision.
        verifiers: Members whose pairs those are.
        trials: Record ids of the counted trials up to the decision.
        gain_micro: Their mean gain; None without any.
        low_micro: Lower bound of the mean gain (see `INTERVAL_ERROR_PPM`); None while unbounded.
        high_micro: Upper bound; None while unbounded.
        metric_micro: Mean metric of the child over those pairs.
        parent_metric_micro: Mean metric of the parent over those pairs.
        decided_at: Counted trials up to the decision.
    """

    status: VerdictStatus
    reason: str
    evidence_milli: int
    pairs: int
    verifiers: tuple[bytes, ...]
    trials: tuple[bytes, ...]
    gain_micro: int | None
    low_micro: int | None
    high_micro: int | None
    metric_micro: int | None
    parent_metric_micro: int | None
    decided_at: int


def decide(pairs: Sequence[Pair], policy: Policy, liars: int) -> Decision:
    """Scan the counted pairs for the first boundary that is crossed.

    Args:
        pairs: The counted pairs in canonical order, at most the policy's cap.
        policy: The swarm's policy.
        liars: Verifiers still to be left out: the policy's number less those already voided.
    """
    scan = _Scan(policy, liars)
    for count, pair in enumerate(pairs, start=1):
        scan.take(pair)
        crossed = scan.crossed()
        if crossed is not None:
            return Decision(crossed[0], crossed[1], count, tuple(scan.gains.items()))
    status, reason = scan.uncrossed(exhausted=len(pairs) >= policy.cap_pairs)
    return Decision(status, reason, len(pairs), tuple(scan.gains.items()))


def conclude(pairs: Sequence[Pair], policy: Policy, liars: int) -> Verdict:
    """Decide, and add the figures that people and fork choice look at."""
    decision = decide(pairs, policy, liars)
    used = pairs[: decision.decided_at]
    floor = scale_floor_micro(policy.tau_micro)
    by_verifier = [gains for _, gains in decision.gains]
    measured = [pair for pair in used if pair.gain_micro is not None]
    evidence = min(e_value(rest, floor) for rest in _leaving_out(by_verifier, liars))
    low, high = _interval(by_verifier, liars, floor)
    return Verdict(
        status=decision.status,
        reason=decision.reason,
        evidence_milli=min((evidence * 1000) >> BITS, EVIDENCE_MILLI_MAX),
        pairs=len(measured),
        verifiers=tuple(verifier for verifier, _ in decision.gains),
        trials=tuple(pair.trial for pair in used),
        gain_micro=_mean([pair.gain_micro for pair in measured]),
        low_micro=low,
        high_micro=high,
        metric_micro=_mean([pair.child_micro for pair in measured]),
        parent_metric_micro=_mean([pair.parent_micro for pair in measured]),
        decided_at=decision.decided_at,
    )


class _Scan:
    """The state of one pass over the pairs."""

    def __init__(self, policy: Policy, liars: int) -> None:
        self._policy = policy
        self._liars = liars
        self._floor = scale_floor_micro(policy.tau_micro)
        self._threshold = ONE * 1_000_000 // policy.alpha_ppm
        self._failures: dict[bytes, Status] = {}
        self._costs: dict[bytes, list[int]] = {}
        self._losses: list[tuple[int, bytes]] = []
        self._magnitudes: list[int] = []
        self.gains: dict[bytes, Gains] = {}

    def take(self, pair: Pair) -> None:
        """Add the next pair."""
        if pair.failure is not None:
            self._failures.setdefault(pair.verifier, pair.failure)
        if pair.cost_permille is not None:
            self._costs.setdefault(pair.verifier, []).append(pair.cost_permille)
        if pair.gain_micro is not None:
            before = self.gains.get(pair.verifier, Gains())
            self.gains[pair.verifier] = before.plus(pair.gain_micro)
            self._magnitudes.append(abs(pair.gain_micro))
            if pair.gain_micro < -LOSS_TAUS * self._policy.tau_micro:
                self._losses.append((-pair.gain_micro, pair.verifier))

    def crossed(self) -> tuple[VerdictStatus, str] | None:
        """The boundary that the pairs so far have crossed."""
        if len(self._failures) > self._liars:
            return "refuted", f"the child run ended as {min(self._failures.values())}"
        if self._large_loss_verifiers() > self._liars:
            return "refuted", "it fails badly on some seeds"
        if self._is_too_costly():
            return "refuted", "it costs more than the policy allows"
        by_verifier = list(self.gains.values())
        tau = self._policy.tau_micro
        if self._shown([gains.below(tau) for gains in by_verifier], verifiers_min=1):
            return "refuted", "the gain is below the smallest that matters"
        if self._shown(by_verifier, verifiers_min=self._policy.min_verifiers):
            return "verified", "the gain holds on seeds that its author could not choose"
        return None

    def uncrossed(self, *, exhausted: bool) -> tuple[VerdictStatus, str]:
        """What to say when no boundary was crossed."""
        by_verifier = list(self.gains.values())
        count = sum(gains.count for gains in by_verifier)
        if count >= self._policy.park_pairs and all(
            remembered_e_value(rest, self._floor) < PARK_BELOW
            for rest in _leaving_out(sorted(by_verifier, key=_mean_order), self._liars)
        ):
            return "parked", "the first pairs speak against a gain"
        if exhausted:
            return "undecided", "the pairs that may count are used up"
        return "undecided", "more pairs are needed"

    def _shown(self, by_verifier: list[Gains], verifiers_min: int) -> bool:
        """Whether the mean is above zero even without any `liars` of the verifiers."""
        if len(by_verifier) - self._liars < max(1, verifiers_min):
            return False
        strongest_first = sorted(by_verifier, key=_mean_order, reverse=True)
        return all(
            remembered_e_value(rest, self._floor) >= self._threshold
            for rest in _leaving_out(strongest_first, self._liars)
        )

    def _large_loss_verifiers(self) -> int:
        """Verifiers with a loss far outside the magnitudes of all pairs."""
        if not self._losses or len(self._magnitudes) < LOSS_PAIRS_MIN:
            return 0
        limit = LOSS_MEDIANS * sorted(self._magnitudes)[(len(self._magnitudes) - 1) // 2]
        return len({verifier for loss, verifier in self._losses if loss > limit})

    def _is_too_costly(self) -> bool:
        """Whether the median verifier finds the child too costly.

        A median over at least 2 liars + 1 verifiers lies between two honest values.
        """
        if len(self._costs) < max(1, self._policy.min_verifiers, 2 * self._liars + 1):
            return False
        medians = sorted(_low_median(costs) for costs in self._costs.values())
        return _low_median(medians) > self._policy.cost_ratio_permille


def _leaving_out(by_verifier: Sequence[Gains], liars: int) -> Iterator[Gains]:
    """Pooled gains for every way of leaving out `liars` verifiers, the first ones first."""
    everything = sum(by_verifier, Gains())
    for left_out in combinations(by_verifier, min(liars, len(by_verifier))):
        gone = sum(left_out, Gains())
        yield Gains(
            everything.count - gone.count,
            everything.total - gone.total,
            everything.squares - gone.squares,
        )


def _interval(by_verifier: list[Gains], liars: int, floor: int) -> tuple[int | None, int | None]:
    """Confidence interval of the mean gain that holds without any `liars` of the verifiers."""
    threshold = ONE * 1_000_000 // INTERVAL_ERROR_PPM
    rests = [rest for rest in _leaving_out(by_verifier, liars) if rest.count]
    if not rests:
        return None, None
    lowest = min(rest.total // rest.count for rest in rests)
    highest = max(-(-rest.total // rest.count) for rest in rests)
    low = largest_where(
        lambda micro: all(e_value(rest.above(micro), floor) >= threshold for rest in rests),
        start=lowest,
    )
    minus_high = largest_where(
        lambda micro: all(e_value(rest.below(-micro), floor) >= threshold for rest in rests),
        start=-highest,
    )
    return low, None if minus_high is None else -minus_high


def _mean_order(gains: Gains) -> int:
    return gains.total * PERMILLE // gains.count


def _mean(values: Sequence[int | None]) -> int | None:
    """Mean of numbers, rounded down."""
    numbers = [value for value in values if value is not None]
    return sum(numbers) // len(numbers) if numbers else None


def _low_median(values: Sequence[int]) -> int:
    return sorted(values)[(len(values) - 1) // 2]
