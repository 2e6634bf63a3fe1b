"""The lineage drawn with lines, the genesis first and the head last, as one row an entry.

The path to the head is the trunk on the left; what fork choice left aside branches off it. Pure:
entries go in, rows come out.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from node.cli.table import Cell, Column, Tone, ago, gain_text, value_text
from node.words import SELF_VERIFIED

Entry: TypeAlias = Mapping[str, Any]

_ID_DIGITS: Final = 8
_DEPTH_SHOWN_MAX: Final = 24
"""Branches that go further aside than this are drawn at this place."""


def tree_columns(metric: str) -> list[Column]:
    """The headings of `tree_rows`."""
    return [
        Column(""),
        Column("entry"),
        Column(metric, right=True),
        Column("gain and 95 % interval"),
        Column("pairs", right=True, spare=True),
        Column("by", right=True, spare=True),
        Column("author", spare=True),
        Column("merged", spare=True),
        Column("title", flexible=True),
    ]


def tree_rows(entries: Sequence[Entry], now_ms: int) -> list[list[Cell]]:
    """One row an entry, with the lines that connect it.

    Args:
        entries: In the form of the node's `tree`.
        now_ms: The present.
    """
    return [_row(drawn, entry, now_ms) for drawn, entry in _drawn(entries)]


def _drawn(entries: Sequence[Entry]) -> list[tuple[str, Entry]]:
    """Entries in the order of the lines, each with its piece of the drawing."""
    children: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry["parents"]:
            children.setdefault(entry["parents"][0], []).append(entry)
    path = [entry for entry in entries if entry["on_path"]]
    lines: list[tuple[str, Entry]] = []
    for index, entry in enumerate(path):
        last = index == len(path) - 1
        lines.append(("◉" if last else "●", entry))
        aside = [child for child in children.get(entry["id"], ()) if not child["on_path"]]
        # A stack instead of recursion: a side branch may be longer than Python's own.
        waiting = _branches(aside, "", trunk=not last)
        while waiting:
            prefix, elbow, below, child = waiting.pop()
            lines.append((f"{prefix}{elbow}○", child))
            waiting += _branches(children.get(child["id"], ()), below, trunk=False)
    return lines


def _branches(
    entries: Sequence[Entry], prefix: str, *, trunk: bool
) -> list[tuple[str, str, str, Entry]]:
    """What is drawn before each of some siblings, and before what is below it; last one first."""
    shown = prefix[: 2 * _DEPTH_SHOWN_MAX]
    found = []
    for index, entry in enumerate(entries):
        more = trunk or index < len(entries) - 1
        found.append((shown, "├─" if more else "└─", f"{shown}{'│ ' if more else '  '}", entry))
    return found[::-1]


def _row(drawn: str, entry: Entry, now_ms: int) -> list[Cell]:
    lit = entry["on_path"]
    text: Tone = "plain" if lit else "quiet"
    root = not entry["parents"]
    further = "".join(f" + {parent[:_ID_DIGITS]}" for parent in entry["parents"][1:])
    title = "the genesis" if root else f"{entry['title']}{further}"
    if entry["self_verified"]:
        title += f" ({SELF_VERIFIED})"
    gain: Tone = "good" if lit else "quiet"
    return [
        Cell(drawn, "good" if lit else "quiet"),
        Cell(entry["id"][:_ID_DIGITS], "accent" if lit else "quiet"),
        Cell(value_text(entry["val_bpb"]), text),
        Cell("", text)
        if root
        else Cell(gain_text(entry["gain"], entry["gain_low"], entry["gain_high"]), gain),
        Cell("" if root else str(entry["trials"]), text),
        Cell("" if root else str(len(entry["verifiers"])), text),
        Cell(entry["author"][:_ID_DIGITS], text),
        Cell("" if root else ago(entry["merged_ms"], now_ms), "quiet"),
        Cell(title, text),
    ]
