"""Reading the node's log: its end, what is added to it, and what it complained of last.

The file is read in bounded pieces from its end, never as a whole; it is rotated while it is read.
This file refuses to know how lines are shown, and it never waits: who follows asks again.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from protocol.schema import printable

TAIL_BYTES_MAX: Final = 1 << 20
"""The most that is read back from the end of a log."""
STEP_BYTES_MAX: Final = 1 << 18
"""The most that is read at once of what was added; more is skipped, and that is said."""
LINE_BYTES_MAX: Final = 8192

LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_HEAD: Final = re.compile(
    r"(?P<at>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d{3}"
    r" (?P<level>[A-Z]+) +(?P<name>[\w.\-]+): (?P<text>.*)"
)


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a log.

    Attributes:
        at: Local time, `YYYY-MM-DD HH:MM:SS`; empty for a line that goes on from the one before.
        level: One of `LEVELS`; that of the line it goes on from.
        name: The module that wrote it; empty for a line that goes on.
        text: What it says, without anything that could steer a terminal.
    """

    at: str
    level: str
    name: str
    text: str


class LineParser:
    """Tells lines apart; a traceback's lines belong to the line before."""

    def __init__(self) -> None:
        self._level = "info"

    def parse(self, line: str) -> LogLine:
        """One line, however it came about."""
        text = printable(line, LINE_BYTES_MAX)
        found = _HEAD.fullmatch(text)
        if found is None or found["level"].lower() not in LEVELS:
            return LogLine("", self._level, "", text)
        self._level = found["level"].lower()
        return LogLine(found["at"], self._level, found["name"], found["text"])


def at_least(lines: Sequence[LogLine], level: str) -> list[LogLine]:
    """Lines of a level or a graver one."""
    return [line for line in lines if LEVELS.index(line.level) >= LEVELS.index(level)]


class LogFollower:
    """The end of a log, and then what is added to it, through rotations.

    Args:
        path: The log. It need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parser = LineParser()
        self._inode = -1
        self._position = 0
        self._rest = b""

    def tail(self) -> list[LogLine]:
        """What the last mebibyte holds; reading goes on behind it.

        Raises:
            OSError: The log is there and cannot be read.
        """
        try:
            with self._path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                start = max(0, size - TAIL_BYTES_MAX)
                file.seek(start)
                data = file.read(TAIL_BYTES_MAX)
                self._inode = os.fstat(file.fileno()).st_ino
                self._position = start + len(data)
        except FileNotFoundError:
            return []
        if start:
            data = data.partition(b"\n")[2]
        return self._lines(data)

    def added(self) -> list[LogLine]:
        """What was written since the last call; at most a bounded piece of it.

        Raises:
            OSError: The log is there and cannot be read.
        """
        try:
            with self._path.open("rb") as file:
                now = os.fstat(file.fileno())
                lines: list[LogLine] = []
                if now.st_ino != self._inode or now.st_size < self._position:
                    # Rotated: what the old file got in between is in it, and few care.
                    self._inode, self._position, self._rest = now.st_ino, 0, b""
                if now.st_size - self._position > STEP_BYTES_MAX:
                    skipped = now.st_size - self._position - STEP_BYTES_MAX
                    self._position += skipped
                    self._rest = b""
                    lines.append(LogLine("", "warning", "", f"… {skipped} bytes are not shown"))
                file.seek(self._position)
                data = file.read(STEP_BYTES_MAX)
                self._position += len(data)
        except FileNotFoundError:
            return []
        return lines + self._lines(data)

    def _lines(self, data: bytes) -> list[LogLine]:
        """Complete lines; an incomplete one waits for its end, unless it grows without bounds."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > STEP_BYTES_MAX:
            whole.append(self._rest)
            self._rest = b""
        return [self._parser.parse(line.decode(errors="replace")) for line in whole]


def last_complaint(path: Path) -> str:
    """The last warning or error in a log, with its time; empty when there is none."""
    try:
        lines = at_least(LogFollower(path).tail(), "warning")
    except OSError:
        return ""
    complaints = [line for line in lines if line.at]
    return f"{complaints[-1].at} {complaints[-1].text}" if complaints else ""
