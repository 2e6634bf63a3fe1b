"""Reading checked values from a parsed TOML table.

This file decides how a fault in a task file is told: by its key and its line. Every value is
checked when it is taken, and `finish` refuses keys that nobody took, so that a typing error is an
error and not a silent default.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final, TypeVar

from trainer.job import TrainerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_REQUIRED: Final = object()
_Choice = TypeVar("_Choice", bound=str)


class TaskError(TrainerError):
    """A task, or the file or bundle that describes it, is not valid."""


class Table:
    """One table of a TOML file, with the values that were not taken yet."""

    def __init__(self, values: Mapping[str, Any], where: str, text: str) -> None:
        """Wraps a table.

        Args:
            values: the parsed table.
            where: file name and path of keys, for messages.
            text: the whole file, to find lines in.
        """
        self._values = dict(values)
        self._where = where
        self._text = text

    def text(
        self, key: str, pattern: re.Pattern[str], wanted: str, *, default: str | None = None
    ) -> str:
        """Takes a string that matches a pattern from end to end."""
        value = self._take(key, _REQUIRED if default is None else default)
        if not isinstance(value, str) or (value != default and not pattern.fullmatch(value)):
            raise self.fault(key, f"must be {wanted}")
        return value

    def texts(
        self,
        key: str,
        pattern: re.Pattern[str],
        wanted: str,
        *,
        most: int,
        default: tuple[str, ...] | None = None,
    ) -> tuple[str, ...]:
        """Takes a list of at most `most` strings that match a pattern."""
        value = self._take(key, _REQUIRED if default is None else list(default))
        if not isinstance(value, list) or len(value) > most:
            raise self.fault(key, f"must be a list of at most {most}")
        if not all(isinstance(item, str) and pattern.fullmatch(item) for item in value):
            raise self.fault(key, f"must be a list of {wanted}")
        return tuple(value)

    def one_or_more(
        self, key: str, pattern: re.Pattern[str], wanted: str, *, most: int
    ) -> tuple[str, ...]:
        """Takes a string that matches a pattern, or a list of 1 to `most` different ones."""
        value = self._values.get(key)
        if not isinstance(value, list):
            return (self.text(key, pattern, f"a {wanted}"),)
        found = self.texts(key, pattern, f"different {wanted}s", most=most)
        if len(set(found)) != len(found) or not found:
            raise self.fault(key, f"must be a list of different {wanted}s")
        return found

    def choice(
        self, key: str, choices: tuple[_Choice, ...], *, default: _Choice | None = None
    ) -> _Choice:
        """Takes one of a few words."""
        value = self._take(key, _REQUIRED if default is None else default)
        for choice in choices:
            if value == choice:
                return choice
        raise self.fault(key, f"must be one of {', '.join(choices)}")

    def integer(self, key: str, least: int, most: int, *, default: int | None = None) -> int:
        """Takes an integer within bounds."""
        value = self._take(key, _REQUIRED if default is None else default)
        if type(value) is not int or not least <= value <= most:
            raise self.fault(key, f"must be an integer from {least} to {most}")
        return value

    def integers(self, key: str, least: int, most_value: int, *, most: int) -> tuple[int, ...]:
        """Takes a list of at most `most` different integers within bounds."""
        value = self._take(key, _REQUIRED)
        if not isinstance(value, list) or len(value) > most:
            raise self.fault(key, f"must be a list of at most {most}")
        if not all(type(item) is int and least <= item <= most_value for item in value):
            raise self.fault(key, f"must be a list of integers from {least} to {most_value}")
        if len(set(value)) != len(value):
            raise self.fault(key, "names one number twice")
        return tuple(value)

    def numbers(self, pattern: re.Pattern[str]) -> dict[str, int | float]:
        """Takes everything that is left: finite numbers under names that match a pattern."""
        numbers: dict[str, int | float] = {}
        for key in sorted(self._values):
            value = self._take(key, _REQUIRED)
            if not pattern.fullmatch(key):
                raise self.fault(key, "is not a constant's name")
            if type(value) not in {int, float} or not math.isfinite(value):
                raise self.fault(key, "must be a number")
            numbers[key] = value
        return numbers

    def table(self, key: str, *, default: Mapping[str, Any] | None = None) -> Table:
        """Takes a table."""
        value = self._take(key, _REQUIRED if default is None else default)
        if not isinstance(value, dict):
            raise self.fault(key, "must be a table")
        return Table(value, f"{self._where}: {key}", self._text)

    def has(self, key: str) -> bool:
        """Says whether a key is there and was not taken yet."""
        return key in self._values

    def tables(
        self, pattern: re.Pattern[str], *, most: int, least: int = 1
    ) -> Iterator[tuple[str, Table]]:
        """Takes everything that is left: `least` to `most` tables under matching names."""
        if not least <= len(self._values) <= most:
            raise TaskError(f"{self._where} must have between {least} and {most} tables")
        for key in list(self._values):
            if not pattern.fullmatch(key):
                raise self.fault(key, "is not a valid name")
            yield key, self.table(key)

    def finish(self) -> None:
        """Refuses keys that were not taken."""
        for key in self._values:
            raise self.fault(key, "is not a known key")

    def _take(self, key: str, default: Any) -> Any:
        value = self._values.pop(key, default)
        if value is _REQUIRED:
            raise TaskError(f"{self._where} lacks the key {key}")
        return value

    def fault(self, key: str, what: str) -> TaskError:
        """Returns the error that a key is wrong, with its line."""
        line = self._line(key)
        return TaskError(f"{self._where}: {key} {what}" + (f" (line {line})" if line else ""))

    def _line(self, key: str) -> int:
        """Returns the first line that names the key after the table's own heading, or 0."""
        lines = self._text.splitlines()
        start = 0
        path = self._where.split(": ")[1:]
        heading = re.compile(r"\s*\[\s*" + r"\s*\.\s*".join(map(re.escape, path)) + r"\s*\]")
        if path:
            start = next((i for i, line in enumerate(lines) if heading.match(line)), 0)
        named = re.compile(rf"(?:^|[\s{{,.\[\"']){re.escape(key)}[\"']?\s*(?:=|\.|\])")
        for number, line in enumerate(lines[start:], start + 1):
            if named.search(line):
                return number
        return 0
