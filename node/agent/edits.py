"""Exact edits: what a proposer changes in a script, applied without guessing.

This file decides what an edit means: its search text stands in the script exactly once, and is
replaced. It refuses to know who proposes and whether the result is worth anything. There is only
one script that edits can be applied to, so that no other file can be named, let alone changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from node.agent.proposal import RejectedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from node.agent.proposal import Replacement

REPLACEMENTS_MAX: Final = 20
"""One idea needs few edits; more is a rewrite, which nobody could learn from."""

_QUOTED_CHARS: Final = 80


def apply_replacements(source: str, replacements: Sequence[Replacement]) -> str:
    """Returns the script with every edit applied, one after the other.

    Every search text is looked for in the original script too: an edit never depends on what an
    earlier one has written.

    Raises:
        RejectedError: there is no edit or there are too many, one does not match exactly once, two
            overlap, or nothing changes.
    """
    if not 0 < len(replacements) <= REPLACEMENTS_MAX:
        raise RejectedError(
            f"a proposal has between 1 and {REPLACEMENTS_MAX} edits, not {len(replacements)}"
        )
    spans: list[tuple[int, int, str]] = []
    for number, item in enumerate(replacements, 1):
        count = _occurrences(source, item.search)
        if count != 1:
            raise RejectedError(
                f"the search text of edit {number} occurs {_words(count)} in the script instead of"
                f" once: {item.search[:_QUOTED_CHARS]!r}"
            )
        start = source.index(item.search)
        spans.append((start, start + len(item.search), item.replace))
    spans.sort()
    parts: list[str] = []
    done = 0
    for start, end, text in spans:
        if start < done:
            raise RejectedError("two edits change the same place of the script")
        parts += [source[done:start], text]
        done = end
    changed = "".join([*parts, source[done:]])
    if changed == source:
        raise RejectedError("the edits change nothing")
    return changed


def _occurrences(source: str, text: str) -> int:
    """Counts overlapping occurrences, too; none of an empty text."""
    count = 0
    start = source.find(text) if text else -1
    while start >= 0 and count < 2:
        count += 1
        start = source.find(text, start + 1)
    return count


def _words(count: int) -> str:
    return "nowhere" if count == 0 else "more than once"
