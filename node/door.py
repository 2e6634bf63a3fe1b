"""The door's decisions: what becomes of a record that comes in, without the disk and without tasks.

Checks run cheapest first: size and already-seen (one hash), then form, swarm and signature, then
the author's rate, then the ledger's gate (references and kind rules). `node.intake` drives this
and writes what passes; the simulator drives it too. It refuses to know disks, tasks and clocks.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, assert_never

from gossip.core.index import RecordIndex
from gossip.core.rates import TokenBuckets
from protocol.envelope import open_envelope, peek_id
from protocol.errors import WireError
from protocol.records import Record
from swarm.admission import Admitted, Held, Known, Rejected
from swarm.events import Event
from swarm.ledger import Ledger

Disposition: TypeAlias = Literal["accepted", "known", "held", "rejected"]

Row: TypeAlias = tuple[bytes, int, bytes]
"""A record as the store takes it: id, created_ms, envelope."""

_AUTHOR_RATE_PER_S: Final = 50.0
_AUTHOR_BURST: Final = 2_000.0
HELD_ENVELOPES_MAX: Final = 10_000
"""Envelopes kept for records that the ledger holds: more than it holds at the same time."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of a record.

    Attributes:
        disposition: The answer to whoever brought it, once the rows are durable.
        rows: What has to be written: the record, and others that had waited for it.
        events: What changed.
    """

    disposition: Disposition
    rows: tuple[Row, ...] = ()
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Folded:
    """What a set of durable records adds up to.

    Attributes:
        ledger: Their ledger.
        index: Their keys.
    """

    ledger: Ledger
    index: RecordIndex


class Door:
    """Ledger and index, and the checks before them.

    Attributes:
        ledger: What the records so far add up to. Replaced when it has to be folded again.
        index: The keys of the durable records, for reconciliation.

    Args:
        genesis: The swarm's genesis, opened.
        durable: The envelopes that the disk has.
    """

    def __init__(self, genesis: Record, durable: Iterable[bytes]) -> None:
        self._genesis = genesis
        self._authors = TokenBuckets(rate_per_s=_AUTHOR_RATE_PER_S, burst=_AUTHOR_BURST)
        self._held: dict[bytes, bytes] = {}
        folded = self.fold(durable)
        self.ledger, self.index = folded.ledger, folded.index

    def fold(self, durable: Iterable[bytes]) -> Folded:
        """Fold the durable records alone; may run in a thread, while the door goes on answering.

        Raises:
            StoreError: They cannot be read.
        """
        folded = Folded(
            Ledger(self._genesis), RecordIndex([(self._genesis.created_ms, self._genesis.id)])
        )
        damaged = 0
        for envelope in durable:
            try:
                record = open_envelope(envelope, swarm=self._genesis.id)
            except WireError:
                damaged += 1
                continue
            outcome = folded.ledger.add(record)
            if isinstance(outcome, Admitted):
                for admitted in outcome.records:
                    folded.index.insert(admitted.created_ms, admitted.id)
        if damaged:
            _log.error("%d stored records are damaged and were left out", damaged)
        return folded

    def replace(self, folded: Folded) -> None:
        """Go on from the durable records alone, after the disk refused others."""
        self.ledger, self.index = folded.ledger, folded.index
        # The new ledger holds nothing; whoever has what waited will offer it again.
        self._held.clear()

    @property
    def held_count(self) -> int:
        """Envelopes kept for records that wait."""
        return len(self._held)

    def at_once(self, envelope: bytes) -> Disposition | None:
        """The answer where one hash suffices, else None."""
        try:
            identity = peek_id(envelope)
        except WireError as error:
            _log.info("rejected a record: %s", error)
            return "rejected"
        return "known" if identity in self.ledger else None

    def judge(self, envelope: bytes, *, local: bool, now_s: float) -> Judged:
        """Pass one record through the checks.

        The ledger has it when this returns; call `settle` once the disk has the rows too, or `fold`
        and `replace` when the disk refuses them.

        Args:
            envelope: The signed record.
            local: Made by this node: its author's rate is not limited.
            now_s: Monotonic seconds.
        """
        try:
            record = open_envelope(envelope, swarm=self._genesis.id)
        except WireError as error:
            _log.info("rejected a record: %s", error)
            return Judged("rejected")
        if not local and not self._authors.take(record.author, 1, now_s):
            return Judged("held")
        match self.ledger.add(record):
            case Admitted(records=records, events=events):
                rows = tuple(
                    (
                        admitted.id,
                        admitted.created_ms,
                        envelope if admitted.id == record.id else self._held.pop(admitted.id),
                    )
                    for admitted in records
                )
                return Judged("accepted", rows, events)
            case Held():
                self._hold(record.id, envelope)
                return Judged("held")
            case Known():
                return Judged("known")
            case Rejected(reason=reason):
                _log.info("rejected a record: %s", reason)
                return Judged("rejected")
            case _ as never:
                assert_never(never)

    def settle(self, rows: Sequence[Row]) -> None:
        """Note that the disk has these rows."""
        for identity, created_ms, _ in rows:
            self.index.insert(created_ms, identity)

    def _hold(self, identity: bytes, envelope: bytes) -> None:
        if len(self._held) >= HELD_ENVELOPES_MAX:
            # The ledger lets go of what waits by rules of its own. Whatever it still holds may
            # enter at any time and then has to be written, so only the rest can go.
            self._held = {one: kept for one, kept in self._held.items() if self.ledger.is_held(one)}
        self._held[identity] = envelope
        assert len(self._held) <= HELD_ENVELOPES_MAX
