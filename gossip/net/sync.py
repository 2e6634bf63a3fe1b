"""Reconciliation over a stream: both sides of `/swarm-node/sync/1`.

The initiator sends reconciliation messages, fetches what it lacks and offers what the peer lacks,
all in one stream; the responder answers each frame with one. This file decides in which frames
records travel. It refuses to know libp2p and what a record means.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar, assert_never

import trio

from gossip.core.messages import Get, Ranges, Records, SyncMessage, decode_sync, encode_sync
from gossip.core.rates import FAULT_RECORD, SeenCache, TokenBuckets
from gossip.core.reconcile import Reconciliation, respond
from gossip.errors import RequestError
from gossip.interface import RecordStore, SyncReport, Verdict
from gossip.net.streams import Frames
from protocol.envelope import peek_id
from protocol.errors import WireError
from protocol.limits_network import (
    SYNC_GET_IDS_MAX,
    SYNC_RECORDS_BYTES_MAX,
    SYNC_ROUNDS_MAX,
    SYNC_STALL_S,
)

SYNC_PROTOCOL: Final = "/swarm-node/sync/1"

_FRAMES_MAX: Final = SYNC_ROUNDS_MAX * 8
"""Frames that a responder answers in one stream."""

_COLLECT_IDS: Final = 16
"""Records that a responder reads from its store at once."""

_SETTLED_KEEP_S: Final = 60.0
"""How long a record that was held or rejected is neither asked for nor judged again."""

_QUESTIONS_PER_S: Final = 10.0
"""Reconciliation messages answered to one peer, sustained."""

_QUESTIONS_BURST: Final = 64.0
"""Reconciliation messages answered to one peer at once: more than an ordinary run has."""

T = TypeVar("T")

Fault = Callable[[bytes, float, str], None]


class Synchroniser:
    """Reconciles our store with peers, as initiator and as responder."""

    def __init__(self, store: RecordStore, *, clock: Callable[[], float], on_fault: Fault) -> None:
        """Work on a store.

        Args:
            store: The node's records.
            clock: Monotonic seconds.
            on_fault: Called with a node id, points, and words.
        """
        self._store = store
        self._clock = clock
        self._on_fault = on_fault
        self._fetching: set[bytes] = set()
        self._held = SeenCache(keep_s=_SETTLED_KEEP_S)
        self._rejected = SeenCache(keep_s=_SETTLED_KEEP_S)
        self._questions = TokenBuckets(rate_per_s=_QUESTIONS_PER_S, burst=_QUESTIONS_BURST)

    async def initiate(self, node_id: bytes, frames: Frames) -> SyncReport:
        """One reconciliation that we start.

        Raises:
            RequestError: The stream ended early.
            WireError: The peer broke the protocol.
        """
        run = Reconciliation(self._store.index())
        message: bytes | None = run.initiate()
        received = sent = 0
        complete = False
        while message is not None:
            await frames.send(encode_sync(Ranges(message)))
            answer = await _answer(frames)
            if not isinstance(answer, Ranges):
                raise WireError("expected a reconciliation message")
            step = run.advance(answer.message)
            new, deferred = await self._fetch(node_id, frames, step.need_ids)
            received += new
            if deferred:
                # Nothing more that it sends could be kept. The next run asks for it again.
                return SyncReport(received=received, sent=sent, complete=False)
            sent += await self._offer(frames, step.have_ids)
            message, complete = step.message, step.complete
        return SyncReport(received=received, sent=sent, complete=complete)

    async def serve(self, node_id: bytes, frames: Frames) -> None:
        """Answer a peer that reconciles with us, until it closes the stream."""
        for _ in range(_FRAMES_MAX):
            try:
                data = await frames.receive()
            except RequestError:
                return
            match decode_sync(data):
                case Ranges(message):
                    # Comparing costs the most of all that a peer may ask for; nobody is refused,
                    # but whoever asks without end waits.
                    while not self._questions.take(node_id, 1, self._clock()):  # noqa: ASYNC110
                        await trio.sleep(1 / _QUESTIONS_PER_S)
                    await frames.send(encode_sync(Ranges(respond(self._store.index(), message))))
                case Get(ids):
                    await frames.send(encode_sync(await self._collect(ids)))
                case Records(_, envelopes):
                    await self._take(node_id, envelopes)
                    await frames.send(encode_sync(Records(len(envelopes), ())))
        raise WireError("reconciliation without end")

    async def _fetch(
        self, node_id: bytes, frames: Frames, need: Sequence[bytes]
    ) -> tuple[int, bool]:
        """Ask for records that we lack; how many were new, and whether our store deferred any."""
        now_s = self._clock()
        wanted = [
            record_id
            for record_id in need
            if record_id not in self._fetching and not self._is_settled(node_id, record_id, now_s)
        ]
        self._fetching.update(wanted)
        received = 0
        try:
            waiting = list(reversed(wanted))
            while waiting:
                asked = tuple(reversed(waiting[-SYNC_GET_IDS_MAX:]))
                await frames.send(encode_sync(Get(asked)))
                answer = await _answer(frames)
                if not isinstance(answer, Records):
                    raise WireError("expected records")
                if not len(answer.envelopes) <= answer.answered <= len(asked):
                    raise WireError("more records than were asked for")
                if answer.answered == 0:
                    raise WireError("an answer to none of the ids asked for")
                if not {peek_id(envelope) for envelope in answer.envelopes} <= set(asked):
                    raise WireError("records that were not asked for")
                verdicts = await self._take(node_id, answer.envelopes)
                received += verdicts.count("accepted")
                if "deferred" in verdicts:
                    return received, True
                del waiting[-answer.answered :]
        finally:
            self._fetching.difference_update(wanted)
        return received, False

    async def _offer(self, frames: Frames, have: Sequence[bytes]) -> int:
        """Send records that the peer lacks; how many."""
        sent = 0
        for ids in _chunks(have, SYNC_GET_IDS_MAX):
            for group in _by_size(await self._store.envelopes(ids)):
                await frames.send(encode_sync(Records(len(group), tuple(group))))
                answer = await _answer(frames)
                if not isinstance(answer, Records) or answer.envelopes:
                    raise WireError("expected a receipt")
                sent += len(group)
        return sent

    async def _collect(self, ids: tuple[bytes, ...]) -> Records:
        """The answer to a `Get`: as many of the ids, in order, as fit in one frame."""
        envelopes: list[bytes] = []
        size = answered = 0
        # In small groups, since a group of the largest envelopes is held in memory at once.
        for group in _chunks(ids, _COLLECT_IDS):
            found = {peek_id(one): one for one in await self._store.envelopes(group)}
            for record_id in group:
                envelope = found.get(record_id, b"")
                size += len(envelope)
                if size > SYNC_RECORDS_BYTES_MAX:
                    return Records(answered, tuple(envelopes))
                answered += 1
                if envelope:
                    envelopes.append(envelope)
        return Records(answered, tuple(envelopes))

    async def _take(self, node_id: bytes, envelopes: Sequence[bytes]) -> list[Verdict]:
        """Hand those records to the store that were not judged a moment ago, in their order."""
        now_s = self._clock()
        fresh = [one for one in envelopes if not self._is_settled(node_id, peek_id(one), now_s)]
        if not fresh:
            return []
        verdicts = await self._store.on_records(fresh, node_id)
        for envelope, verdict in zip(fresh, verdicts, strict=True):
            record_id = peek_id(envelope)
            match verdict:
                case "accepted" | "known" | "deferred":
                    pass
                case "held":
                    self._held.add(record_id, now_s)
                case "rejected":
                    # The id covers the body and not the signature: what this peer forged may be
                    # had in its true form from another.
                    self._rejected.add(node_id + record_id, now_s)
                    self._on_fault(node_id, FAULT_RECORD, "a rejected record in a reconciliation")
                case _ as never:
                    assert_never(never)
        return verdicts

    def _is_settled(self, node_id: bytes, record_id: bytes, now_s: float) -> bool:
        """Whether a record from this peer was judged a moment ago."""
        return self._held.has(record_id, now_s) or self._rejected.has(node_id + record_id, now_s)


async def _answer(frames: Frames) -> SyncMessage:
    """The responder's next frame.

    Raises:
        RequestError: It keeps us waiting, and with us whoever else has what we asked it for.
    """
    with trio.move_on_after(SYNC_STALL_S):
        return decode_sync(await frames.receive())
    raise RequestError("the peer stalls in a reconciliation")


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _by_size(envelopes: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Groups of envelopes that fit in one frame each."""
    group: list[bytes] = []
    size = 0
    for envelope in envelopes:
        if group and size + len(envelope) > SYNC_RECORDS_BYTES_MAX:
            yield group
            group, size = [], 0
        group.append(envelope)
        size += len(envelope)
    if group:
        yield group
