"""How commands print: aligned columns, a few tones of colour, nothing that steers a terminal.

This file decides widths and colours. It refuses to know what is printed. Colour is left out by
click where stdout is no terminal, and by the command group under `NO_COLOR`; what is cut to fit a
terminal is whole in a pipe. Text from peers passes through `safe` before it is measured.
"""

import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import click

from protocol.schema import printable

Tone: TypeAlias = Literal["plain", "strong", "good", "bad", "warn", "quiet", "accent"]

_STYLES: Final[Mapping[Tone, Mapping[str, Any]]] = {
    "plain": {},
    "strong": {"bold": True},
    "good": {"fg": "green"},
    "bad": {"fg": "red"},
    "warn": {"fg": "yellow"},
    "quiet": {"dim": True},
    "accent": {"fg": "cyan"},
}

STATUS_TONES: Final[Mapping[str, Tone]] = {
    "merged": "good", "verified": "good", "claimed": "warn", "undecided": "warn",
    "proposed": "warn", "refuted": "bad", "crashed": "bad", "parked": "accent",
    "screened_out": "quiet", "stale": "quiet",
}  # fmt: skip
"""The colour of where a hypothesis stands."""

_LINE_BYTES_MAX: Final = 4096
_GAP: Final = "  "
_FLEXIBLE_MIN: Final = 12
"""Below this many cells a shortened column says nothing; the line then wraps instead."""
_FLEXIBLE_WANTED: Final = 24
"""Spare columns make way until shortened ones have so many cells."""
_PIECE: Final = re.compile(r"\s*\S+\s*$|\s*\S+|\s+")
"""A word with the space before it; the last word of a text also with what is behind it."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One piece of text in a line.

    Attributes:
        text: What it says; may have come from a peer.
        tone: How it is coloured.
    """

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        name: Its heading.
        right: Whether its cells end at the same place instead of beginning there.
        flexible: Whether it is shortened when a terminal is too narrow.
        spare: Whether it is left out before that, the last one first.
    """

    name: str
    right: bool = False
    flexible: bool = False
    spare: bool = False


def safe(text: str) -> str:
    """One line that is safe to show: whatever could steer a terminal is a space."""
    return printable(text, _LINE_BYTES_MAX)


def colour_wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a terminal may be coloured at all (https://no-color.org, and `TERM=dumb`)."""
    return not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def paint(text: str, tone: Tone) -> str:
    """Text in a tone; click takes the colour out again where it does not belong."""
    return click.style(text, **_STYLES[tone]) if _STYLES[tone] else text


