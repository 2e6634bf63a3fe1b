"""Range-based set reconciliation: which records does the other side have, which does it lack?

Theory of operation (A. Meyer, "Range-Based Set Reconciliation", 2023; algorithm and bytes follow
negentropy protocol version 1). Both sides sort their records by (created_ms, id). A message covers
the line from the beginning to infinity with ranges; each says *skip*, or a *fingerprint* of the
sender's records in the range, or *lists* their ids. Whoever receives a fingerprint that differs
from its own splits the range into sixteen smaller ones, or lists its ids when they are few. The
initiator compares lists; so the initiator learns everything and the responder keeps no state.

A message that would exceed its size ends with one fingerprint over all that is left, and the next
round goes on from there. `Reconciliation` ends after a bounded number of rounds and ids whatever
the other side sends; what is left is found by the next run.

This file decides what to ask and answer. It refuses to know transports, records and time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, assert_never

from gossip.core.index import FINGERPRINT_BYTES, FIRST, INFINITY, Key, RecordIndex, encode_varint
from protocol.errors import WireError
from protocol.limits import ID_BYTES
from protocol.limits_network import (
    RECORD_TIME_MAX,
    SYNC_IDS_MAX,
    SYNC_MESSAGE_BYTES_MAX,
    SYNC_RANGES_MAX,
    SYNC_ROUNDS_MAX,
)

VERSION: Final = 0x61
"""Negentropy's byte for its protocol version 1."""

_BUCKETS: Final = 16
_LIST_MAX: Final = 2 * _BUCKETS
"""Ranges with fewer records than this are listed, not split."""

_TAIL_BYTES: Final = 64
"""Kept free in a message for its closing fingerprint range."""

_TAIL_RANGES: Final = 4
"""Kept free for it as well: it, the one before it, and what is skipped before either."""


@dataclass(frozen=True, slots=True)
class Skip:
    """Nothing to say about a range."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Fingerprint of the sender's records in a range, 16 bytes."""

    value: bytes


@dataclass(frozen=True, slots=True)
class IdList:
    """All ids of the sender's records in a range."""

    ids: tuple[bytes, ...]


Content = Skip | Fingerprint | IdList


@dataclass(frozen=True, slots=True)
class Range:
    """What is said about the records from the previous range's end up to `upper` (excluded)."""

    upper: Key
    content: Content


@dataclass(frozen=True, slots=True)
class Advance:
    """What the initiator learnt from one answer.

    Attributes:
        message: The next message to send; None when the run is over.
        have_ids: Records that only the initiator has, in record order.
        need_ids: Records that only the responder has, in record order.
        complete: Whether the whole line was compared; False after a bound ended the run.
    """

    message: bytes | None
    have_ids: tuple[bytes, ...]
    need_ids: tuple[bytes, ...]
    complete: bool


class Reconciliation:
    """The initiator's side of one run: `initiate` once, then `advance` with each answer."""

    def __init__(
        self, index: RecordIndex, *, message_bytes_max: int = SYNC_MESSAGE_BYTES_MAX
    ) -> None:
        assert message_bytes_max >= 2 * _TAIL_BYTES + _LIST_MAX * ID_BYTES
        self._index = index
        self._bytes_max = message_bytes_max
        self._rounds = 0
        self._ids = 0

    def initiate(self) -> bytes:
        """The first message."""
        writer = _Writer(self._index, self._bytes_max)
        _split(self._index, FIRST, INFINITY, writer)
        return writer.finish()

    def advance(self, answer: bytes) -> Advance:
        """Digest the responder's answer.

        Raises:
            WireError: The answer is malformed.
        """
        self._rounds += 1
        writer = _Writer(self._index, self._bytes_max)
        have: list[bytes] = []
        need: list[bytes] = []
        lower = FIRST
        for part in parse_message(answer, bytes_max=self._bytes_max):
            if writer.full:
                # The closing fingerprint covers this range; it will be compared next round.
                break
            match part.content:
                case Skip():
                    writer.skip(part.upper)
                case Fingerprint(value):
                    _answer_fingerprint(self._index, lower, part.upper, value, writer)
                case IdList(ids):
                    low, high = self._index.position(lower), self._index.position(part.upper)
                    theirs = dict.fromkeys(ids)
                    for key in self._index.between(low, high):
                        if key.id in theirs:
                            del theirs[key.id]
                        else:
                            have.append(key.id)
                    need.extend(theirs)
                    writer.skip(part.upper)
                case _ as never:
                    assert_never(never)
            lower = part.upper
        self._ids += len(have) + len(need)
        finished = not writer.says_something
        exhausted = self._rounds >= SYNC_ROUNDS_MAX or self._ids >= SYNC_IDS_MAX
        return Advance(
            message=None if finished or exhausted else writer.finish(),
            have_ids=tuple(have),
            need_ids=tuple(need),
            complete=finished,
        )


