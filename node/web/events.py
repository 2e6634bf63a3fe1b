"""The stream of changes: numbered events, kept for a while, so that a client can resume.

An event's id is `EPOCH-NUMBER`; the epoch is drawn when the server starts, so that a client that
knew an earlier one is told to load everything again instead of being fed the wrong numbers.
Refuses to know what an event says.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

import trio

_KEPT_EVENTS_MAX: Final = 2_000
_KEPT_BYTES_MAX: Final = 8 << 20
_NUMBER_DIGITS_MAX: Final = 15


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes:
        number: Counts up from 1.
        frame: The event as `text/event-stream` bytes.
    """

    number: int
    frame: bytes


class EventLog:
    """The latest events, bounded in number and bytes.

    Args:
        epoch: Tells this log from every other one; letters and digits.
    """

    def __init__(self, epoch: str) -> None:
        assert epoch.isalnum()
        self._epoch = epoch
        self._events: deque[Event] = deque()
        self._bytes = 0
        self._last = 0
        self._grown = trio.Event()

    @property
    def cursor(self) -> str:
        """Id of the latest event; where a client goes on that knows everything up to now."""
        return f"{self._epoch}-{self._last}"

    def append(self, kind: str, data: str) -> None:
        """Add an event.

        Args:
            kind: Its name.
            data: One line of text.
        """
        assert "\n" not in data
        assert "\r" not in data
        self._last += 1
        frame = f"id: {self.cursor}\nevent: {kind}\ndata: {data}\n\n".encode()
        self._events.append(Event(self._last, frame))
        self._bytes += len(frame)
        while len(self._events) > _KEPT_EVENTS_MAX or (
            self._bytes > _KEPT_BYTES_MAX and len(self._events) > 1
        ):
            self._bytes -= len(self._events.popleft().frame)
        self._grown.set()
        self._grown = trio.Event()

    def position(self, cursor: str) -> int | None:
        """The number behind a cursor; None when the events after it are not all here any more."""
        epoch, _, digits = cursor.rpartition("-")
        if epoch != self._epoch or not digits.isascii() or not digits.isdigit():
            return None
        if len(digits) > _NUMBER_DIGITS_MAX:
            return None
        number = int(digits)
        oldest = self._events[0].number if self._events else self._last + 1
        return number if oldest - 1 <= number <= self._last else None

    def after(self, number: int) -> list[Event] | None:
        """The events after a number; None when some of them have been dropped already."""
        if number >= self._last:
            return []
        if not self._events or self._events[0].number > number + 1:
            return None
        skipped = number + 1 - self._events[0].number
        return [self._events[index] for index in range(skipped, len(self._events))]

    async def wait(self, number: int) -> None:
        """Wait until there is an event after a number."""
        while number >= self._last:
            await self._grown.wait()