def terminal_width() -> int | None:
    """Cells in a line of the terminal; None where stdout is no terminal and nothing is cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def print_fields(fields: Sequence[tuple[str, str | Cell | Sequence[Cell]]]) -> None:
    """Print names and values, aligned.

    A value of several cells is one line of them; what is longer than a terminal's line goes on
    below its own beginning.
    """
    width = max(len(name) for name, _ in fields)
    line = terminal_width()
    room = None if line is None else max(_FLEXIBLE_WANTED, line - width - len(_GAP))
    for name, value in fields:
        match value:
            case str():
                cells: Sequence[Cell] = (Cell(value),)
            case Cell():
                cells = (value,)
            case _:
                cells = value
        for index, text in enumerate(_folded([_cell(cell) for cell in cells], room)):
            heading = " " * width if index else paint(f"{name:<{width}}", "quiet")
            click.echo(f"{heading}{_GAP}{text}".rstrip())


def _folded(cells: Sequence[Cell], room: int | None) -> list[str]:
    """Cells as painted lines of at most so many cells, broken between cells or else words."""
    if room is None:
        return ["".join(paint(cell.text, cell.tone) for cell in cells)]
    lines = [""]
    used = 0
    for cell in cells:
        kept, text = "", cell.text
        apart = text[:1] == " " and _cells(text.strip()) <= room
        if used and apart and used + _cells(text.rstrip()) > room:
            lines.append("")
            used, text = 0, text.lstrip()
        for piece in _PIECE.findall(text):
            if used and used + _cells(piece.rstrip()) > room:
                lines[-1] += paint(kept, cell.tone) if kept else ""
                lines.append("")
                kept, used = piece.lstrip(), _cells(piece.lstrip())
            else:
                kept, used = kept + piece, used + _cells(piece)
        lines[-1] += paint(kept, cell.tone) if kept else ""
    return lines


def print_table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str | Cell]],
    *,
    width: int | None = None,
) -> None:
    """Print a table: a quiet heading and one line a row.

    Args:
        columns: What stands where.
        rows: As many cells each as there are columns.
        width: Cells in a line; None asks the terminal.
    """
    width = terminal_width() if width is None else width
    cells = [[_cell(item) for item in row] for row in rows]
    wide = [
        max([len(column.name), *(_cells(row[index].text) for row in cells)])
        for index, column in enumerate(columns)
    ]
    shown = list(range(len(columns)))
    if width is not None:
        shown = _without_spare(columns, wide, width)
        _narrow(columns, wide, shown, width)
    heading = [Cell(column.name, "quiet") for column in columns]
    for row in [heading, *cells]:
        parts = [_fit(row[index], columns[index], wide[index]) for index in shown]
        click.echo(_GAP.join(parts).rstrip())


def shortened(text: str, space: int) -> str:
    """Text in at most so many cells; an ellipsis stands for what is missing."""
    if _cells(text) <= space:
        return text
    kept = text
    while kept and _cells(kept) > space - 1:
        kept = kept[:-1]
    return f"{kept}…"


def _cell(item: str | Cell) -> Cell:
    cell = Cell(item) if isinstance(item, str) else item
    return Cell(safe(cell.text), cell.tone)


def _cells(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def _without_spare(columns: Sequence[Column], wide: Sequence[int], width: int) -> list[int]:
    """Which columns stay so that the flexible ones have room."""
    wanted = [
        min(space, _FLEXIBLE_WANTED) if column.flexible else space
        for column, space in zip(columns, wide, strict=True)
    ]
    shown = list(range(len(columns)))
    for index in range(len(columns) - 1, -1, -1):
        if columns[index].spare and _line_cells(wanted, shown) > width:
            shown.remove(index)
    return shown


def _line_cells(wide: Sequence[int], shown: Sequence[int]) -> int:
    return sum(wide[index] for index in shown) + len(_GAP) * (len(shown) - 1)


def _narrow(columns: Sequence[Column], wide: list[int], shown: Sequence[int], width: int) -> None:
    """Take what a line has too much from the flexible columns, the last one first."""
    excess = _line_cells(wide, shown) - width
    for index in reversed(shown):
        if excess > 0 and columns[index].flexible:
            taken = min(excess, max(0, wide[index] - _FLEXIBLE_MIN))
            wide[index] -= taken
            excess -= taken


def _fit(cell: Cell, column: Column, space: int) -> str:
    text = shortened(cell.text, space) if column.flexible else cell.text
    padding = " " * max(0, space - _cells(text))
    painted = paint(text, cell.tone)
    return padding + painted if column.right else painted + padding


def value_text(value: float | None, digits: int = 4) -> str:
    """A metric's value, or a dash."""
    return "–" if value is None else f"{value:.{digits}f}"


def gain_text(gain: float | None, low: float | None = None, high: float | None = None) -> str:
    """A gain with its sign and, when it is known, its interval: `+0.1897 [+0.1800, +0.1990]`."""
    if gain is None:
        return "–"
    interval = "" if low is None or high is None else f" [{low:+.4f}, {high:+.4f}]"
    return f"{gain:+.4f}{interval}"


def ago(then_ms: int, now_ms: int) -> str:
    """How long ago, roughly."""
    seconds = max(0, now_ms - then_ms) / 1000
    if seconds < 90:
        return f"{seconds:.0f} s ago"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min ago"
    if seconds < 129_600:
        return f"{seconds / 3600:.0f} h ago"
    return f"{seconds / 86_400:.0f} days ago"
