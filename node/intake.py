"""The one door through which every record enters, whether made here or received.

Checks run cheapest first: size and already-seen (one hash), then form, swarm and signature, then
the author's rate, then the ledger's gate (references and kind rules). What passes is written to
disk and only then acknowledged, announced and gossiped.

The ledger takes a record before the disk has it, because its answer decides whether to write.
When the disk refuses, the ledger is folded again from what is durable: the state is a function of
the set of records, so nothing else is needed to undo.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import trio

from gossip.core.index import RecordIndex
from gossip.core.rates import TokenBuckets
from node.errors import StoreError
from node.store import RecordStore
from protocol.envelope import open_envelope, peek_id
from protocol.errors import WireError
from protocol.records import Record
from swarm.admission import Admitted, Held, Known, Rejected
from swarm.events import Event
from swarm.ledger import Ledger

if TYPE_CHECKING:
    from trio_typing import TaskStatus

Disposition: TypeAlias = Literal["accepted", "known", "held", "rejected"]

_BATCH_MAX: Final = 256
_QUEUE_MAX: Final = 1024
_AUTHOR_RATE_PER_S: Final = 50.0
_AUTHOR_BURST: Final = 2_000.0
_HELD_ENVELOPES_MAX: Final = 10_000

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Request:
    envelope: bytes
    local: bool
    done: trio.Event = field(default_factory=trio.Event)
    disposition: Disposition = "rejected"
    failure: StoreError | None = None


class Intake:
    """The door. Its loop is the only writer of the store and the ledger.

    Attributes:
        ledger: What the records so far add up to. Replaced when it has to be folded again.
        index: The records' keys, for reconciliation.
    """

    def __init__(
        self,
        *,
        genesis: Record,
        store: RecordStore,
        clock: Callable[[], float],
        on_events: Callable[[Sequence[Event]], None],
    ) -> None:
        self._genesis = genesis
        self._store = store
        self._clock = clock
        self._on_events = on_events
        self._authors = TokenBuckets(rate_per_s=_AUTHOR_RATE_PER_S, burst=_AUTHOR_BURST)
        self._held: dict[bytes, bytes] = {}
        self._send, self._receive = trio.open_memory_channel[_Request](_QUEUE_MAX)
        self._refold()

    def _refold(self) -> None:
        """Build ledger and index from the durable records alone."""
        self.ledger = Ledger(self._genesis)
        self.index = RecordIndex([(self._genesis.created_ms, self._genesis.id)])
        damaged = 0
        for envelope in self._store:
            try:
                record = open_envelope(envelope, swarm=self._genesis.id)
            except WireError:
                damaged += 1
                continue
            outcome = self.ledger.add(record)
            if isinstance(outcome, Admitted):
                for admitted in outcome.records:
                    self.index.insert(admitted.created_ms, admitted.id)
        if damaged:
            _log.error("%d stored records are damaged and were left out", damaged)

    async def submit(self, envelope: bytes, *, local: bool = False) -> Disposition:
        """Bring a record in.

        Args:
            envelope: The signed record.
            local: Made by this node: its author's rate is not limited.

        Returns:
            `accepted` once it is durable; `known` when it was here; `held` when it waits for a
            record that it refers to or for its author's rate, and has to be sent again; `rejected`
            when its bytes prove a fault.

        Raises:
            StoreError: The disk refused it. It has not been acknowledged and nothing is lost.
        """
        try:
            identity = peek_id(envelope)
        except WireError as error:
            _log.info("rejected a record: %s", error)
            return "rejected"
        if identity in self.ledger:
            return "known"
        request = _Request(envelope, local)
        await self._send.send(request)
        await request.done.wait()
        if request.failure is not None:
            raise request.failure
        return request.disposition

    async def run(self, *, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Take records in until cancelled: many at once when they come at once."""
        task_status.started()
        async with self._receive:
            while True:
                batch = [await self._receive.receive()]
                while len(batch) < _BATCH_MAX:
                    try:
                        batch.append(self._receive.receive_nowait())
                    except trio.WouldBlock:
                        break
                await self._take(batch)

    async def _take(self, batch: list[_Request]) -> None:
        events: list[Event] = []
        rows: list[tuple[bytes, int, bytes]] = []
        for request in batch:
            request.disposition = self._judge(request, rows, events)
        try:
            if rows:
                # Not abandoned on cancellation: the thread may be inside a commit.
                await trio.to_thread.run_sync(self._store.append, rows)
        except StoreError as error:
            _log.error("records not stored: %s", error)
            self._refold()
            for request in batch:
                if request.disposition == "accepted":
                    request.failure = error
            events = []
        else:
            for identity, created_ms, _ in rows:
                self.index.insert(created_ms, identity)
        for request in batch:
            request.done.set()
        if events:
            self._on_events(events)

    def _judge(
        self,
        request: _Request,
        rows: list[tuple[bytes, int, bytes]],
        events: list[Event],
    ) -> Disposition:
        """Pass one record through the checks; collect what has to be written and announced."""
        try:
            record = open_envelope(request.envelope, swarm=self._genesis.id)
        except WireError as error:
            _log.info("rejected a record: %s", error)
            return "rejected"
        if not request.local and not self._authors.take(record.author, 1, self._clock()):
            return "held"
        match self.ledger.add(record):
            case Admitted(records=records, events=changes):
                for admitted in records:
                    envelope = (
                        request.envelope
                        if admitted.id == record.id
                        else self._held.pop(admitted.id)
                    )
                    rows.append((admitted.id, admitted.created_ms, envelope))
                events.extend(changes)
                return "accepted"
            case Held():
                if len(self._held) >= _HELD_ENVELOPES_MAX:
                    self._held.pop(next(iter(self._held)))
                self._held[record.id] = request.envelope
                return "held"
            case Known():
                return "known"
            case Rejected(reason=reason):
                _log.info("rejected a record: %s", reason)
                return "rejected"
