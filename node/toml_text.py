"""Where the values of a TOML file stand, so that one can be changed and all else stays.

This file decides which values have a place: those that stand on one line behind their plain key,
below a table of plain keys or none. Others (values over several lines, arrays of tables, dotted or
quoted keys) have none; whoever edits them edits text. It refuses to know what a value is for. The
text is hostile: what cannot be read has no places.
"""

import re
import tomllib
from dataclasses import dataclass
from typing import Any, Final

_TABLE: Final = re.compile(r"\s*\[\s*([A-Za-z0-9_-]+(?:\s*\.\s*[A-Za-z0-9_-]+)*)\s*\]\s*(?:#.*)?")
_ANY_TABLE: Final = re.compile(r"\s*\[")
_KEY: Final = re.compile(r"(\s*([A-Za-z0-9_-]+)\s*=\s*)(\S.*)")


@dataclass(frozen=True, slots=True)
class Place:
    """One value.

    Attributes:
        name: its key behind the keys of its table, with dots between them.
        start: where its text begins, in bytes of the file.
        end: where its text ends.
        text: as it is written.
        value: as it is read.
        comment: what stands behind it on its line, without the sign; empty without one.
        line: number of its line, from 0.
    """

    name: str
    start: int
    end: int
    text: str
    value: Any
    comment: str
    line: int

    @property
    def meaning(self) -> str:
        """Equal for values that mean the same."""
        return f"{type(self.value).__name__}:{self.value!r}"


def places(text: str) -> dict[str, Place]:
    """Returns every value that has a place, by name, in the order of the text."""
    try:
        table: Any = tomllib.loads(text)
    except (ValueError, RecursionError):
        return {}
    found: dict[str, Place] = {}
    prefix: str | None = ""
    start = 0
    for number, line in enumerate(text.split("\n")):
        heading = _TABLE.fullmatch(line)
        if heading is not None:
            prefix = re.sub(r"\s", "", heading[1]) + "."
        elif _ANY_TABLE.match(line):
            # An array of tables, a table of quoted keys, or a line of a longer value.
            prefix = None
        match = _KEY.fullmatch(line) if prefix is not None else None
        if match is not None:
            name = f"{prefix}{match[2]}"
            place = _place(name, start + len(match[1].encode()), match[3], number)
            # A line inside a longer text may look like a key; the whole file knows better.
            if place is not None and _lookup(table, name) == (place.value,) and name not in found:
                found[name] = place
        start += len(line.encode()) + 1
    return found


def with_value(text: str, place: Place, value: str) -> str:
    """Returns the file with another text in a value's place."""
    data = text.encode()
    return (data[: place.start] + value.encode() + data[place.end :]).decode()


def written(value: str | float) -> str:
    """Returns a value as TOML writes it."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return '"' + "".join(_escape(c) for c in escaped) + '"'
        case _:
            return repr(value)


def _escape(character: str) -> str:
    plain = character >= " " and character != "\x7f"
    return character if plain else f"\\u{ord(character):04x}"


def _place(name: str, start: int, rest: str, line: int) -> Place | None:
    """Reads a value and the comment behind it."""
    ends = [index for index, sign in enumerate(rest) if sign == "#"]
    for end in (*ends, len(rest)):
        value_text = rest[:end].rstrip()
        try:
            value = tomllib.loads(f"x = {value_text}")["x"]
        except (ValueError, KeyError, RecursionError):
            continue
        comment = rest[end + 1 :].strip()
        return Place(
            name, start, start + len(value_text.encode()), value_text, value, comment, line
        )
    return None


def _lookup(table: Any, name: str) -> tuple[Any] | None:
    value = table
    for key in name.split("."):
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    return (value,)
