"""The swarm's memory as a short text for a language model.

This file decides what of everything that was tried a model is shown, how much of it, and in which
form. It refuses to know who reads it.

Every word of a peer is data here. It is cut to a length, freed of characters that do not print,
and written as a JSON string on a line of its own, so that it can neither end its line nor pass for
a line of ours. Blocks of lines, and scripts, stand between marks that hold a keyed hash of their
content: a peer who wants to write the closing mark into its own text would have to know the key.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Final

from node.agent.beliefs import DUE_UNITS, effect_units
from node.agent.proposal import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from node.agent.proposal import Experience, ResearchView

DIGEST_CHARS_MAX: Final = 14_000
"""About four thousand tokens: what a model reads with attention, at a price that is no question."""

_SECTION_CHARS_MAX: Final = DIGEST_CHARS_MAX // 6
_TITLE_CHARS: Final = 100
_CHANGE_CHARS: Final = 100
_RATIONALE_CHARS: Final = 160
_KIND_CHARS: Final = 30
_MARK_BYTES: Final = 8


def quoted(text: str, chars_max: int) -> str:
    """Returns a stranger's text as one JSON string: one line, ASCII, at most so many characters.

    The limit holds for the escaped form, so that no text crowds out the others.
    """
    line = one_line(text, chars_max)
    while len(encoded := json.dumps(line)) > chars_max + 2:
        line = line[: len(line) * 3 // 4]
    return encoded


def printable_script(text: str) -> str:
    """Returns a script as it may be shown: characters that neither print nor break lines marked."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def fenced(name: str, text: str, secret: bytes) -> str:
    """Returns text between two marks that its authors could not foresee.

    The same text has the same marks as long as the secret stays, so that it can be cached.

    Args:
        name: what it is, in a word of ours.
        text: anything.
        secret: known to this process alone.
    """
    material = name.encode() + b"\0" + text.encode("utf-8", "replace")
    mark = hmac.digest(secret, material, hashlib.sha256)[:_MARK_BYTES].hex()
    assert mark not in text
    return f"<<<{name} {mark}\n{text.rstrip()}\n{mark} {name}>>>"


def memory_digest(view: ResearchView, secret: bytes) -> str:
    """Returns what a model should know of what was tried, at most DIGEST_CHARS_MAX characters."""
    on_head = [item for item in view.experiences if item.on_head]
    tried = {item.change for item in on_head}
    failed = [e for e in on_head if e.status in {"refuted", "screened_out"}]
    sections = (
        ("holds", "Verified, in this lineage or beside it, latest first.",
         _of_status(view.experiences, "verified")),
        ("refuted", "Tried on this head without gain, nearest miss first.", _by_gain(failed)),
        ("crashed", "Crashed on this head, latest first.", _of_status(on_head, "crashed")),
        ("open", "Promising on this head, not decided yet.", _of_status(on_head, "undecided")),
        ("due", "Rejected or left on older heads, though it had gained: due again.",
         _due(view.experiences, tried)),
    )  # fmt: skip
    parts = [
        f"{len(view.experiences)} changes were tried so far, {len(on_head)} of them on this head."
        f" Peers are running {len(view.claims)} changes of it right now.",
    ]
    for name, words, items in sections:
        lines = _lines(items)
        shown = f"{words} {len(lines)} of {len(items)} shown."
        parts.append(shown if not lines else shown + "\n" + fenced(name, "\n".join(lines), secret))
    text = "\n\n".join(parts)
    assert len(text) <= DIGEST_CHARS_MAX
    return text


def _lines(items: Iterable[Experience]) -> list[str]:
    lines: list[str] = []
    left = _SECTION_CHARS_MAX - 200
    for item in items:
        line = _line(item)
        left -= len(line) + 1
        if left < 0:
            break
        lines.append(line)
    return lines


def _line(item: Experience) -> str:
    """One experience: our words and numbers, a peer's words quoted."""
    gain = "null" if item.gain_micro is None else f"{item.gain_micro / 1e6:.4f}"
    rationale = ""
    if item.status in {"verified", "undecided"}:
        rationale = f', "why": {quoted(item.rationale, _RATIONALE_CHARS)}'
    return (
        f'{{"outcome": "{item.status}", "gain": {gain}, "kind": {quoted(item.kind, _KIND_CHARS)},'
        f' "change": {quoted(item.change, _CHANGE_CHARS)},'
        f' "title": {quoted(item.title, _TITLE_CHARS)}{rationale}}}'
    )


def _of_status(items: Iterable[Experience], status: str) -> list[Experience]:
    return [item for item in items if item.status == status][::-1]


def _by_gain(items: Iterable[Experience]) -> list[Experience]:
    return sorted(
        items, key=lambda item: -(item.gain_micro if item.gain_micro is not None else -(1 << 62))
    )


def _due(items: Sequence[Experience], tried: set[str]) -> list[Experience]:
    """What had gained elsewhere and is neither verified nor tried on the head, best first."""
    due = {
        item.change: item
        for item in items
        if not item.on_head
        and item.status not in {"verified", "crashed"}
        and item.change not in tried
        and (effect_units(item) or 0.0) >= DUE_UNITS
    }
    return _by_gain(due.values())
