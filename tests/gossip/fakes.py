"""A store of records without meaning, for every test of the network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio

from gossip.core.index import RecordIndex
from gossip.core.messages import Hello
from gossip.interface import Verdict
from protocol.envelope import peek_id
from protocol.limits import SIGNATURE_BYTES

SWARM: Final = b"\x07" * 32
_TIME_BYTES: Final = 6
BAD_MARK: Final = b"BAD"
HELD_MARK: Final = b"HELD"


def make_envelope(number: int, *, created_ms: int | None = None, mark: bytes = b"good") -> bytes:
    """Bytes of the shape of an envelope: a signature's room, a time, and a body."""
    when = number if created_ms is None else created_ms
    body = when.to_bytes(_TIME_BYTES, "big") + mark + number.to_bytes(8, "big") * 25
    return bytes(SIGNATURE_BYTES) + body


class FakeStore:
    """Keeps envelopes in memory; records marked bad are rejected, records marked held are held."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}
        self.taken: list[tuple[bytes, bytes]] = []
        self.notices: list[bytes] = []
        self.blobs: dict[bytes, Path] = {}
        self.asked: list[bytes] = []
        self.genesis: bytes | None = None
        self._index = RecordIndex()
        self._changed = trio.Event()

    def add(self, envelope: bytes) -> Verdict:
        record_id = peek_id(envelope)
        mark = envelope[SIGNATURE_BYTES + _TIME_BYTES :]
        if mark.startswith(BAD_MARK):
            return "rejected"
        if mark.startswith(HELD_MARK):
            return "held"
        if record_id in self.records:
            return "known"
        self.records[record_id] = envelope
        head = envelope[SIGNATURE_BYTES : SIGNATURE_BYTES + _TIME_BYTES]
        self._index.insert(int.from_bytes(head, "big"), record_id)
        self._wake()
        return "accepted"

    def plant(self, envelope: bytes, created_ms: int) -> None:
        """Offer a record to others without having checked it, as a hostile node does."""
        self.records[peek_id(envelope)] = envelope
        self._index.insert(created_ms, peek_id(envelope))

    async def on_records(self, envelopes: Sequence[bytes], peer: bytes) -> list[Verdict]:
        self.taken += [(envelope, peer) for envelope in envelopes]
        return [self.add(envelope) for envelope in envelopes]

    async def on_notice(self, notice: bytes, peer: bytes) -> None:
        self.notices.append(notice)
        self._wake()

    def index(self) -> RecordIndex:
        return self._index

    async def envelopes(self, ids: Sequence[bytes]) -> list[bytes]:
        if self.genesis is not None and list(ids) == [SWARM]:
            return [self.genesis]
        self.asked += ids
        return [self.records[one] for one in ids if one in self.records]

    async def open_blob(self, digest: bytes) -> Path | None:
        return self.blobs.get(digest)

    def hello(self) -> Hello:
        return Hello(
            version="0.1.0",
            swarm=None,
            role="agent",
            head=None,
            records=len(self._index),
            digest=self._index.digest(),
        )

    async def wait_for(self, *, records: int = 0, notices: int = 0, timeout_s: float = 20) -> None:
        """Wait until so much is here."""
        with trio.fail_after(timeout_s):
            while len(self.records) < records or len(self.notices) < notices:
                await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
