"""Blobs between real hosts: large, cut, resumed, wrong, absent."""

import hashlib
import random
from pathlib import Path

import pytest
import trio

from gossip.core.messages import BlobAnswer, decode_blob_request, encode_blob_answer
from gossip.errors import BlobUnavailableError
from gossip.net.blobs import BLOB_PROTOCOL, PART_SUFFIX, serve_blob
from gossip.net.host import Network
from gossip.net.streams import Frames, Server, Service
from tests.gossip.fakes import FakeStore
from tests.gossip.networks import serving, until, until_members

EIGHT_MIB = 8 * 1024 * 1024


def offer(store: FakeStore, folder: Path, data: bytes, *, name: str = "blob") -> bytes:
    digest = hashlib.sha256(data).digest()
    path = folder / name
    path.write_bytes(data)
    store.blobs[digest] = path
    return digest


def replace_blob_service(network: Network, service: Service) -> None:
    """Make a node answer blob requests in its own way."""
    assert network._running is not None
    server = Server(
        network._running.engine.host,
        refuses=lambda _: False,
        on_fault=lambda *_: None,
        on_heard=lambda _: None,
    )
    server.add(BLOB_PROTOCOL, 60, service)


class CountedFrames(Frames):
    """Notes the sizes of the frames that it sends."""

    def __init__(self, inner: Frames, sizes: list[int]) -> None:
        super().__init__(inner._stream)
        self.sizes = sizes

    async def send(self, payload: bytes) -> None:
        self.sizes.append(len(payload))
        await super().send(payload)


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, 256 * 1024 + 1, EIGHT_MIB])
async def test_blobs_of_all_sizes(tmp_path: Path, size: int) -> None:
    one, two = FakeStore(), FakeStore()
    data = random.Random(size).randbytes(size)
    digest = offer(one, tmp_path, data)
    async with serving(1, one) as first, serving(2, two, bootstrap=first.addresses) as second:
        await until_members(second, 1)
        sink = tmp_path / "got"
        await second.fetch_blob(digest, EIGHT_MIB, sink)
        assert sink.read_bytes() == data
        assert not sink.with_name(sink.name + PART_SUFFIX).exists()


async def test_a_cut_transfer_resumes(tmp_path: Path) -> None:
    one, two = FakeStore(), FakeStore()
    data = random.Random(1).randbytes(EIGHT_MIB)
    digest = offer(one, tmp_path, data)
    sink = tmp_path / "got"
    part = sink.with_name(sink.name + PART_SUFFIX)
    offsets: list[int] = []

    async def cut_half_way(node_id: bytes, frames: Frames) -> None:
        request = decode_blob_request(await frames.receive())
        offsets.append(request.offset)
        await frames.send(encode_blob_answer(BlobAnswer(len(data))))
        for start in range(0, EIGHT_MIB // 2, 256 * 1024):
            await frames.send(data[start : start + 256 * 1024])

    async with serving(1, one) as first, serving(2, two, bootstrap=first.addresses) as second:
        await until_members(second, 1)
        replace_blob_service(first, cut_half_way)
        with pytest.raises(BlobUnavailableError):
            await second.fetch_blob(digest, EIGHT_MIB, sink)
        assert offsets == [0]
        assert not sink.exists()
        assert part.read_bytes() == data[: EIGHT_MIB // 2]
        # Another node has it; the first half is not sent again.
        three = FakeStore()
        three.blobs = one.blobs
        async with serving(3, three) as third:
            served: list[int] = []

            async def count(node_id: bytes, frames: Frames) -> None:
                await serve_blob(three, CountedFrames(frames, served))

            replace_blob_service(third, count)
            await second.meet(third.addresses[0])
            await until_members(second, 2)
            await second.fetch_blob(digest, EIGHT_MIB, sink)
        assert sink.read_bytes() == data
        assert EIGHT_MIB // 2 <= sum(served) <= EIGHT_MIB // 2 + 100


async def test_wrong_bytes_are_refused_and_charged(tmp_path: Path) -> None:
    one, two = FakeStore(), FakeStore()
    digest = hashlib.sha256(b"right").digest()
    wrong = tmp_path / "wrong"
    wrong.write_bytes(b"wrong")
    one.blobs[digest] = wrong
    sink = tmp_path / "got"
    async with serving(1, one) as first, serving(2, two, bootstrap=first.addresses) as second:
        await until_members(second, 1)
        with pytest.raises(BlobUnavailableError, match="hash"):
            await second.fetch_blob(digest, 100, sink)
        assert list(tmp_path.glob("got*")) == []
        # The second time is one too many: the peer is banned and parted from.
        with pytest.raises(BlobUnavailableError):
            await second.fetch_blob(digest, 100, sink)
        await until(lambda: not second.peers())
        # It dials no more, and is not let in.
        await trio.sleep(1)
        assert second.peers() == []


async def test_a_poisoned_part_is_not_blamed_on_the_next_peer(tmp_path: Path) -> None:
    one, two = FakeStore(), FakeStore()
    data = random.Random(2).randbytes(300_000)
    digest = offer(one, tmp_path, data)
    sink = tmp_path / "got"
    sink.with_name(sink.name + PART_SUFFIX).write_bytes(b"poison")
    async with serving(1, one) as first, serving(2, two, bootstrap=first.addresses) as second:
        await until_members(second, 1)
        await second.fetch_blob(digest, EIGHT_MIB, sink)
        assert sink.read_bytes() == data


@pytest.mark.parametrize("lie", [b"x" * 11, b"", b"x" * 300_000])
async def test_chunks_that_do_not_add_up(tmp_path: Path, lie: bytes) -> None:
    one, two = FakeStore(), FakeStore()

    async def lies(node_id: bytes, frames: Frames) -> None:
        await frames.receive()
        await frames.send(encode_blob_answer(BlobAnswer(10)))
        await frames.send(lie)
        await trio.sleep(0.2)

    async with serving(1, one) as first, serving(2, two, bootstrap=first.addresses) as second:
        await until_members(second, 1)
        replace_blob_service(first, lies)
        with pytest.raises(BlobUnavailableError, match=r"add up|over the limit"):
            await second.fetch_blob(bytes(32), 100, tmp_path / "got")


async def test_absent_or_too_large_is_said(tmp_path: Path) -> None:
    one, two = FakeStore(), FakeStore()
    digest = offer(one, tmp_path, bytes(1_000))
    async with serving(1, one) as first, serving(2, two, bootstrap=first.addresses) as second:
        sink = tmp_path / "got"
        await until_members(second, 1)
        with pytest.raises(BlobUnavailableError, match="does not have"):
            await second.fetch_blob(bytes(32), 1_000, sink)
        with pytest.raises(BlobUnavailableError, match="1000 bytes, over 999"):
            await second.fetch_blob(digest, 999, sink)
        assert len(second.peers()) == 1
    async with serving(3, FakeStore()) as lonely:
        with pytest.raises(BlobUnavailableError, match="no peer"):
            await lonely.fetch_blob(digest, 1_000, sink)
