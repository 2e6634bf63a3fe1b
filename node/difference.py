"""The difference between two scripts for people to read, in bounded time whatever they hold.

Python's matcher takes hours for some pairs of texts, and one of the two was written by a stranger.
Equal lines at both ends are cut off first; what is left between them is compared line by line where
it is short, and shown as replaced as a whole where it is not.
"""

import difflib
import re
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

_COMPARED_LINES_MAX: Final = 800
"""Lines of both sides that are compared: a change by a person or an agent has far fewer."""
_CONTEXT_LINES: Final = 3
_LINE_END: Final = re.compile(r"\r\n|\r|\n")

_Operation: TypeAlias = tuple[Literal["replace", "delete", "insert", "equal"], int, int, int, int]


def source_lines(text: str) -> list[str]:
    """A script's lines as Python reads them.

    `str.splitlines` also ends a line at a form feed or U+2028, which Python reads as a part of a
    comment or a string: what is shown as code would not be code, or the other way round.
    """
    lines = _LINE_END.split(text)
    return lines if lines[-1] else lines[:-1]


def unified_lines(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """The unified difference of `parent` and `child`; empty when they are equal.

    Args:
        before: The parent's lines.
        after: The child's lines.
    """
    lines: list[str] = []
    for group in _Found(before, after).get_grouped_opcodes(_CONTEXT_LINES):
        if not lines:
            lines += ["--- parent", "+++ child"]
        first, last = group[0], group[-1]
        lines.append(f"@@ -{_span(first[1], last[2])} +{_span(first[3], last[4])} @@")
        for word, low, high, new_low, new_high in group:
            if word == "equal":
                lines += [f" {line}" for line in before[low:high]]
            else:
                lines += [f"-{line}" for line in before[low:high]]
                lines += [f"+{line}" for line in after[new_low:new_high]]
    return lines


class _Found(difflib.SequenceMatcher[str]):
    """A matcher that groups operations which it did not have to find."""

    def __init__(self, before: Sequence[str], after: Sequence[str]) -> None:
        super().__init__(None, (), (), autojunk=False)
        self._found = _operations(before, after)

    def get_opcodes(self) -> list[_Operation]:
        """How one text becomes the other."""
        return self._found


def _operations(before: Sequence[str], after: Sequence[str]) -> list[_Operation]:
    """How one becomes the other, as `difflib` says it."""
    shortest = min(len(before), len(after))
    start = 0
    while start < shortest and before[start] == after[start]:
        start += 1
    end = 0
    while end < shortest - start and before[-1 - end] == after[-1 - end]:
        end += 1
    high, new_high = len(before) - end, len(after) - end
    operations: list[_Operation] = []
    if start:
        operations.append(("equal", 0, start, 0, start))
    operations += _middle(before[start:high], after[start:new_high], start)
    if end:
        operations.append(("equal", high, len(before), new_high, len(after)))
    return operations


def _middle(before: Sequence[str], after: Sequence[str], offset: int) -> list[_Operation]:
    if not before and not after:
        return []
    if len(before) + len(after) > _COMPARED_LINES_MAX or not before or not after:
        return [("replace", offset, offset + len(before), offset, offset + len(after))]
    found = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    return [
        (word, offset + low, offset + high, offset + new_low, offset + new_high)
        for word, low, high, new_low, new_high in found
    ]


def _span(low: int, high: int) -> str:
    """Lines `low` to `high` (excluded) as the unified format counts them."""
    length = high - low
    if length == 1:
        return str(low + 1)
    # An empty span names the line before it.
    return f"{low if not length else low + 1},{length}"
