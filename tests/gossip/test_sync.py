"""Reconciliation against peers that lie, stall or ask without end."""

import pytest
import trio
import trio.testing

from gossip.core.messages import Get, Ranges, Records, SyncMessage, decode_sync, encode_sync
from gossip.errors import RequestError
from gossip.interface import SyncReport, Verdict
from gossip.net.streams import Frames
from gossip.net.sync import Synchroniser
from protocol.envelope import peek_id
from protocol.limits import SIGNATURE_BYTES
from protocol.limits_network import SYNC_GET_IDS_MAX
from tests.gossip.fakes import FakeStore, make_envelope

HONEST = b"\x01" * 32
LIAR = b"\x02" * 32


class CheckingStore(FakeStore):
    """Checks signatures: good ones are all zero."""

    def add(self, envelope: bytes) -> Verdict:
        if any(envelope[:SIGNATURE_BYTES]):
            return "rejected"
        return super().add(envelope)


class FullStore(FakeStore):
    """Cannot write for a while."""

    full = True

    def add(self, envelope: bytes) -> Verdict:
        return "deferred" if self.full else super().add(envelope)


def forged(number: int) -> bytes:
    """A true record's body under a signature that is none: its id is the true record's."""
    return b"\xff" * SIGNATURE_BYTES + make_envelope(number)[SIGNATURE_BYTES:]


class Pipe:
    """Frames from one side to the other, without a network."""

    def __init__(self) -> None:
        to_left, self._left = trio.open_memory_channel[bytes](64)
        to_right, self._right = trio.open_memory_channel[bytes](64)
        self.left = _End(to_right, self._left)
        self.right = _End(to_left, self._right)


class _End(Frames):
    def __init__(
        self, out: "trio.MemorySendChannel[bytes]", into: "trio.MemoryReceiveChannel[bytes]"
    ) -> None:
        self._out = out
        self._into = into

    async def send(self, payload: bytes) -> None:
        try:
            await self._out.send(payload)
        except trio.BrokenResourceError as error:
            raise RequestError("peer stopped listening") from error

    async def receive(self, bytes_max: int = 1 << 20) -> bytes:
        try:
            return await self._into.receive()
        except trio.EndOfChannel as error:
            raise RequestError("peer ended the stream") from error

    async def ask(self, message: SyncMessage) -> SyncMessage:
        await self.send(encode_sync(message))
        return decode_sync(await self.receive())

    def close(self) -> None:
        self._out.close()


def synchroniser(store: FakeStore, faults: list[bytes] | None = None) -> Synchroniser:
    noted: list[bytes] = [] if faults is None else faults
    return Synchroniser(
        store,
        clock=trio.current_time,
        on_fault=lambda node_id, _points, _words: noted.append(node_id),
    )


async def reconcile(ours: Synchroniser, theirs: Synchroniser, node_id: bytes) -> SyncReport:
    pipe = Pipe()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.serve, node_id, pipe.right)
        report = await ours.initiate(node_id, pipe.left)
        pipe.left.close()
    return report


async def test_a_forgery_does_not_keep_the_true_record_out() -> None:
    store, faults = CheckingStore(), list[bytes]()
    ours = synchroniser(store, faults)
    liar, honest = FakeStore(), FakeStore()
    liar.plant(forged(5), 5)
    honest.add(make_envelope(5))
    assert peek_id(forged(5)) == peek_id(make_envelope(5))
    assert (await reconcile(ours, synchroniser(liar), LIAR)).received == 0
    assert faults == [LIAR]
    # The liar is not asked for it again, and who has it is.
    assert (await reconcile(ours, synchroniser(liar), LIAR)).received == 0
    assert faults == [LIAR]
    assert (await reconcile(ours, synchroniser(honest), HONEST)).received == 1


@pytest.mark.parametrize("initiates", [True, False])
async def test_what_a_full_disk_deferred_is_taken_as_soon_as_there_is_room(initiates: bool) -> None:
    store, other = FullStore(), FakeStore()
    for number in range(SYNC_GET_IDS_MAX + 100):
        other.add(make_envelope(number))
    ours, theirs = synchroniser(store), synchroniser(other)

    async def run() -> SyncReport:
        if initiates:
            return await reconcile(ours, theirs, HONEST)
        return await reconcile(theirs, ours, HONEST)

    report = await run()
    assert report.received == 0
    assert not store.records
    if initiates:
        # One frame was wasted, not the whole set.
        assert not report.complete
        assert len(other.asked) <= SYNC_GET_IDS_MAX
    store.full = False
    assert (await run()).complete
    assert store.records == other.records


async def test_a_peer_that_stalls_is_left_and_others_are_asked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store, honest = FakeStore(), FakeStore()
    ours = synchroniser(store)
    for number in range(100):
        honest.add(make_envelope(number))
    theirs = synchroniser(honest)
    pipe = Pipe()

    async def stall() -> None:
        """Name every record, and then say no more."""
        for _ in range(2):
            message = decode_sync(await pipe.right.receive())
            if isinstance(message, Get):
                await trio.sleep_forever()
            assert isinstance(message, Ranges)
            answered = Pipe()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(theirs.serve, LIAR, answered.right)
                answer = await answered.left.ask(message)
                answered.left.close()
            await pipe.right.send(encode_sync(answer))

    started_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stall)
        with pytest.raises(RequestError, match="stalls"):
            await ours.initiate(LIAR, pipe.left)
        nursery.cancel_scope.cancel()
    assert trio.current_time() - started_s < 30
    assert (await reconcile(ours, theirs, HONEST)).received == 100


async def test_who_asks_without_end_waits_and_is_not_blamed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store, faults = FakeStore(), list[bytes]()
    for number in range(100):
        store.add(make_envelope(number))
    pipe = Pipe()
    started_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(synchroniser(store, faults).serve, LIAR, pipe.right)
        for _ in range(164):
            answer = await pipe.left.ask(Ranges(b"\x61\0\0\2\0"))
            assert isinstance(answer, Ranges)
        pipe.left.close()
    assert 9 < trio.current_time() - started_s < 20
    assert faults == []


async def test_a_batch_is_judged_one_by_one() -> None:
    store, faults = CheckingStore(), list[bytes]()
    pipe = Pipe()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(synchroniser(store, faults).serve, LIAR, pipe.right)
        offer = (make_envelope(1), forged(2), make_envelope(3))
        assert await pipe.left.ask(Records(3, offer)) == Records(3, ())
        pipe.left.close()
    assert set(store.records) == {peek_id(make_envelope(1)), peek_id(make_envelope(3))}
    assert faults == [LIAR]
