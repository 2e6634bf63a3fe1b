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

from protocol.ids import entry_id
from protocol.records import Absence, Admit, Genesis, Hypothesis, Merge, Record, Transfer, Trial
from swarm.admission import Admitted, Held, Outcome, judge
from swarm.case import Case, ParentRuns
from swarm.events import (
    AuthorVoided,
    Event,
    HeadChanged,
    HypothesisAdded,
    MemberAdded,
    TransferAdded,
    TrialAdded,
    VerdictChanged,
)
from swarm.ledger_view import LedgerView
from swarm.lineage import Entry, build_entries, chosen_path
from swarm.verdict import conclude


class Ledger(LedgerView):
    """The state of one swarm, as it grows.

    Args:
        genesis: The swarm's genesis, opened.
    """

    def __init__(self, genesis: Record) -> None:
        super().__init__(genesis)
        self._root_runs = ParentRuns()
        self._rebuild_lineage()

    # -- taking records in ----------------------------------------------------------------------

    def add(self, record: Record) -> Outcome:
        """Take in a record whose envelope has been opened.

        Returns:
            What became of it; an admitted record brings those along that had waited for it.
        """
        judged = judge(record, self)
        if isinstance(judged, Held):
            self._waiting.hold(record, judged.missing)
        if judged is not None:
            return judged
        entered: list[Record] = []
        events: list[Event] = []
        touched: set[bytes] = set()
        queue = [record]
        while queue:
            following = queue.pop()
            entered.append(following)
            for identity in self._file(following, events, touched):
                queue.extend(self._ready(identity))
        self._settle(touched, events)
        return Admitted(tuple(entered), tuple(events))

    def _ready(self, identity: bytes) -> list[Record]:
        """Records that waited for this id and may enter now.

        One may still wait for something else, or turn out to be wrong now that it can be judged.
        """
        ready: list[Record] = []
        for record in self._waiting.release(identity):
            judged = judge(record, self)
            if judged is None:
                ready.append(record)
            elif isinstance(judged, Held):
                self._waiting.hold(record, judged.missing)
        return ready

    def _file(self, record: Record, events: list[Event], touched: set[bytes]) -> tuple[bytes, ...]:
        """File one record; returns the ids under which it can now be referred to."""
        self._records[record.id] = record
        self._digest = None
        body = record.body
        if not isinstance(body, Hypothesis | Trial | Merge | Absence | Transfer):
            self._members = None
        match body:
            case Admit():
                grant = self.membership.grant_for(record, body)
                assert not isinstance(grant, str)
                if self.membership.add(record.id, grant):
                    events.append(MemberAdded(body.member))
                    touched.update(self._cases_by_key.get(body.member, ()))
            case Hypothesis():
                entry = entry_id(body.parents, body.source)
                depth = self._depths[body.parents[0]]
                self._depths[entry] = depth + 1
                self._first_parents[entry] = body.parents[0]
                self._changing.setdefault(body.parents[0], []).append(record.id)
                nothing = conclude((), self.policy, self.policy.liars)
                self._cases[record.id] = Case(record, body, entry, depth, nothing)
                events.append(HypothesisAdded(record.id))
                return record.id, entry
            case Trial():
                touched.add(body.hypothesis)
                self._cases_by_key.setdefault(record.author, set()).add(body.hypothesis)
                if self._cases[body.hypothesis].file(record, body):
                    self._void(record.author, events, touched)
                events.append(TrialAdded(body.hypothesis, record.id))
            case Merge():
                touched.add(body.hypothesis)
                self._cases_by_key.setdefault(record.author, set()).add(body.hypothesis)
                self._cases[body.hypothesis].merges[record.id] = record
            case Absence():
                touched.add(body.hypothesis)
                self._cases_by_key.setdefault(record.author, set()).add(body.hypothesis)
                self._cases[body.hypothesis].absences.add(record.author)
            case Transfer():
                self._transfers.add(record, body)
                events.append(TransferAdded(body.entry, record.id))
            case Genesis():
                raise AssertionError("the gate admits no second genesis")
        return (record.id,)

    def _void(self, author: bytes, events: list[Event], touched: set[bytes]) -> None:
        if author not in self._voided:
            self._voided.add(author)
            events.append(AuthorVoided(author))
            touched.update(self._cases_by_key[author])

    # -- working off what changed ---------------------------------------------------------------

    def _settle(self, touched: set[bytes], events: list[Event]) -> None:
        """Conclude again wherever something changed, and rebuild the lineage if that shapes it."""
        lineage_changed = False
        root_runs = self._root_runs
        for identity in sorted(touched):
            case = self._cases[identity]
            before, runs_before = case.verdict.status, case.parent_runs
            case.renew(self.membership, self._voided, self.metric)
            after = case.verdict.status
            if after != before:
                events.append(VerdictChanged(identity, before, after))
            if case.body.parents[0] == self._root_id:
                root_runs = root_runs.plus(case.parent_runs).plus(runs_before, sign=-1)
            if case.is_mergeable:
                self._mergeable.add(identity)
            else:
                self._mergeable.discard(identity)
            self._unsigned.pop(identity, None)
            if case.unsigned:
                self._unsigned[identity] = case.unsigned
            self._absent.discard(identity)
            if case.absent_for:
                self._absent.add(identity)
            candidate = case.candidate(self.membership)
            if candidate != self._candidates.get(identity):
                lineage_changed = True
                self._candidates.pop(identity, None)
                if candidate is not None:
                    self._candidates[identity] = candidate
        if root_runs != self._root_runs:
            self._root_runs = root_runs
            self._entries[self._root_id] = self._root()
        if lineage_changed:
            self._update_head(events)

    def _update_head(self, events: list[Event]) -> None:
        before = self._path[-1]
        self._rebuild_lineage()
        after = self._path[-1]
        if after != before:
            events.append(HeadChanged(before, after, rolled_back=before not in self._path))

    def _rebuild_lineage(self) -> None:
        self._entries = build_entries(
            self._root(), list(self._candidates.values()), self.policy.tau_micro
        )
        self._path = chosen_path(self._root_id, self._entries)

    def _root(self) -> Entry:
        return Entry(
            id=self._root_id,
            parents=(),
            hypothesis=None,
            source=self.genesis_body.source,
            depth=0,
            title="genesis",
            author=self.genesis.author,
            metric_micro=self._root_runs.mean_micro,
            gain_micro=None,
            low_micro=None,
            high_micro=None,
            verifiers=(),
            trials=0,
            merged_ms=self.genesis.created_ms,
            weight=0,
        )
