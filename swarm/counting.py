"""Which trials count for a hypothesis, and in which order.

Evidence counts from members that are neither the hypothesis's author nor voided (`swarm.case` asks
for that). Of theirs, a trial counts when it was run to verify and the same verifier's trials of all
lower pair numbers are there too: nobody can leave out the pairs that it does not like.

Verifiers stand in rendezvous order of hypothesis and verifier, and sit down in rounds of
`max_verifiers` seats: the first round are those that the policy asks for, and whoever comes after
them takes over the seat of one of them. The canonical order is (round, pair number, rendezvous);
the policy's cap cuts it off. So the pairs of the first round come first, those of who takes over
come behind them, and a hypothesis whose first verifiers have left after a pair each is decided by
others. The pairs of one seat are one voice: `liars` seats are left out, not `liars` verifiers, and
f liars still sit on at most f seats, however often a seat is taken over. Which seat somebody takes
over follows from the rendezvous: nobody chooses it.

A pair whose parent run failed says nothing about the child. It keeps its place in the order and
under the cap (else a verifier could go on for ever), gives no gain and is nobody's failure.

This file refuses to know what the counted pairs add up to.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from protocol.ids import rendezvous
from protocol.policy import PERMILLE, Policy
from protocol.records import Metric, Trial
from swarm.verdict import Pair

TrialsByPair = Mapping[int, tuple[bytes, Trial]]
"""One verifier's trials to verify, with their record ids, by pair number."""


def contiguous_count(trials: TrialsByPair) -> int:
    """Pairs 0, 1, 2 ... that are there without a gap; also the number of the next one to run."""
    return next(number for number in range(len(trials) + 1) if number not in trials)


def counted_pairs(
    hypothesis: bytes,
    by_verifier: Mapping[bytes, TrialsByPair],
    *,
    metric: Metric,
    policy: Policy,
) -> list[Pair]:
    """The counted pairs of a hypothesis in canonical order, at most `policy.cap_pairs`.

    Args:
        hypothesis: Record id of the hypothesis.
        by_verifier: Trials to verify by those whose evidence counts, by author and pair number.
        metric: The swarm's metric.
        policy: The swarm's policy.
    """
    counts = {key: contiguous_count(trials) for key, trials in by_verifier.items()}
    order = _canonical_order(hypothesis, counts, policy.max_verifiers)
    return [
        _pair(*by_verifier[verifier][number], verifier, seat, metric)
        for verifier, seat, number in islice(order, policy.cap_pairs)
    ]


def seats_of(
    hypothesis: bytes, by_verifier: Mapping[bytes, TrialsByPair], seats: int
) -> dict[bytes, bytes]:
    """The seat of everybody who has a pair that may count; it is named by who had it first."""
    present = [key for key, trials in by_verifier.items() if 0 in trials]
    present.sort(key=lambda key: rendezvous(hypothesis, key))
    return {key: present[place % seats] for place, key in enumerate(present)}


def would_count(
    hypothesis: bytes,
    by_verifier: Mapping[bytes, TrialsByPair],
    *,
    verifier: bytes,
    pair: int,
    policy: Policy,
) -> bool:
    """Whether a verifier's pair would be counted if it were there now, with all before it.

    A full cap is no obstacle to who stands before those that filled it: nobody, by many pairs in a
    hurry, keeps the others out.
    """
    counts = {key: contiguous_count(trials) for key, trials in by_verifier.items()}
    counts[verifier] = pair + 1
    order = _canonical_order(hypothesis, counts, policy.max_verifiers)
    counted = islice(order, policy.cap_pairs)
    return any((key, number) == (verifier, pair) for key, _, number in counted)


def _canonical_order(
    hypothesis: bytes, counts: Mapping[bytes, int], seats: int
) -> Iterator[tuple[bytes, bytes, int]]:
    """Every pair that may count as (verifier, seat, number); a seat is named by who had it first.

    Args:
        hypothesis: Record id of the hypothesis.
        counts: Pairs without a gap by verifier.
        seats: Seats of a round.
    """
    present = [key for key, count in counts.items() if count]
    present.sort(key=lambda key: rendezvous(hypothesis, key))
    for first in range(0, len(present), seats):
        yield from _round(present[first : first + seats], present[:seats], counts)


def _round(
    verifiers: Sequence[bytes], seats: Sequence[bytes], counts: Mapping[bytes, int]
) -> Iterator[tuple[bytes, bytes, int]]:
    """One round's pairs, by pair number and then in the order of the verifiers."""
    for number in range(max(counts[key] for key in verifiers)):
        for key, seat in zip(verifiers, seats, strict=False):
            if number < counts[key]:
                yield key, seat, number


def _pair(trial_id: bytes, trial: Trial, verifier: bytes, seat: bytes, metric: Metric) -> Pair:
    parent, child = trial.parent.metric_micro, trial.child.metric_micro
    parent_ran = parent is not None
    failed = trial.child.status if parent_ran and trial.child.status != "ok" else None
    return Pair(
        trial=trial_id,
        verifier=verifier,
        seat=seat,
        gain_micro=(None if parent is None or child is None else metric.gain_micro(parent, child)),
        failure=failed,
        child_micro=child,
        cost_permille=cost_permille(trial),
    )


def cost_permille(trial: Trial) -> int | None:
    """The child's highest cost relative to the genesis script's; None when nothing was measured.

    Costs are CPU time of training and scoring, wall time, memory, and, where the trial gives the
    genesis script's, the batches handed out, counted in tokens: how they are cut into batches is
    the script's affair. A node gives them under a budget of tokens only (ADR 16). Relative to the
    genesis and never to the parent: a bound per merge would compound.
    """
    if trial.child.status != "ok":
        return None
    cpu_ms = trial.child.train_cpu_ms + trial.child.score_cpu_ms
    ratios = [
        cost * PERMILLE // baseline
        for cost, baseline in (
            (cpu_ms, trial.genesis_cpu_ms),
            (trial.child.wall_ms, trial.genesis_wall_ms),
            (trial.child.peak_memory_kib, trial.genesis_memory_kib),
            (trial.child.tokens, trial.genesis_tokens),
        )
        if baseline
    ]
    return max(ratios, default=None)
