"""The one door through which every record enters, whether made here or received.

What is decided about a record is in `node.door`. What passes is written to disk and only then
acknowledged, announced and gossiped.

The ledger takes a record before the disk has it, because its answer decides whether to write.
When the disk refuses, the ledger is folded again from what is durable: the state is a function of
the set of records, so nothing else is needed to undo. That costs time in proportion to all records,
so it happens once: from then on the disk has to take a trial write before a record is judged.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import trio

from gossip.core.index import RecordIndex
from node.door import Disposition, Door, Row
from node.errors import StoreError
from node.store import RecordStore
from protocol.records import Record
from swarm.events import Event
from swarm.ledger import Ledger

if TYPE_CHECKING:
    from trio_typing import TaskStatus

_BATCH_MAX: Final = 256
_QUEUE_MAX: Final = 1024
_DISK_RETRY_S: Final = 1.0
"""How long a disk that refused a record is left alone."""
_ROOM_BYTES: Final = 64 * 1024
"""What SQLite may need besides the records themselves."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Request:
    envelope: bytes
    local: bool
    done: trio.Event = field(default_factory=trio.Event)
    answer: Disposition | StoreError | None = None


class Intake:
    """The door. Its loop is the only writer of the store and the ledger.

    Args:
        genesis: The swarm's genesis, opened.
        store: Where records become durable.
        clock: Monotonic seconds.
        on_events: Told what records have changed, once they are durable.
        door: Built from the store already, in a thread when there is much to fold.
    """

    def __init__(
        self,
        *,
        genesis: Record,
        store: RecordStore,
        clock: Callable[[], float],
        on_events: Callable[[Sequence[Event]], None],
        door: Door | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._on_events = on_events
        self._door = Door(genesis, store) if door is None else door
        self._send, self._receive = trio.open_memory_channel[_Request](_QUEUE_MAX)
        self._writing: trio.Event | None = None
        self._refused: StoreError | None = None
        self._refused_at_s = 0.0

    @property
    def ledger(self) -> Ledger:
        """What the records so far add up to. Another object after the disk refused a record."""
        return self._door.ledger

    @property
    def index(self) -> RecordIndex:
        """The records' keys, for reconciliation."""
        return self._door.index

    async def settled(self) -> Ledger:
        """The ledger when the disk has all that it counts: what may be told to people."""
        while self._writing is not None:
            await self._writing.wait()
        return self.ledger

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
        (answer,) = await self._submit([envelope], local=local)
        if isinstance(answer, StoreError):
            raise type(answer)(str(answer))
        return answer

    async def submit_all(self, envelopes: Sequence[bytes]) -> list[Disposition | StoreError]:
        """Bring received records in, in their order, so that they can be committed together.

        Returns:
            For each what `submit` returns, or the error that it raises.
        """
        return await self._submit(envelopes, local=False)

    async def _submit(
        self, envelopes: Sequence[bytes], *, local: bool
    ) -> list[Disposition | StoreError]:
        answers: list[Disposition | _Request] = []
        for envelope in envelopes:
            answer = self._door.at_once(envelope)
            if answer is None:
                request = _Request(envelope, local)
                await self._send.send(request)
                answers.append(request)
            else:
                answers.append(answer)
        done: list[Disposition | StoreError] = []
        for waiting in answers:
            if isinstance(waiting, _Request):
                await waiting.done.wait()
                assert waiting.answer is not None
                done.append(waiting.answer)
            else:
                done.append(waiting)
        return done

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
        self._writing = writing = trio.Event()
        try:
            events = await self._store_all(batch)
        except StoreError as error:
            for request in batch:
                # What the bytes prove needs no disk; anything else is to be offered again.
                if request.answer != "rejected":
                    request.answer = error
            events = []
        finally:
            self._writing = None
            writing.set()
        for request in batch:
            request.done.set()
        if events:
            self._on_events(events)

    async def _store_all(self, batch: Sequence[_Request]) -> list[Event]:
        """Judge records and make durable what passes.

        Raises:
            StoreError: The disk refuses; nothing of the batch is counted.
        """
        if self._refused is not None:
            await self._try_again(batch, self._refused)
        events: list[Event] = []
        rows: list[Row] = []
        for request in batch:
            # Checking signatures and weighing evidence takes milliseconds each.
            await trio.lowlevel.checkpoint()
            judged = self._door.judge(request.envelope, local=request.local, now_s=self._clock())
            request.answer = judged.disposition
            rows.extend(judged.rows)
            events.extend(judged.events)
        if not rows:
            return events
        try:
            # Not abandoned on cancellation: the thread may be inside a commit.
            await trio.to_thread.run_sync(self._store.append, rows)
        except StoreError as error:
            _log.error("records not stored: %s", error)
            self._refused, self._refused_at_s = error, self._clock()
            folded = await trio.to_thread.run_sync(self._door.fold, self._store)
            self._door.replace(folded)
            raise
        self._door.settle(rows)
        return events

    async def _try_again(self, batch: Sequence[_Request], refused: StoreError) -> None:
        """Ask a disk that has refused whether it has room now, but not all the time.

        Raises:
            StoreError: It has not, or was asked a moment ago.
        """
        if self._clock() < self._refused_at_s + _DISK_RETRY_S:
            raise type(refused)(str(refused))
        size_bytes = _ROOM_BYTES + sum(len(request.envelope) for request in batch)
        self._refused_at_s = self._clock()
        await trio.to_thread.run_sync(self._store.probe, size_bytes)
        self._refused = None
        _log.warning("the disk takes records again")
