"""Which trials count for a hypothesis, and in which order.

Evidence counts from members that are neither the hypothesis's author nor voided (`swarm.case` asks
for that). Of theirs, a trial counts when it was run to verify and the same verifier's trials of all
lower pair numbers are there too: nobody can leave out the pairs that it does not like. Of more
verifiers than the policy asks for, the first in rendezvous order count, so the work of a verdict
stays bounded. The canonical order is (pair number, rendezvous of hypothesis and verifier); the
policy's cap cuts it off.

A pair whose parent run failed says nothing about the child. It keeps its place in the order and
under the cap (else a verifier could go on for ever), gives no gain and is nobody's failure.

This file refuses to know what the counted pairs add up to.
"""

from collections.abc import Iterator, Mapping

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
    eligible = [key for key, trials in by_verifier.items() if 0 in trials]
    eligible.sort(key=lambda key: rendezvous(hypothesis, key))
    chosen = eligible[: policy.max_verifiers]
    ordered = _in_canonical_order({key: by_verifier[key] for key in chosen})
    pairs: list[Pair] = []
    for verifier, trial_id, trial in ordered:
        if len(pairs) == policy.cap_pairs:
            break
        pairs.append(_pair(trial_id, verifier, trial, metric))
    return pairs


def _in_canonical_order(
    by_verifier: Mapping[bytes, TrialsByPair],
) -> Iterator[tuple[bytes, bytes, Trial]]:
    """Trials without gaps, by pair number and then in the order of the given mapping."""
    counts = {key: contiguous_count(trials) for key, trials in by_verifier.items()}
    for number in range(max(counts.values(), default=0)):
        for key, trials in by_verifier.items():
            if number < counts[key]:
                yield key, *trials[number]


def _pair(trial_id: bytes, verifier: bytes, trial: Trial, metric: Metric) -> Pair:
    parent, child = trial.parent.metric_micro, trial.child.metric_micro
    parent_ran = parent is not None
    failed = trial.child.status if parent_ran and trial.child.status != "ok" else None
    return Pair(
        trial=trial_id,
        verifier=verifier,
        gain_micro=(None if parent is None or child is None else metric.gain_micro(parent, child)),
        failure=failed,
        parent_micro=parent,
        child_micro=child,
        cost_permille=cost_permille(trial),
    )


def cost_permille(trial: Trial) -> int | None:
    """The child's highest cost relative to the genesis script's; None when nothing was measured.

    Costs are CPU time of training and scoring, wall time, memory, and the batches handed out,
    counted in tokens: how they are cut into batches is the script's affair. Relative to the genesis
    and never to the parent: a bound per merge would compound.
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
