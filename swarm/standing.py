"""Whether a merge stands although trials that came after it leave its hypothesis undecided.

Where some verifiers may lie, they can keep their pairs back until a gain is merged, and then report
what a worthless change would give. Their pairs stand early in the canonical order, and the boundary
that was crossed before need not be crossed with them. Whoever merges may not choose what counts
instead: favourable prefixes of honest reports are easily found.

So every verifier of a hypothesis signs a merge of its own when it sees it verified, and cites what
made it sure. A hypothesis that all counted trials leave undecided keeps its place when verifiers on
more than `liars` seats signed merges, each of which cites trials, its signer's among them, that
verify the hypothesis by themselves. The liars cannot sign that alone: at least one honest verifier
saw it verified by all that it had, and that chance is the one that alpha bounds. What all counted
trials *refute* falls nevertheless.

Of what was cited, the entry has the figures of the citation whose gain is the highest but for
`liars` seats': liars cannot make them better than an honest verifier saw them.

This file refuses to know when anything was signed: only who signed what.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from protocol.policy import Policy
from protocol.records import Merge, Metric, Record
from swarm.counting import TrialsByPair, counted_pairs, seats_of
from swarm.verdict import Verdict, conclude


@dataclass(slots=True)
class Standing:
    """What the signed merges of one hypothesis add up to.

    Citations are concluded from once: later trials change nothing about them. Of a verifier's
    merges the one with the lowest id counts, so that nobody makes others compute without end.
    """

    _concluded: dict[tuple[int, tuple[bytes, ...]], Verdict] = field(default_factory=dict)

    def verdict(
        self,
        hypothesis: bytes,
        merges: Iterable[Record],
        by_verifier: Mapping[bytes, TrialsByPair],
        *,
        metric: Metric,
        policy: Policy,
        liars: int,
    ) -> Verdict | None:
        """The verdict that a merged hypothesis stands on; None where too few signed.

        Args:
            hypothesis: Record id of the hypothesis.
            merges: Merges of it.
            by_verifier: Trials to verify by those whose evidence counts, by author and pair number.
            metric: The swarm's metric.
            policy: The swarm's policy.
            liars: Verifiers still to be left out: the policy's number less those already voided.
        """
        seats = seats_of(hypothesis, by_verifier, policy.max_verifiers)
        signed = _by_signer(record for record in merges if record.author in seats)
        if len({seats[signer] for signer in signed}) <= liars:
            return None
        concluded: dict[tuple[int, tuple[bytes, ...]], Verdict] = {}
        by_seat: dict[bytes, Verdict] = {}
        for signer, merge in sorted(signed.items()):
            cited = _only(by_verifier, frozenset(merge.trials))
            pairs = counted_pairs(hypothesis, cited, metric=metric, policy=policy)
            if all(pair.verifier != signer for pair in pairs):
                continue
            key = (liars, tuple(pair.trial for pair in pairs))
            verdict = self._concluded.get(key) or conclude(pairs, policy, liars)
            concluded[key] = verdict
            if verdict.status == "verified":
                others = by_seat.get(seats[signer], verdict)
                by_seat[seats[signer]] = min(verdict, others, key=_merit)
        self._concluded = concluded
        if len(by_seat) <= liars:
            return None
        chosen = sorted(by_seat.values(), key=_merit, reverse=True)[liars]
        reason = f"{len(by_seat)} verifiers signed it; what came later does not refute it"
        return replace(chosen, reason=reason)


def _by_signer(merges: Iterable[Record]) -> dict[bytes, Merge]:
    """Each signer's merge with the lowest id."""
    signed: dict[bytes, Record] = {}
    for record in merges:
        if record.author not in signed or record.id < signed[record.author].id:
            signed[record.author] = record
    found: dict[bytes, Merge] = {}
    for author, record in signed.items():
        assert isinstance(record.body, Merge)
        found[author] = record.body
    return found


def _only(
    by_verifier: Mapping[bytes, TrialsByPair], cited: frozenset[bytes]
) -> dict[bytes, TrialsByPair]:
    """Those trials that are cited."""
    kept = {
        verifier: {pair: trial for pair, trial in trials.items() if trial[0] in cited}
        for verifier, trials in by_verifier.items()
    }
    return {verifier: trials for verifier, trials in kept.items() if trials}


def _merit(verdict: Verdict) -> tuple[int, tuple[bytes, ...]]:
    """Sort key: the gain that was cited."""
    return verdict.gain_micro or 0, verdict.trials
