"""Blobs over a stream: both sides of `/swarm-node/blob/1`.

The asker names a digest and an offset; the answer is the blob's size, then its bytes from there
on in frames of at most 256 KiB. What was received is kept beside the target in a `.part` file, so
that a cut transfer goes on where it stopped, with any peer; only bytes with the right hash take
the target's name. This file refuses to know libp2p and what is in a blob.
"""

import hashlib
from pathlib import Path
from typing import Final

import trio

from gossip.core.messages import (
    BlobAnswer,
    BlobRequest,
    decode_blob_answer,
    decode_blob_request,
    encode_blob_answer,
    encode_blob_request,
)
from gossip.errors import GossipError
from gossip.interface import RecordStore
from gossip.net.streams import Frames
from protocol.errors import WireError
from protocol.limits_network import BLOB_CHUNK_BYTES, BLOB_STALL_S, HELLO_BYTES_MAX

BLOB_PROTOCOL: Final = "/swarm-node/blob/1"

PART_SUFFIX: Final = ".part"

_HASH_BYTES: Final = 1024 * 1024


class BlobMissingError(GossipError):
    """This peer does not have the blob, or says it is larger than wanted."""


class BlobMismatchError(GossipError):
    """The bytes received do not hash to the blob's name.

    Attributes:
        resumed: Whether an earlier transfer contributed, so that this peer may be innocent.
    """

    def __init__(self, message: str, *, resumed: bool) -> None:
        super().__init__(message)
        self.resumed = resumed


async def serve_blob(store: RecordStore, frames: Frames) -> None:
    """Answer one request."""
    request = decode_blob_request(await frames.receive(HELLO_BYTES_MAX))
    path = await store.open_blob(request.digest)
    if path is None:
        await frames.send(encode_blob_answer(BlobAnswer(size=None)))
        return
    async with await trio.open_file(path, "rb") as file:
        size = await file.seek(0, 2)
        if request.offset > size:
            raise WireError("offset past the end of the blob")
        await frames.send(encode_blob_answer(BlobAnswer(size=size)))
        await file.seek(request.offset)
        while chunk := await file.read(BLOB_CHUNK_BYTES):
            with trio.fail_after(BLOB_STALL_S):
                await frames.send(chunk)


async def fetch_blob(frames: Frames, digest: bytes, size_limit: int, sink: Path) -> None:
    """Fetch a blob from one peer, going on from what is there already.

    Args:
        frames: A fresh blob stream.
        digest: SHA-256 of the blob.
        size_limit: Largest size accepted, in bytes.
        sink: File to make; it appears only when it is complete and right.

    Raises:
        BlobMissingError: The peer lacks it, or it is over the limit.
        BlobMismatchError: The bytes are wrong; what was received is deleted.
        RequestError: The stream ended early; the part received is kept.
        WireError: The peer broke the protocol.
    """
    part = trio.Path(sink.with_name(sink.name + PART_SUFFIX))
    offset = await _part_size(part)
    if offset > size_limit:
        await part.unlink()
        offset = 0
    await frames.send(encode_blob_request(BlobRequest(digest=digest, offset=offset)))
    answer = decode_blob_answer(await frames.receive(HELLO_BYTES_MAX))
    if answer.size is None:
        raise BlobMissingError("the peer does not have the blob")
    if answer.size > size_limit:
        raise BlobMissingError(f"the peer's blob has {answer.size} bytes, over {size_limit}")
    hasher = hashlib.sha256()
    async with await trio.open_file(part, "ab+") as file:
        await file.seek(0)
        while earlier := await file.read(_HASH_BYTES):
            hasher.update(earlier)
        received = offset
        while received < answer.size:
            with trio.fail_after(BLOB_STALL_S):
                chunk = await frames.receive(BLOB_CHUNK_BYTES)
            if not chunk or received + len(chunk) > answer.size:
                raise WireError("chunks do not add up to the blob")
            await file.write(chunk)
            hasher.update(chunk)
            received += len(chunk)
    if hasher.digest() != digest:
        await part.unlink()
        raise BlobMismatchError("the bytes do not hash to the blob's name", resumed=offset > 0)
    await part.rename(sink)


async def _part_size(part: trio.Path) -> int:
    try:
        return (await part.stat()).st_size
    except FileNotFoundError:
        return 0
