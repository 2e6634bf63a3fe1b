"""The verdict: what the trials of one hypothesis add up to.

Theory of operation. The counted pairs stand in the canonical order (`swarm.counting`). They are
gone through one by one, and the first boundary that is crossed stands, whatever comes after:

1. *refuted*, when more than `liars` verifiers saw the child crash, diverge or run out of a limit;
2. *refuted*, when more than `liars` verifiers saw one loss far outside what the others saw;
3. *refuted*, when the median verifier finds that it costs more than the policy allows;
4. *refuted*, when the pairs show the gain to be below tau;
5. *verified*, when they show it to be above zero and enough verifiers took part.

Without a crossing the hypothesis is *parked* when the evidence after a few pairs is below one half
(more pairs may still change that), and *undecided* otherwise. Evidence for 4 and 5 holds whoever
the `liars` are (`swarm.liars`), and it takes more than `liars` verifiers to park.

Parts 1 to 3 only ever refute, so the bound alpha on false verification rests on the e-process
alone (`swarm.evidence`). This file knows pairs and the policy; which trials count is decided in
`swarm.counting`, and nothing here knows time, membership or order of arrival.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from protocol.policy import Policy
from protocol.records import Status
from swarm.evidence import Gains, scale_floor_micro
from swarm.fixed_point import BITS, ONE
from swarm.liars import Guard, evidence, is_doubted, is_shown, lower_bound

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


INTERVALS_CACHE_SIZE: Final = 1 << 13
"""Intervals kept: every entry and every row that is shown asks for its own again and again."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One counted trial, reduced to what a verdict needs.

    Attributes:
        trial: Record id.
        verifier: Who ran it.
        seat: The verifier whose place it has, which is its own unless it takes over from another.
            All that is said of "verifiers" below is about seats: the pairs of one are one voice.
        gain_micro: Gain of the child over the parent; None when either arm gave no number.
        failure: What went wrong with the child while its parent ran well; None otherwise.
        child_micro: The child's metric, None when it failed.
        cost_permille: Highest of the child's costs relative to the genesis script's on the same
            machine; None when it was not measured.
    """

    trial: bytes
    verifier: bytes
    seat: bytes
    gain_micro: int | None
    failure: Status | None
    child_micro: int | None
    cost_permille: int | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a set of trials adds up to.

    Evidence and interval are computed when they are asked for: most verdicts are only passed
    through on the way to the next one.

    Attributes:
        status: `verified`, `refuted`, `undecided` or `parked`.
        reason: Why, in words.
        awaits_verifiers: Undecided only because too few verifiers took part: more pairs by the
            same ones cannot help.
        verifiers: Members whose pairs gave a gain, up to the decision, in order of appearance.
        gains: The pairs' statistics by seat, in order of appearance.
        guard: Against what evidence and interval have to stand.
        trials: Record ids of the counted trials up to the decision.
        gain_micro: Mean gain; None without any.
        metric_micro: Mean metric of the child over the pairs that gave a gain.
    """

    status: VerdictStatus
    reason: str
    awaits_verifiers: bool
    verifiers: tuple[bytes, ...]
    gains: tuple[Gains, ...]
    guard: Guard
    trials: tuple[bytes, ...]
    gain_micro: int | None
    metric_micro: int | None

    @property
    def decided_at(self) -> int:
        """Counted trials up to the decision; all of them while there is none."""
        return len(self.trials)

    @property
    def pairs(self) -> int:
        """Trials among those that gave a gain."""
        return sum(gains.count for gains in self.gains)

    @property
    def evidence_milli(self) -> int:
        """Evidence for a gain in thousandths, after the worst exclusion of `liars` verifiers."""
        value = evidence(self.gains, self.guard)
        return min((value * 1000) >> BITS, EVIDENCE_MILLI_MAX)

    @property
    def low_micro(self) -> int | None:
        """Lower bound of the mean gain (see `INTERVAL_ERROR_PPM`); None while unbounded."""
        return _interval(self.gains, self.guard)[0]

    @property
    def high_micro(self) -> int | None:
        """Upper bound of the mean gain; None while unbounded."""
        return _interval(self.gains, self.guard)[1]

    def rules_out(self, gain_micro: int) -> bool:
        """Whether the interval ends at or below a gain: much cheaper than the interval itself."""
        below = [gains.below(gain_micro) for gains in self.gains]
        return is_shown(below, self.guard, ONE * 1_000_000 // INTERVAL_ERROR_PPM)


def conclude(pairs: Sequence[Pair], policy: Policy, liars: int) -> Verdict:
    """Scan the counted pairs for the first boundary that is crossed.

    Args:
        pairs: The counted pairs in canonical order, at most the policy's cap.
        policy: The swarm's policy.
        liars: Verifiers still to be left out: the policy's number less those already voided.
    """
    scan = Scan(policy, liars)
    decision: tuple[VerdictStatus, str] | None = None
    used: list[Pair] = []
    for pair in pairs:
        scan.take(pair)
        used.append(pair)
        decision = scan.crossed()
        if decision is not None:
            break
    awaits_verifiers = decision is None and scan.has_evidence(verifiers_min=1)
    if decision is None:
        decision = scan.uncrossed(awaits_verifiers, exhausted=len(pairs) >= policy.cap_pairs)
    measured = [pair for pair in used if pair.gain_micro is not None]
    return Verdict(
        status=decision[0],
        reason=decision[1],
        awaits_verifiers=awaits_verifiers,
        verifiers=tuple(dict.fromkeys(pair.verifier for pair in measured)),
        gains=tuple(scan.gains.values()),
        guard=scan.guard,
        trials=tuple(pair.trial for pair in used),
        gain_micro=_mean([pair.gain_micro for pair in measured]),
        metric_micro=_mean([pair.child_micro for pair in measured]),
    )


class Scan:
    """One pass over the counted pairs: take them in order, and ask after each what was crossed.

    Attributes:
        guard: Against what evidence has to stand.
        gains: Statistics of the pairs so far by seat, in order of appearance.
    """

    def __init__(self, policy: Policy, liars: int) -> None:
        self._policy = policy
        self._liars = liars
        self.guard = Guard(liars, policy.max_verifiers, scale_floor_micro(policy.tau_micro))
        self._threshold = ONE * 1_000_000 // policy.alpha_ppm
        self._failures: dict[bytes, Status] = {}
        self._costs: dict[bytes, list[int]] = {}
        self._losses: list[tuple[int, bytes]] = []
        self._magnitudes: list[int] = []
        self.gains: dict[bytes, Gains] = {}

    def take(self, pair: Pair) -> None:
        """Add the next pair."""
        if pair.failure is not None:
            self._failures.setdefault(pair.seat, pair.failure)
        if pair.cost_permille is not None:
            self._costs.setdefault(pair.seat, []).append(pair.cost_permille)
        if pair.gain_micro is not None:
            before = self.gains.get(pair.seat, Gains())
            self.gains[pair.seat] = before.plus(pair.gain_micro)
            self._magnitudes.append(abs(pair.gain_micro))
            if pair.gain_micro < -LOSS_TAUS * self._policy.tau_micro:
                self._losses.append((-pair.gain_micro, pair.seat))

    def crossed(self) -> tuple[VerdictStatus, str] | None:
        """The boundary that the pairs so far have crossed."""
        if len(self._failures) > self._liars:
            return "refuted", f"the child run ended as {min(self._failures.values())}"
        if self._large_loss_verifiers() > self._liars:
            return "refuted", "it fails badly on some seeds"
        if self._is_too_costly():
            return "refuted", "it costs more than the policy allows"
        tau = self._policy.tau_micro
        if self._shown([gains.below(tau) for gains in self.gains.values()]):
            return "refuted", "the gain is below the smallest that matters"
        if self.has_evidence(self._policy.min_verifiers):
            return "verified", "the gain holds on seeds that its author could not choose"
        return None

    def has_evidence(self, verifiers_min: int) -> bool:
        """Whether a gain is shown, by at least so many verifiers after the exclusions."""
        enough = len(self.gains) - self._liars >= verifiers_min
        return enough and self._shown(list(self.gains.values()))

    def uncrossed(self, awaits_verifiers: bool, *, exhausted: bool) -> tuple[VerdictStatus, str]:
        """What to say when no boundary was crossed."""
        by_verifier = list(self.gains.values())
        count = sum(gains.count for gains in by_verifier)
        if count >= self._policy.park_pairs and is_doubted(by_verifier, self.guard, PARK_BELOW):
            return "parked", "the first pairs speak against a gain"
        if exhausted:
            return "undecided", "the pairs that may count are used up"
        if awaits_verifiers:
            return "undecided", "more verifiers are needed"
        return "undecided", "more pairs are needed"

    def _shown(self, by_verifier: list[Gains]) -> bool:
        """Whether the mean is above zero, whoever the liars are."""
        return is_shown(by_verifier, self.guard, self._threshold)

    def _large_loss_verifiers(self) -> int:
        """Verifiers with a loss far outside the magnitudes of all pairs."""
        if not self._losses or len(self._magnitudes) < LOSS_PAIRS_MIN:
            return 0
        limit = LOSS_MEDIANS * sorted(self._magnitudes)[(len(self._magnitudes) - 1) // 2]
        return len({seat for loss, seat in self._losses if loss > limit})

    def _is_too_costly(self) -> bool:
        """Whether the median verifier finds the child too costly.

        A median over at least 2 liars + 1 verifiers lies between two honest values.
        """
        if len(self._costs) < max(1, self._policy.min_verifiers, 2 * self._liars + 1):
            return False
        medians = sorted(_low_median(costs) for costs in self._costs.values())
        return _low_median(medians) > self._policy.cost_ratio_permille


@lru_cache(maxsize=INTERVALS_CACHE_SIZE)
def _interval(by_verifier: tuple[Gains, ...], guard: Guard) -> tuple[int | None, int | None]:
    """Confidence interval of the mean gain, whoever the liars are."""
    threshold = ONE * 1_000_000 // INTERVAL_ERROR_PPM
    low = lower_bound(by_verifier, guard, threshold)
    flipped = [gains.below(0) for gains in by_verifier]
    minus_high = lower_bound(flipped, guard, threshold)
    return low, None if minus_high is None else -minus_high


def _mean(values: Sequence[int | None]) -> int | None:
    """Mean of numbers, rounded down."""
    numbers = [value for value in values if value is not None]
    return sum(numbers) // len(numbers) if numbers else None


def _low_median(values: Sequence[int]) -> int:
    return sorted(values)[(len(values) - 1) // 2]
