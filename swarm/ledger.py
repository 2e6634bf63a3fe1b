"""The ledger: what a set of records adds up to, as a pure function of the set.

Theory of operation. `add` passes each record through the gate (`swarm.admission`), files it, and
marks what may have changed: the verdict of a hypothesis whose trials, verifiers or author's
standing changed, and the lineage when a verdict or a merge did. Marks are worked off before `add`
returns, so every answer is about the set as it is. Nothing depends on the order of arrival: every
collection is either a set, or is ordered by ids, pair numbers or rendezvous when it is used.

Records that refer to something not yet here are held (bounded, the oldest of an author go first)
and enter, with everything that waited for them, once it comes.

Two different trials by one author for one slot (hypothesis, purpose, pair number) prove a fault:
that author's evidence is void everywhere, earlier evidence included, and a verdict counts the
voided verifier among its `liars`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from protocol.ids import entry_id, records_digest
from protocol.records import Admit, Genesis, Hypothesis, Merge, Purpose, Record, Trial
from swarm.admission import Admitted, Held, Outcome, judge
from swarm.counting import TrialsByPair, counted_pairs
from swarm.events import (
    AuthorVoided,
    Event,
    HeadChanged,
    HypothesisAdded,
    MemberAdded,
    TrialAdded,
    VerdictChanged,
)
from swarm.hypotheses import HypothesisView, describe_screening, status_of
from swarm.lineage import Candidate, Entry, build_entries, chosen_path
from swarm.membership import Membership
from swarm.verdict import Verdict, conclude

HELD_MAX: Final = 8192
"""Records that may wait at the same time."""

HELD_PER_AUTHOR_MAX: Final = 1024
"""Records of one author that may wait: nobody crowds out the others."""


@dataclass(slots=True)
class _Case:
    """Everything filed about one hypothesis."""

    record: Record
    body: Hypothesis
    entry: bytes
    trials: dict[tuple[Purpose, bytes, int], tuple[bytes, Trial]] = field(default_factory=dict)
    trial_ids: set[bytes] = field(default_factory=set)
    merges: dict[bytes, Record] = field(default_factory=dict)
    verdict: Verdict | None = None

    def by_verifier(self) -> Mapping[bytes, TrialsByPair]:
        """Trials to verify, by author and pair number."""
        result: dict[bytes, dict[int, tuple[bytes, Trial]]] = {}
        for (purpose, author, pair), filed in self.trials.items():
            if purpose == "verify":
                result.setdefault(author, {})[pair] = filed
        return result


class Ledger:
    """The state of one swarm.

    Args:
        genesis: The swarm's genesis, opened.
    """

    def __init__(self, genesis: Record) -> None:
        assert isinstance(genesis.body, Genesis)
        self.genesis = genesis
        self.genesis_body = genesis.body
        self.swarm = genesis.id
        self.policy = genesis.body.policy
        self.metric = genesis.body.metric
        self.membership = Membership(genesis.author, genesis.id, self.policy.admit_depth_max)
        self._root_id = entry_id((genesis.id,), genesis.body.source)
        self._records: dict[bytes, Record] = {genesis.id: genesis}
        self._cases: dict[bytes, _Case] = {}
        self._depths: dict[bytes, int] = {self._root_id: 0}
        self._voided: set[bytes] = set()
        self._held: dict[bytes, dict[bytes, Record]] = {}
        self._held_ids: dict[bytes, bytes] = {}
        self._digest: bytes | None = None
        self._entries: dict[bytes, Entry] = {}
        self._path: list[bytes] = []
        self._rebuild_lineage()

    # -- taking records in ----------------------------------------------------------------------

    def add(self, record: Record) -> Outcome:
        """Take in a record whose envelope has been opened.

        Returns:
            What became of it; an admitted record brings those along that had waited for it.
        """
        judged = judge(record, self)
        if isinstance(judged, Held):
            self._hold(record, judged.missing)
        if judged is not None:
            return judged
        entered: list[Record] = []
        events: list[Event] = []
        touched: set[bytes] = set()
        queue = [record]
        while queue:
            following = queue.pop()
            # A record that waited may still wait for something else, or turn out to be wrong.
            again = judge(following, self)
            if isinstance(again, Held):
                self._hold(following, again.missing)
                continue
            if again is not None:
                continue
            entered.append(following)
            for new_id in self._file(following, events, touched):
                queue.extend(self._release(new_id))
        self._settle(touched, events)
        return Admitted(tuple(entered), tuple(events))

    def _file(self, record: Record, events: list[Event], touched: set[bytes]) -> tuple[bytes, ...]:
        """File one record; returns the ids under which it can now be referred to."""
        self._records[record.id] = record
        self._digest = None
        body = record.body
        match body:
            case Admit():
                grant = self.membership.grant_for(record, body)
                assert not isinstance(grant, str)
                if self.membership.add(record.id, grant):
                    events.append(MemberAdded(body.member))
                    touched.update(self._cases_with(body.member))
            case Hypothesis():
                entry = entry_id(body.parents, body.source)
                self._cases[record.id] = _Case(record, body, entry)
                self._depths[entry] = self._depths[body.parents[0]] + 1
                events.append(HypothesisAdded(record.id))
                return record.id, entry
            case Trial():
                self._file_trial(record, body, events, touched)
            case Merge():
                self._cases[body.hypothesis].merges[record.id] = record
                touched.add(body.hypothesis)
            case Genesis():
                raise AssertionError("the gate admits no second genesis")
        return (record.id,)

    def _file_trial(
        self, record: Record, body: Trial, events: list[Event], touched: set[bytes]
    ) -> None:
        case = self._cases[body.hypothesis]
        slot = (body.purpose, record.author, body.pair)
        filed = case.trials.get(slot)
        if filed is not None and record.author not in self._voided:
            self._voided.add(record.author)
            events.append(AuthorVoided(record.author))
            touched.update(self._cases_with(record.author))
        # Which of two contradicting trials is kept must not depend on the order of arrival.
        if filed is None or record.id < filed[0]:
            case.trials[slot] = (record.id, body)
        case.trial_ids.add(record.id)
        touched.add(body.hypothesis)
        events.append(TrialAdded(body.hypothesis, record.id))

    def _cases_with(self, author: bytes) -> Iterator[bytes]:
        """Hypotheses whose verdict depends on an author's standing."""
        for identity, case in self._cases.items():
            if any(key == author for _, key, _ in case.trials) or any(
                merge.author == author for merge in case.merges.values()
            ):
                yield identity

    # -- waiting --------------------------------------------------------------------------------

    def _hold(self, record: Record, missing: bytes) -> None:
        if record.id in self._held_ids:
            return
        mine = [item for item in self._all_held() if item.author == record.author]
        if len(mine) >= HELD_PER_AUTHOR_MAX:
            self._drop_held(mine[0])
        elif len(self._held_ids) >= HELD_MAX:
            self._drop_held(next(self._all_held()))
        self._held.setdefault(missing, {})[record.id] = record
        self._held_ids[record.id] = missing

    def _all_held(self) -> Iterator[Record]:
        for identity, missing in self._held_ids.items():
            yield self._held[missing][identity]

    def _drop_held(self, record: Record) -> None:
        missing = self._held_ids.pop(record.id)
        waiting = self._held[missing]
        del waiting[record.id]
        if not waiting:
            del self._held[missing]

    def _release(self, identity: bytes) -> list[Record]:
        """Records that waited for an id, in a fixed order."""
        waiting = self._held.pop(identity, {})
        for item in waiting:
            del self._held_ids[item]
        return sorted(waiting.values(), key=lambda item: item.id)

    # -- working off what changed ---------------------------------------------------------------

    def _settle(self, touched: set[bytes], events: list[Event]) -> None:
        lineage_touched = False
        for identity in sorted(touched):
            case = self._cases[identity]
            before = case.verdict
            case.verdict = self._conclude(case)
            word = "undecided" if before is None else before.status
            if case.verdict.status != word:
                events.append(VerdictChanged(identity, word, case.verdict.status))
            # A merged hypothesis shapes the lineage, and its figures do too; the root's metric is
            # measured by everything tried on it.
            lineage_touched |= bool(case.merges) or self._root_id in case.body.parents
        if lineage_touched:
            self._update_head(events)

    def _conclude(self, case: _Case) -> Verdict:
        depth = self._depths[case.body.parents[0]]
        author = case.record.author
        by_verifier = case.by_verifier()

        def counts(key: bytes) -> bool:
            return (
                key != author and key not in self._voided and self.membership.is_member(key, depth)
            )

        pairs = counted_pairs(
            case.record.id,
            by_verifier,
            counts=counts,
            metric=self.metric,
            policy=self.policy,
        )
        voided = sum(
            key in self._voided and self.membership.is_member(key, depth) for key in by_verifier
        )
        return conclude(pairs, self.policy, max(0, self.policy.liars - voided))

    def _update_head(self, events: list[Event]) -> None:
        before = self._path[-1]
        self._rebuild_lineage()
        after = self._path[-1]
        if after != before:
            rolled_back = before not in self._path
            events.append(HeadChanged(before, after, rolled_back))

    def _rebuild_lineage(self) -> None:
        candidates = [
            candidate
            for case in self._cases.values()
            if (candidate := self._candidate(case)) is not None
        ]
        self._entries = build_entries(self._root(), candidates, self.policy)
        self._path = chosen_path(self._root_id, self._entries)

    def _candidate(self, case: _Case) -> Candidate | None:
        merges = [
            record
            for record in case.merges.values()
            if self.membership.is_member(record.author, self._depths[case.body.parents[0]])
        ]
        if not merges or case.verdict is None or case.verdict.status != "verified":
            return None
        merge = min(merges, key=lambda record: record.id)
        return Candidate(case.record, case.body, case.entry, case.verdict, merge)

    def _root(self) -> Entry:
        return Entry(
            id=self._root_id,
            parents=(),
            hypothesis=None,
            source=self.genesis_body.source,
            depth=0,
            title="genesis",
            author=self.genesis.author,
            metric_micro=self._baseline_micro(),
            gain_micro=None,
            low_micro=None,
            high_micro=None,
            verifiers=(),
            trials=0,
            merged_ms=self.genesis.created_ms,
            weight=0,
        )

    def _baseline_micro(self) -> int | None:
        """Mean of the genesis script's metric: over trials that count, else over any."""
        values: dict[bool, list[int]] = {True: [], False: []}
        for case in self._cases.values():
            if case.body.parents[0] != self._root_id:
                continue
            for (purpose, author, _), (_, trial) in case.trials.items():
                if trial.parent.metric_micro is not None and author not in self._voided:
                    counted = purpose == "verify" and self.membership.is_member(author)
                    values[counted].append(trial.parent.metric_micro)
        chosen = values[True] or values[False]
        return sum(chosen) // len(chosen) if chosen else None

    # -- answers --------------------------------------------------------------------------------

    def __contains__(self, identity: bytes) -> bool:
        return identity in self._records

    def __len__(self) -> int:
        return len(self._records)

    @property
    def digest(self) -> bytes:
        """Digest of the set of records, to compare two nodes."""
        if self._digest is None:
            self._digest = records_digest(list(self._records))
        return self._digest

    @property
    def root(self) -> Entry:
        """The genesis entry."""
        return self._entries[self._root_id]

    @property
    def head(self) -> Entry:
        """The entry that fork choice picks."""
        return self._entries[self._path[-1]]

    @property
    def entries(self) -> Mapping[bytes, Entry]:
        """Every entry of the lineage, side branches included, by id."""
        return self._entries

    def lineage(self) -> list[Entry]:
        """The entries from the root to the head."""
        return [self._entries[identity] for identity in self._path]

    def hypotheses(self) -> Iterator[HypothesisView]:
        """Every hypothesis, in no order that means anything."""
        return (self._view(case) for case in self._cases.values())

    def hypothesis(self, identity: bytes) -> HypothesisView:
        """One hypothesis.

        Raises:
            KeyError: It is not here.
        """
        return self._view(self._cases[identity])

    def _view(self, case: _Case) -> HypothesisView:
        verdict = case.verdict or self._conclude(case)
        screening = describe_screening(
            [
                trial
                for (purpose, _, _), (_, trial) in sorted(case.trials.items())
                if purpose == "screen"
            ],
            self.metric,
            self.policy.tau_micro,
        )
        merged = case.entry in self._entries and bool(case.merges)
        return HypothesisView(
            id=case.record.id,
            author=case.record.author,
            created_ms=case.record.created_ms,
            body=case.body,
            entry_id=case.entry,
            screening=screening,
            verdict=verdict,
            status=status_of(
                screening, verdict, merged=merged, on_head=case.body.parents[0] == self._path[-1]
            ),
            trials=tuple(self._records[item] for item in sorted(case.trial_ids)),
        )

    def pending_merges(self) -> list[HypothesisView]:
        """Verified hypotheses on entries of the lineage that nobody has merged yet."""
        return [
            self._view(case)
            for _, case in sorted(self._cases.items())
            if case.verdict is not None
            and case.verdict.status == "verified"
            and self._candidate(case) is None
            and all(parent in self._entries for parent in case.body.parents)
        ]

    def next_pair(self, hypothesis: bytes, verifier: bytes) -> int:
        """Number of the next pair that a verifier would run for a hypothesis."""
        trials = self._cases[hypothesis].trials
        pair = 0
        while ("verify", verifier, pair) in trials:
            pair += 1
        return pair

    def last_trial_ms(self, hypothesis: bytes, verifier: bytes) -> int | None:
        """When a verifier's latest trial of a hypothesis says it was made."""
        times = [
            self._records[identity].created_ms
            for (purpose, author, _), (identity, _) in self._cases[hypothesis].trials.items()
            if purpose == "verify" and author == verifier
        ]
        return max(times, default=None)

    @property
    def members(self) -> frozenset[bytes]:
        """Keys whose evidence counts on the head."""
        depth = self.head.depth
        return frozenset(
            key for key in self.membership.members if self.membership.is_member(key, depth)
        )

    def is_member(self, key: bytes) -> bool:
        """Whether a key's evidence counts on the head."""
        return key not in self._voided and self.membership.is_member(key, self.head.depth)

    def is_admitted(self, key: bytes) -> bool:
        """Whether a key was ever admitted, voided or not."""
        return key in self.membership.members

    def is_voided(self, key: bytes) -> bool:
        """Whether a key contradicted itself, which voids its evidence."""
        return key in self._voided

    def admit_grant(self, key: bytes) -> bytes | None:
        """The id that an admit record by this key has to name as its grant; None without right."""
        return None if key in self._voided else self.membership.admit_grant(key)

    def has_entry(self, identity: bytes) -> bool:
        """Whether an id is the root's, or what some hypothesis here would yield."""
        return identity in self._depths

    def is_hypothesis(self, identity: bytes) -> bool:
        """Whether a record here is a hypothesis."""
        return identity in self._cases

    def author_of(self, identity: bytes) -> bytes:
        """The author of a record that is here."""
        return self._records[identity].author

    def trial_subject(self, identity: bytes) -> bytes | None:
        """The hypothesis of a trial that is here; None for any other record."""
        body = self._records[identity].body
        return body.hypothesis if isinstance(body, Trial) else None

    def has_trials_by(self, author: bytes) -> bool:
        """Whether any trial by this author is here."""
        return any(key == author for case in self._cases.values() for _, key, _ in case.trials)

    def missing(self) -> frozenset[bytes]:
        """Ids that held records wait for."""
        return frozenset(self._held)

    def records(self) -> Iterable[Record]:
        """Every record that is here."""
        return self._records.values()