def respond(
    index: RecordIndex, message: bytes, *, message_bytes_max: int = SYNC_MESSAGE_BYTES_MAX
) -> bytes:
    """The responder's answer to one message; it keeps no state between messages.

    Raises:
        WireError: The message is malformed.
    """
    writer = _Writer(index, message_bytes_max)
    lower = FIRST
    for part in parse_message(message, bytes_max=message_bytes_max):
        if writer.full:
            break
        match part.content:
            case Skip():
                writer.skip(part.upper)
            case Fingerprint(value):
                _answer_fingerprint(index, lower, part.upper, value, writer)
            case IdList():
                writer.list_ids(lower, part.upper)
            case _ as never:
                assert_never(never)
        lower = part.upper
    return writer.finish()


def parse_message(data: bytes, *, bytes_max: int = SYNC_MESSAGE_BYTES_MAX) -> list[Range]:
    """Decode a message into ranges in ascending order.

    Raises:
        WireError: Too long, too many ranges, another version, truncated, unordered or with a
            wrong count.
    """
    if len(data) > bytes_max:
        raise WireError(f"reconciliation message of {len(data)} bytes is over {bytes_max}")
    if not data or data[0] != VERSION:
        raise WireError("unknown version of the reconciliation protocol")
    ranges = list(islice(_Reader(data).ranges(), SYNC_RANGES_MAX + 1))
    if len(ranges) > SYNC_RANGES_MAX:
        raise WireError(f"reconciliation message of more than {SYNC_RANGES_MAX} ranges")
    return ranges


