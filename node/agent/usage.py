"""The book of what the language model has cost, kept in the node's home.

This file decides whether another call may be made. The most that a call can cost is booked, on
disk, before the call is made, and replaced by its true cost afterwards. A node that is killed in
between has booked too much and never too little, so that no limit is ever passed. Several processes
may share one book: every change is made under a lock.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import fcntl
import json
import os
from typing import TYPE_CHECKING, Any, Final

from node.agent.prices import Used
from node.agent.proposal import AgentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_DAYS_KEPT: Final = 400
_FILE_BYTES_MAX: Final = 1 << 20
_VERSION: Final = 1


class BudgetError(AgentError):
    """The call could pass a limit, so it is not made."""


class UsageFileError(AgentError):
    """The book cannot be read or written, so no call is made."""


@dataclasses.dataclass(frozen=True, slots=True)
class Caps:
    """Limits; a day is one of UTC.

    Attributes:
        microusd: millionths of a dollar in all.
        microusd_per_day: millionths of a dollar in a day.
        tokens: tokens in all; None for no limit.
        tokens_per_day: tokens in a day; None for no limit.
    """

    microusd: int
    microusd_per_day: int
    tokens: int | None = None
    tokens_per_day: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Reservation:
    """A booked worst case.

    Attributes:
        day: the day that it was booked on.
        tokens: tokens booked.
        microusd: money booked.
    """

    day: str
    tokens: int
    microusd: int


@dataclasses.dataclass(frozen=True, slots=True)
class _Book:
    total: Used
    days: dict[str, Used]


class UsageBook:
    """The book of one home.

    Args:
        path: its file; created at the first reservation.
        caps: the limits.
        now_ms: the wall clock.
    """

    def __init__(self, path: Path, caps: Caps, now_ms: Callable[[], int]) -> None:
        self._path = path
        self._caps = caps
        self._now_ms = now_ms

    def reserve(self, tokens: int, microusd: int) -> Reservation:
        """Books the most that a call can take; returns only once that is durable.

        Raises:
            BudgetError: a limit could be passed.
            UsageFileError: the book cannot be used.
        """
        with self._locked():
            book, day = self._read(), self._day()
            self._check(book, day, tokens, microusd)
            self._write(_add(book, day, 1, tokens, microusd))
        return Reservation(day, tokens, microusd)

    def settle(self, reservation: Reservation, tokens: int, microusd: int) -> None:
        """Replaces a reservation by what was really used.

        Raises:
            UsageFileError: the book cannot be used; the reservation then stays booked.
        """
        with self._locked():
            self._write(
                _add(
                    self._read(),
                    reservation.day,
                    0,
                    tokens - reservation.tokens,
                    microusd - reservation.microusd,
                )
            )

    def used(self) -> tuple[Used, Used]:
        """Returns what was used in all, and today.

        Raises:
            UsageFileError: the book cannot be read.
        """
        book = self._read()
        return book.total, book.days.get(self._day(), Used())

    def _check(self, book: _Book, day: str, tokens: int, microusd: int) -> None:
        caps, today = self._caps, book.days.get(day, Used())
        for limit, used, more, words in (
            (caps.microusd, book.total.microusd, microusd, "agent_max_usd"),
            (caps.microusd_per_day, today.microusd, microusd, "agent_max_usd_per_day"),
            (caps.tokens, book.total.tokens, tokens, "agent_max_tokens"),
            (caps.tokens_per_day, today.tokens, tokens, "agent_max_tokens_per_day"),
        ):
            if limit is not None and used + more > limit:
                if "usd" in words:
                    figures = (
                        f"${used / 1e6:.2f} of ${limit / 1e6:.2f} are spent, and a call can cost"
                        f" ${more / 1e6:.2f}"
                    )
                else:
                    figures = f"{used} of {limit} tokens are used, and a call can take {more}"
                raise BudgetError(f"the next call could pass {words}: {figures}")

    def _day(self) -> str:
        at = dt.datetime.fromtimestamp(self._now_ms() / 1000, dt.UTC)
        return at.date().isoformat()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            with self._path.with_suffix(".lock").open("a") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise UsageFileError(f"cannot write {self._path}: {error.strerror}") from error

    def _read(self) -> _Book:
        try:
            with self._path.open("rb") as file:
                raw = file.read(_FILE_BYTES_MAX + 1)
        except FileNotFoundError:
            return _Book(Used(), {})
        except OSError as error:
            raise UsageFileError(f"cannot read {self._path}: {error.strerror}") from error
        try:
            value = json.loads(raw[:_FILE_BYTES_MAX])
            if value["version"] != _VERSION:
                raise ValueError
            days = {str(day): _used(used) for day, used in value["days"].items()}
            return _Book(_used(value["total"]), days)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            # Beginning anew would forget what was spent: only its owner may decide that.
            raise UsageFileError(
                f"{self._path} is damaged; delete it to begin a new account"
            ) from error

    def _write(self, book: _Book) -> None:
        days = dict(sorted(book.days.items())[-_DAYS_KEPT:])
        value = {
            "version": _VERSION,
            "total": dataclasses.asdict(book.total),
            "days": {day: dataclasses.asdict(used) for day, used in days.items()},
        }
        partial = self._path.with_suffix(".partial")
        with partial.open("w") as file:
            json.dump(value, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _add(book: _Book, day: str, calls: int, tokens: int, microusd: int) -> _Book:
    today = book.days.get(day, Used()).plus(calls, tokens, microusd)
    return _Book(book.total.plus(calls, tokens, microusd), {**book.days, day: today})


def _used(value: Any) -> Used:
    fields = {name: value[name] for name in ("calls", "tokens", "microusd")}
    if any(type(number) is not int or number < 0 for number in fields.values()):
        raise ValueError
    return Used(**fields)
