"""A sorted set of (created_ms, id) with range fingerprints, fast while it grows.

Theory: the records lie in sorted blocks of at most 512. Each block keeps the sum of its ids modulo
2^256 and, on demand, the running sums inside it; the list of blocks keeps, on demand, the running
sums over blocks. An insert spoils the running sums of one block and of the blocks' list; a
fingerprint of any range is then two subtractions. So 100,000 records cost about 200 block sums
after an insert, not 100,000.

This file decides order and fingerprints. It refuses to know what a record is.
"""

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, Self

from protocol.limits_network import RECORD_TIME_MAX

_MODULUS_MASK: Final = (1 << 256) - 1
_BLOCK_MAX: Final = 512
FINGERPRINT_BYTES: Final = 16


class Key(NamedTuple):
    """Sort key of a record; with a shorter id it is a bound between records."""

    created_ms: int
    id: bytes


FIRST: Final = Key(0, b"")
INFINITY: Final = Key(RECORD_TIME_MAX, b"")


class _Block:
    """A run of neighbouring keys."""

    __slots__ = ("keys", "running", "total")

    def __init__(self, keys: list[Key]) -> None:
        self.keys = keys
        self.running: list[int] | None = None
        self.total = sum(int.from_bytes(key.id, "little") for key in keys) & _MODULUS_MASK

    def sum_before(self, offset: int) -> int:
        """Sum of the ids before an offset in this block."""
        if offset == 0:
            return 0
        if self.running is None:
            running, total = [0], 0
            for key in self.keys:
                total = (total + int.from_bytes(key.id, "little")) & _MODULUS_MASK
                running.append(total)
            self.running = running
        return self.running[offset]


class RecordIndex:
    """The set that reconciliation works on. Not safe for use from several threads."""

    def __init__(self, keys: Iterable[tuple[int, bytes]] = ()) -> None:
        ordered = sorted({_checked(created_ms, record_id) for created_ms, record_id in keys})
        self._blocks = [
            _Block(ordered[start : start + _BLOCK_MAX // 2])
            for start in range(0, len(ordered), _BLOCK_MAX // 2)
        ]
        self._lasts = [block.keys[-1] for block in self._blocks]
        self._count = len(ordered)
        self._starts: list[int] | None = None
        self._sums: list[int] | None = None

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Key]:
        for block in self._blocks:
            yield from block.keys

    def __contains__(self, key: tuple[int, bytes]) -> bool:
        number = bisect_left(self._lasts, key)
        if number == len(self._blocks):
            return False
        keys = self._blocks[number].keys
        offset = bisect_left(keys, key)
        return offset < len(keys) and keys[offset] == key

    def copy(self) -> Self:
        """An independent set with the same records."""
        return type(self)(self)

    def insert(self, created_ms: int, record_id: bytes) -> bool:
        """Add a record; False when it was there.

        Args:
            created_ms: Milliseconds, at least 0 and below `RECORD_TIME_MAX`.
            record_id: 32 bytes.
        """
        key = _checked(created_ms, record_id)
        if not self._blocks:
            self._blocks, self._lasts = [_Block([key])], [key]
            self._changed()
            return True
        number = min(bisect_left(self._lasts, key), len(self._blocks) - 1)
        block = self._blocks[number]
        offset = bisect_left(block.keys, key)
        if offset < len(block.keys) and block.keys[offset] == key:
            return False
        block.keys.insert(offset, key)
        block.total = (block.total + int.from_bytes(record_id, "little")) & _MODULUS_MASK
        block.running = None
        self._lasts[number] = block.keys[-1]
        if len(block.keys) > _BLOCK_MAX:
            half = len(block.keys) // 2
            parts = [_Block(block.keys[:half]), _Block(block.keys[half:])]
            self._blocks[number : number + 1] = parts
            self._lasts[number : number + 1] = [part.keys[-1] for part in parts]
        self._changed()
        return True

    def position(self, bound: tuple[int, bytes]) -> int:
        """How many records sort before a bound."""
        number = bisect_left(self._lasts, bound)
        if number == len(self._blocks):
            return self._count
        return self._running()[0][number] + bisect_left(self._blocks[number].keys, bound)

    def at(self, position: int) -> Key:
        """The record at a position."""
        number, offset = self._locate(position)
        return self._blocks[number].keys[offset]

    def between(self, low: int, high: int) -> Iterator[Key]:
        """The records at positions `low` to `high` (excluded), in order."""
        if low >= high:
            return
        number, offset = self._locate(low)
        left = high - low
        while left > 0:
            part = self._blocks[number].keys[offset : offset + left]
            yield from part
            left -= len(part)
            number, offset = number + 1, 0

    def fingerprint(self, low: int, high: int) -> bytes:
        """SHA-256(sum of ids mod 2^256, little-endian ‖ varint count)[:16], as in negentropy v1."""
        total = (self._sum_before(high) - self._sum_before(low)) & _MODULUS_MASK
        data = total.to_bytes(32, "little") + encode_varint(high - low)
        return hashlib.sha256(data).digest()[:FINGERPRINT_BYTES]

    def digest(self) -> bytes:
        """Fingerprint of the whole set: equal sets have equal digests."""
        return self.fingerprint(0, self._count)

    def _changed(self) -> None:
        self._count += 1
        self._starts = self._sums = None

    def _running(self) -> tuple[list[int], list[int]]:
        """Positions where blocks start, and sums before them."""
        if self._starts is None or self._sums is None:
            starts, sums = [0], [0]
            for block in self._blocks:
                starts.append(starts[-1] + len(block.keys))
                sums.append((sums[-1] + block.total) & _MODULUS_MASK)
            self._starts, self._sums = starts, sums
        return self._starts, self._sums

    def _locate(self, position: int) -> tuple[int, int]:
        """Block number and offset of a position."""
        assert 0 <= position < self._count
        starts = self._running()[0]
        number = bisect_right(starts, position) - 1
        return number, position - starts[number]

    def _sum_before(self, position: int) -> int:
        if position == self._count:
            return self._running()[1][-1]
        number, offset = self._locate(position)
        return self._running()[1][number] + self._blocks[number].sum_before(offset)


def encode_varint(number: int) -> bytes:
    """Base-128 digits, most significant first, all but the last with the high bit (negentropy)."""
    assert number >= 0
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.append(0x80 | (number & 0x7F))
    return bytes(reversed(digits))


def _checked(created_ms: int, record_id: bytes) -> Key:
    """Our own records are well-formed: the intake has checked them."""
    assert 0 <= created_ms < RECORD_TIME_MAX
    assert len(record_id) == 32
    return Key(created_ms, record_id)