class _Reader:
    """Cursor over a message's bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 1
        self._time = 0

    def ranges(self) -> Iterator[Range]:
        lower = FIRST
        while self._at < len(self._data):
            if lower == INFINITY:
                raise WireError("range after infinity")
            upper = self._bound()
            if upper <= lower:
                raise WireError("ranges are not in ascending order")
            mode = self._varint()
            content: Content
            match mode:
                case 0:
                    content = Skip()
                case 1:
                    content = Fingerprint(self._take(FINGERPRINT_BYTES))
                case 2:
                    count = self._varint()
                    ids = self._take(count * ID_BYTES)
                    content = IdList(
                        tuple(
                            ids[start : start + ID_BYTES] for start in range(0, len(ids), ID_BYTES)
                        )
                    )
                case _:
                    raise WireError(f"unknown range mode {mode}")
            yield Range(upper, content)
            lower = upper

    def _take(self, count: int) -> bytes:
        if count > len(self._data) - self._at:
            raise WireError("reconciliation message ends too early")
        part = self._data[self._at : self._at + count]
        self._at += count
        return part

    def _varint(self) -> int:
        number = 0
        for _ in range(10):
            byte = self._take(1)[0]
            number = (number << 7) | (byte & 0x7F)
            if byte < 0x80:
                return number
        raise WireError("number is too long")

    def _bound(self) -> Key:
        code = self._varint()
        prefix_bytes_at = self._at
        size = self._varint()
        if size > ID_BYTES:
            raise WireError(f"id prefix of {size} bytes at offset {prefix_bytes_at}")
        prefix = self._take(size)
        if code == 0:
            if prefix:
                raise WireError("infinity with an id")
            return INFINITY
        self._time += code - 1
        if self._time >= RECORD_TIME_MAX:
            raise WireError("time out of range")
        return Key(self._time, prefix)


class _Writer:
    """A message under construction: neighbouring skips are one, and its size is bounded."""

    def __init__(self, index: RecordIndex, bytes_max: int) -> None:
        self._index = index
        self._out = bytearray([VERSION])
        self._bytes_max = bytes_max - _TAIL_BYTES
        self._time = 0
        self._ranges = 0
        self._covered = FIRST
        self._skip_to: Key | None = None
        self.says_something = False
        self.full = False

    def skip(self, upper: Key) -> None:
        """Say nothing up to `upper`."""
        if not self.full:
            self._skip_to = upper
            self._covered = upper

    def fingerprint(self, upper: Key, value: bytes) -> None:
        """State a fingerprint of the records up to `upper`."""
        if self._room(2 * _TAIL_BYTES):
            self._range(upper, 1, value)

    def list_ids(self, lower: Key, upper: Key) -> None:
        """List the records from `lower` to `upper`, as many as fit."""
        if not self._room(2 * _TAIL_BYTES):
            return
        low, high = self._index.position(lower), self._index.position(upper)
        room = (self._bytes_max - len(self._out) - 2 * _TAIL_BYTES) // ID_BYTES
        if high - low > room:
            if room <= 0:
                self.full = True
                return
            # The list ends between two records, and the closing fingerprint covers the rest.
            high = low + room
            upper = self._index.at(high)
        ids = b"".join(key.id for key in self._index.between(low, high))
        cut = high - low == room
        self._range(upper, 2, encode_varint(high - low) + ids)
        self.full = self.full or cut

    def finish(self) -> bytes:
        """The message's bytes. What did not fit becomes one fingerprint up to infinity."""
        if self.full and self._covered < INFINITY:
            low = self._index.position(self._covered)
            self._range(INFINITY, 1, self._index.fingerprint(low, len(self._index)))
        return bytes(self._out)

    def _room(self, wanted: int) -> bool:
        if (
            len(self._out) + wanted > self._bytes_max
            or self._ranges + _TAIL_RANGES > SYNC_RANGES_MAX
        ):
            self.full = True
        self.says_something = True
        return not self.full

    def _range(self, upper: Key, mode: int, payload: bytes) -> None:
        if self._skip_to is not None:
            self._out += self._bound(self._skip_to) + b"\0"
            self._skip_to = None
            self._ranges += 1
        self._ranges += 1
        self._out += self._bound(upper) + bytes([mode]) + payload
        self._covered = upper
        self.says_something = True

    def _bound(self, bound: Key) -> bytes:
        if bound == INFINITY:
            return encode_varint(0) + encode_varint(0)
        code = encode_varint(1 + bound.created_ms - self._time)
        self._time = bound.created_ms
        return code + encode_varint(len(bound.id)) + bound.id


def _answer_fingerprint(
    index: RecordIndex, lower: Key, upper: Key, theirs: bytes, writer: _Writer
) -> None:
    """Skip an equal range, split or list an unequal one."""
    if writer.full:
        return
    low, high = index.position(lower), index.position(upper)
    if index.fingerprint(low, high) == theirs:
        writer.skip(upper)
    else:
        _split(index, lower, upper, writer)


def _split(index: RecordIndex, lower: Key, upper: Key, writer: _Writer) -> None:
    """Say more about a range: its ids when they are few, else sixteen fingerprints."""
    low, high = index.position(lower), index.position(upper)
    count = high - low
    if count < _LIST_MAX:
        writer.list_ids(lower, upper)
        return
    size, extra = divmod(count, _BUCKETS)
    start = low
    for bucket in range(_BUCKETS):
        end = start + size + (1 if bucket < extra else 0)
        last = bucket == _BUCKETS - 1
        bound = upper if last else _between(index.at(end - 1), index.at(end))
        writer.fingerprint(bound, index.fingerprint(start, end))
        start = end


def _between(before: Key, after: Key) -> Key:
    """The shortest bound that separates two neighbouring records."""
    if before.created_ms != after.created_ms:
        return Key(after.created_ms, b"")
    shared = 0
    while before.id[shared] == after.id[shared]:
        shared += 1
    return Key(after.created_ms, after.id[: shared + 1])
