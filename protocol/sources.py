"""Several editable files as one text, and back.

What a hypothesis changes travels as one blob with one hash. Where a task has one Python file to
edit, the blob is that file. Where it has several, or one that is not Python, the blob holds them
one behind the other, each after a line `=== NAME ===`, in the order of their names. This file
decides that form; it refuses to know what the files mean (`swarm.source`) and which of them a task
has (`trainer.task`). No Python file begins with such a line, so no text is both.
"""

import re
from collections.abc import Mapping
from typing import Final

FILES_MAX: Final = 16
"""Most files in one text."""

_NAME: Final = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}"
_MARK: Final = re.compile(rf"=== ({_NAME}) ===")
_ANY_MARK: Final = re.compile(rf"^=== {_NAME} ===$", re.MULTILINE)


class SourcesError(Exception):
    """A text does not hold files in the one form that it may have."""


def holds_files(text: str) -> bool:
    """Returns whether a text begins as one that holds several files."""
    return _MARK.fullmatch(text.partition("\n")[0]) is not None


def join_files(files: Mapping[str, str]) -> str:
    """Returns the text that holds these files; each gets the line feed that may miss at its end.

    Raises:
        SourcesError: there are none or too many, a name is unsafe, or a file holds a line that
            would begin another one.
    """
    if not 0 < len(files) <= FILES_MAX:
        raise SourcesError(f"there must be between 1 and {FILES_MAX} files")
    parts = []
    for name in sorted(files):
        content = files[name]
        if _MARK.fullmatch(f"=== {name} ===") is None:
            raise SourcesError("a file has an unsafe name")
        if _ANY_MARK.search(content) is not None:
            raise SourcesError(f"{name} holds a line that would begin another file")
        end = "" if content.endswith("\n") or not content else "\n"
        parts.append(f"=== {name} ===\n{content}{end}")
    return "".join(parts)


def split_files(text: str) -> dict[str, str]:
    """Returns the files of a text by name.

    Raises:
        SourcesError: `join_files` would not have written it so.
    """
    found: dict[str, str] = {}
    name = ""
    for line in text.split("\n"):
        match = _MARK.fullmatch(line)
        if match is not None:
            name = match[1]
            if name in found:
                raise SourcesError("one of its files stands in it twice")
            found[name] = ""
        elif name:
            found[name] += line + "\n"
    if name:
        # What follows the last line feed is no line.
        found[name] = found[name].removesuffix("\n")
    if not found or join_files(found) != text:
        raise SourcesError("its files are not joined in the one form that they may have")
    return found
