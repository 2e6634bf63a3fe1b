"""One hypothesis's file: its trials, its merges and what has been concluded from them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from protocol.records import Hypothesis, Metric, Purpose, Record, Trial
from swarm.counting import TrialsByPair, counted_pairs, would_count
from swarm.hypotheses import HypothesisView, Screening, describe_screening, status_of
from swarm.lineage import Candidate
from swarm.membership import Membership
from swarm.standing import Standing
from swarm.verdict import Verdict, conclude


class ParentRuns(NamedTuple):
    """Sums of the parent's metric over some trials.

    Attributes:
        counted: Number of trials to verify by members.
        counted_micro: Their sum.
        others: Number of the rest.
        others_micro: Their sum.
    """

    counted: int = 0
    counted_micro: int = 0
    others: int = 0
    others_micro: int = 0

    def plus(self, other: "ParentRuns", sign: int = 1) -> "ParentRuns":
        """The sums together, or the difference for sign -1."""
        return ParentRuns(*(mine + sign * theirs for mine, theirs in zip(self, other, strict=True)))

    @property
    def mean_micro(self) -> int | None:
        """Mean over the trials that count, else over the rest; None without any."""
        if self.counted:
            return self.counted_micro // self.counted
        return self.others_micro // self.others if self.others else None


@dataclass(slots=True)
class Case:
    """Everything filed about one hypothesis.

    Attributes:
        record: The hypothesis.
        body: Its content.
        entry: The entry that it yields.
        depth: Depth of the entry that it changes.
        verdict: What the trials filed so far add up to; renewed by `renew`.
        own: What the author's own verification adds up to, where the policy asks for it: never
            part of the verdict.
        proof: What a merge stands on where they leave it undecided (`swarm.standing`).
        unsigned: Verifiers that should sign a merge of it, and have not.
        absent_for: Members that cannot get its script, where only its author verified it.
        parent_runs: What they say about the parent, where that is the genesis script: every other
            entry has a verdict with its own metric.
    """

    record: Record
    body: Hypothesis
    entry: bytes
    depth: int
    verdict: Verdict
    own: Verdict | None = None
    proof: Verdict | None = None
    unsigned: frozenset[bytes] = frozenset()
    absent_for: frozenset[bytes] = frozenset()
    parent_runs: ParentRuns = field(default_factory=ParentRuns)
    merges: dict[bytes, Record] = field(default_factory=dict)
    absences: set[bytes] = field(default_factory=set)
    _trials: dict[tuple[Purpose, bytes, int], Record] = field(default_factory=dict)
    _records: dict[bytes, Record] = field(default_factory=dict)
    _screening: Screening | None = None
    _standing: Standing = field(default_factory=Standing)

    def file(self, record: Record, body: Trial) -> bool:
        """File a trial; tells whether it contradicts another one of its author's.

        Of contradicting trials the one with the lowest id stands in the slot, whatever came first.
        """
        slot = (body.purpose, record.author, body.pair)
        before = self._trials.get(slot)
        if before is None or record.id < before.id:
            self._trials[slot] = record
        self._records[record.id] = record
        self._screening = None
        return before is not None

    def renew(self, membership: Membership, voided: set[bytes], metric: Metric) -> None:
        """Conclude again, after a trial was filed or an author's standing changed."""
        by_verifier = self._by_verifier()
        policy = membership.policy
        evidence = self._that_counts(by_verifier, membership, voided)
        pairs = counted_pairs(self.record.id, evidence, metric=metric, policy=policy)
        convicted = {key for key in by_verifier if membership.is_member(key, self.depth)} & voided
        liars = max(0, policy.liars - len(convicted))
        self.verdict = conclude(pairs, policy, liars)
        self.proof, self.unsigned = None, frozenset()
        if policy.liars and self.verdict.status == "verified":
            signed = {record.author for record in self.merges.values()}
            self.unsigned = frozenset(self.verdict.verifiers) - signed
        elif policy.liars and self.verdict.status != "refuted":
            self.proof = self._standing.verdict(
                self.record.id,
                self.merges.values(),
                evidence,
                metric=metric,
                policy=policy,
                liars=liars,
            )
        self.own = self._conclude_own(by_verifier, membership, voided, metric)
        self.absent_for = self._doubtful_absences(membership, voided)
        if self.depth == 0:
            self.parent_runs = self._sum_parent_runs(membership, voided)

    def _conclude_own(
        self,
        by_verifier: Mapping[bytes, TrialsByPair],
        membership: Membership,
        voided: set[bytes],
        metric: Metric,
    ) -> Verdict | None:
        """What the author's own pairs add up to: one verifier, whom nobody leaves out."""
        author = self.record.author
        allowed = membership.policy.self_verified and membership.is_member(author, self.depth)
        if not allowed or author in voided or author not in by_verifier:
            return None
        policy = replace(membership.policy, min_verifiers=1)
        mine = {author: by_verifier[author]}
        pairs = counted_pairs(self.record.id, mine, metric=metric, policy=policy)
        return conclude(pairs, policy, liars=0)

    def _doubtful_absences(self, membership: Membership, voided: set[bytes]) -> frozenset[bytes]:
        """Members whose word that the script cannot be had is a doubt.

        It is one only of what the author alone verified, and until more verifiers than may lie
        have shown that they had the script, by a pair that counts.
        """
        if not self._only_own or len(self.verdict.gains) > membership.policy.liars:
            return frozenset()
        members = {key for key in self.absences if membership.is_member(key, self.depth)}
        return frozenset(members - voided)

    @property
    def _only_own(self) -> bool:
        """Whether its author verified it, and others decided nothing."""
        if self.own is None or self.own.status != "verified":
            return False
        return self.verdict.status == "undecided" and self.proof is None

    @property
    def self_verified(self) -> bool:
        """Whether its author's verification stands, which others neither confirmed nor doubted.

        The first pairs of others that show no gain are enough to doubt it, and so is a member that
        cannot get the script, without which there are no pairs.
        """
        if not self._only_own or self.absent_for:
            return False
        return not self.verdict.trials or (self.verdict.gain_micro or 0) > 0

    def would_count(
        self, verifier: bytes, pair: int, membership: Membership, voided: set[bytes]
    ) -> bool:
        """Whether a member's pair would be counted if it were filed now."""
        return would_count(
            self.record.id,
            self._that_counts(self._by_verifier(), membership, voided),
            verifier=verifier,
            pair=pair,
            policy=membership.policy,
        )

    def _that_counts(
        self, by_verifier: Mapping[bytes, TrialsByPair], membership: Membership, voided: set[bytes]
    ) -> dict[bytes, TrialsByPair]:
        """The trials of members that are neither voided nor the author."""
        out = voided | {self.record.author}
        return {
            key: trials
            for key, trials in by_verifier.items()
            if key not in out and membership.is_member(key, self.depth)
        }

    @property
    def is_mergeable(self) -> bool:
        """Whether a member may merge it."""
        return self.verdict.status == "verified" or self.proof is not None or self.self_verified

    def candidate(self, membership: Membership) -> Candidate | None:
        """The entry that this becomes: mergeable, and merged by a member."""
        if not self.is_mergeable:
            return None
        merges = [
            identity
            for identity, record in self.merges.items()
            if membership.is_member(record.author, self.depth)
        ]
        if not merges:
            return None
        verdict = self.verdict if self.proof is None else self.proof
        if self.self_verified:
            assert self.own is not None
            verdict = self.own
        return Candidate(
            record=self.record,
            body=self.body,
            entry=self.entry,
            verdict=verdict,
            self_verified=self.self_verified,
            merge=self.merges[min(merges)],
        )

    def has_trials_by(self, author: bytes) -> bool:
        """Whether any trial of it by this author is here."""
        return any(signer == author for _, signer, _ in self._trials)

    def has_pair(self, verifier: bytes, pair: int) -> bool:
        """Whether a verifier has given a pair, those before it or not."""
        return ("verify", verifier, pair) in self._trials

    def next_pair(self, verifier: bytes) -> int:
        """Number of the first pair that a verifier has not given."""
        pair = 0
        while self.has_pair(verifier, pair):
            pair += 1
        return pair

    def view(
        self, metric: Metric, tau_micro: int, *, merged: bool, on_head: bool
    ) -> HypothesisView:
        """What others may see of it."""
        if self._screening is None:
            screens = [slot for slot in self._trials if slot[0] == "screen"]
            bodies = [self._trials[slot].body for slot in sorted(screens)]
            self._screening = describe_screening(
                [body for body in bodies if isinstance(body, Trial)], metric, tau_micro
            )
        return HypothesisView(
            id=self.record.id,
            author=self.record.author,
            created_ms=self.record.created_ms,
            body=self.body,
            entry_id=self.entry,
            screening=self._screening,
            verdict=self.verdict,
            own=self.own,
            proof=self.proof,
            self_verified=self.self_verified,
            absent_for=self.absent_for,
            status=status_of(self._screening, self.verdict, merged=merged, on_head=on_head),
            trials=tuple(self._records[identity] for identity in sorted(self._records)),
        )

    def _by_verifier(self) -> Mapping[bytes, TrialsByPair]:
        """Trials to verify, by author and pair number."""
        result: dict[bytes, dict[int, tuple[bytes, Trial]]] = {}
        for (purpose, author, pair), record in self._trials.items():
            if purpose == "verify":
                assert isinstance(record.body, Trial)
                result.setdefault(author, {})[pair] = (record.id, record.body)
        return result

    def _sum_parent_runs(self, membership: Membership, voided: set[bytes]) -> ParentRuns:
        sums = ParentRuns()
        for (purpose, author, _), record in self._trials.items():
            assert isinstance(record.body, Trial)
            metric_micro = record.body.parent.metric_micro
            if metric_micro is None or author in voided:
                continue
            if purpose == "verify" and membership.is_member(author, self.depth):
                sums = sums.plus(ParentRuns(1, metric_micro))
            else:
                sums = sums.plus(ParentRuns(others=1, others_micro=metric_micro))
        return sums
