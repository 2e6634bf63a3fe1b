"""Records that wait for a record they refer to: bounded, so that nobody can fill the memory.

What waits is no part of the state: dropping it is always safe, because whoever still has it will
offer it again. The oldest of the same author goes first, then the oldest of all.
"""

from collections import OrderedDict
from typing import Final

from protocol.records import Record

HELD_MAX: Final = 8192
"""Records that may wait at the same time."""

HELD_PER_AUTHOR_MAX: Final = 1024
"""Records of one author that may wait: nobody crowds out the others."""


class Waiting:
    """Held records, by the id that each waits for."""

    def __init__(self) -> None:
        self._missing: OrderedDict[bytes, bytes] = OrderedDict()
        self._by_missing: dict[bytes, dict[bytes, Record]] = {}
        self._by_author: dict[bytes, OrderedDict[bytes, None]] = {}

    def __len__(self) -> int:
        return len(self._missing)

    def __contains__(self, record_id: bytes) -> bool:
        return record_id in self._missing

    @property
    def missing(self) -> frozenset[bytes]:
        """Ids that are waited for."""
        return frozenset(self._by_missing)

    def hold(self, record: Record, missing: bytes) -> None:
        """Let a record wait for an id; the oldest makes room for it where a bound is reached."""
        if record.id in self._missing:
            return
        mine = self._by_author.get(record.author, OrderedDict())
        if len(mine) >= HELD_PER_AUTHOR_MAX:
            self._drop(next(iter(mine)))
        elif len(self._missing) >= HELD_MAX:
            self._drop(next(iter(self._missing)))
        self._missing[record.id] = missing
        self._by_missing.setdefault(missing, {})[record.id] = record
        self._by_author.setdefault(record.author, OrderedDict())[record.id] = None

    def release(self, identity: bytes) -> list[Record]:
        """Take out what waited for an id, in a fixed order."""
        waiting = self._by_missing.get(identity, {})
        return [self._drop(item) for item in sorted(waiting)]

    def _drop(self, record_id: bytes) -> Record:
        missing = self._missing.pop(record_id)
        waiting = self._by_missing[missing]
        record = waiting.pop(record_id)
        if not waiting:
            del self._by_missing[missing]
        mine = self._by_author[record.author]
        del mine[record_id]
        if not mine:
            del self._by_author[record.author]
        return record
