"""What may be asked of a set of records: the state that they add up to, read and never changed.

`swarm.ledger` takes records in and keeps this state; everybody else asks. An answer is about the
set as it is when it is given.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from protocol.ids import entry_id, records_digest
from protocol.records import Genesis, Record, Transfer, Trial
from swarm.case import Case
from swarm.hypotheses import HypothesisView
from swarm.lineage import Candidate, Entry
from swarm.membership import Membership
from swarm.transfer import TransferFile
from swarm.waiting import Waiting


class LedgerView:
    """The state of one swarm, to be asked.

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
        self.membership = Membership(genesis.author, genesis.id, self.policy)
        self._root_id = entry_id((genesis.id,), genesis.body.source)
        self._records: dict[bytes, Record] = {genesis.id: genesis}
        self._cases: dict[bytes, Case] = {}
        self._cases_by_key: dict[bytes, set[bytes]] = {}
        self._depths: dict[bytes, int] = {self._root_id: 0}
        self._first_parents: dict[bytes, bytes] = {}
        self._changing: dict[bytes, list[bytes]] = {}
        self._members: tuple[int, frozenset[bytes]] | None = None
        self._transfers = TransferFile()
        self._voided: set[bytes] = set()
        self._waiting = Waiting()
        self._digest: bytes | None = None
        self._mergeable: set[bytes] = set()
        self._unsigned: dict[bytes, frozenset[bytes]] = {}
        self._absent: set[bytes] = set()
        self._candidates: dict[bytes, Candidate] = {}
        self._entries: dict[bytes, Entry] = {}
        self._path: list[bytes] = []

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

    def is_on_path(self, entry: bytes) -> bool:
        """Whether the head is this entry or descends from it by first parents."""
        return entry in self._path

    def hypotheses(self) -> Iterator[HypothesisView]:
        """Every hypothesis, in no order that means anything."""
        return (self._view(case) for case in self._cases.values())

    def self_verified(self) -> list[HypothesisView]:
        """What is an entry on its author's verification alone, or would be if its parents were."""
        return [
            self._view(self._cases[identity])
            for identity, candidate in self._candidates.items()
            if candidate.self_verified
        ]

    def absent(self) -> list[HypothesisView]:
        """What only its author verified and a member has no script of that it may run."""
        return [self._view(self._cases[identity]) for identity in sorted(self._absent)]

    def said_absent(self, hypothesis: bytes, key: bytes) -> bool:
        """Whether a key has signed an absence of a hypothesis's script, counted or not."""
        return key in self._cases[hypothesis].absences

    def hypotheses_on(self, entry: bytes) -> Iterator[HypothesisView]:
        """Every hypothesis that changes an entry: few, where all would be many."""
        return (self._view(self._cases[identity]) for identity in self._changing.get(entry, ()))

    def hypothesis(self, identity: bytes) -> HypothesisView:
        """One hypothesis.

        Raises:
            KeyError: It is not here.
        """
        return self._view(self._cases[identity])

    def _view(self, case: Case) -> HypothesisView:
        entry = self._entries.get(case.entry)
        return case.view(
            self.metric,
            self.policy.tau_micro,
            merged=entry is not None and case.record.id in self._candidates,
            on_head=case.body.parents[0] == self._path[-1],
        )

    def pending_merges(self) -> list[HypothesisView]:
        """What is verified, or self-verified, on entries and that no member has merged yet."""
        return [
            self._view(self._cases[identity])
            for identity in sorted(self._mergeable - self._candidates.keys())
            if all(parent in self._entries for parent in self._cases[identity].body.parents)
        ]

    def unsigned_merges(self, verifier: bytes) -> list[HypothesisView]:
        """What a verifier has helped to verify and signed no merge of, where some may lie."""
        return [
            self._view(self._cases[identity])
            for identity, verifiers in sorted(self._unsigned.items())
            if verifier in verifiers
        ]

    def fallen(self) -> list[HypothesisView]:
        """Hypotheses that a member merged and that are no entries now; see `swarm.rollback`."""
        return [
            self._view(case)
            for case in self._cases.values()
            if case.entry not in self._entries
            and any(
                self.membership.is_member(record.author, case.depth)
                for record in case.merges.values()
            )
        ]

    def next_pair(self, hypothesis: bytes, verifier: bytes) -> int:
        """Number of the first pair that a verifier has not given for a hypothesis."""
        return self._cases[hypothesis].next_pair(verifier)

    def has_pair(self, hypothesis: bytes, verifier: bytes, pair: int) -> bool:
        """Whether a verifier has given a pair for a hypothesis, those before it or not."""
        return self._cases[hypothesis].has_pair(verifier, pair)

    def would_count(self, hypothesis: bytes, verifier: bytes, pair: int) -> bool:
        """Whether a verifier's pair would be counted for a hypothesis if it were here now."""
        return self._cases[hypothesis].would_count(verifier, pair, self.membership, self._voided)

    @property
    def members(self) -> frozenset[bytes]:
        """Keys whose evidence counts on the head; the same object until that changes."""
        depth = self.head.depth
        if self._members is None or self._members[0] != depth:
            keys = self.membership.members
            self._members = (
                depth,
                frozenset(key for key in keys if self.membership.is_member(key, depth)),
            )
        return self._members[1]

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

    def is_path(self, entries: Sequence[bytes]) -> bool:
        """Whether entries begin with the root and each has the one before among its ancestors.

        Args:
            entries: At least one, all of which `has_entry`. Ancestors are first parents.
        """
        left = list(entries)
        identity: bytes | None = left.pop()
        while left and identity is not None:
            identity = self._first_parents.get(identity)
            if identity == left[-1]:
                left.pop()
        return not left and identity == self._root_id

    def transfers(self) -> list[tuple[Record, Transfer]]:
        """Replays of lineages that are here, by members; see `TransferFile.standing`."""
        return [
            (record, body)
            for record, body in self._transfers.standing()
            if body.entry in self._entries and self.is_member(record.author)
        ]

    def source_of(self, entry: bytes) -> bytes | None:
        """Digest of an entry's script, also where the entry has been rolled back."""
        known = self._entries.get(entry)
        if known is not None:
            return known.source
        return next(
            (case.body.source for case in self._cases.values() if case.entry == entry), None
        )

    def is_hypothesis(self, identity: bytes) -> bool:
        """Whether a record here is a hypothesis."""
        return identity in self._cases

    def author_of(self, identity: bytes) -> bytes:
        """The author of a record that is here."""
        return self._records[identity].author

    def record(self, identity: bytes) -> Record:
        """A record that is here."""
        return self._records[identity]

    def trial_subject(self, identity: bytes) -> bytes | None:
        """The hypothesis of a trial that is here; None for any other record."""
        body = self._records[identity].body
        return body.hypothesis if isinstance(body, Trial) else None

    def has_trials_by(self, author: bytes) -> bool:
        """Whether any trial by this author is here."""
        return any(
            self._cases[identity].has_trials_by(author)
            for identity in self._cases_by_key.get(author, ())
        )

    def is_held(self, identity: bytes) -> bool:
        """Whether a record waits here for something that it refers to."""
        return identity in self._waiting

    def missing(self) -> frozenset[bytes]:
        """Ids that held records wait for."""
        return self._waiting.missing

    def records(self) -> Iterable[Record]:
        """Every record that is here."""
        return self._records.values()
