"""What counts as the same text file, where it is not Python.

This file decides the normal form of TOML (its values, without comments, spacing and order of keys),
of Markdown and HTML (without comments) and of any other text (without spaces at the end of lines),
and the limits that keep a stranger's text cheap to read. It refuses to know what a file is for. The
texts are hostile: nothing but `SourceError` leaves this file.
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from typing import Final

TOML_OPENINGS_MAX: Final = 200
"""Most opening brackets and braces in a TOML file: each may be one level of the parser's stack."""

TOML_DEPTH_MAX: Final = 20
"""Deepest table; names with dots nest without any bracket."""

LINE_BYTES_MAX: Final = 2000
"""Longest line: text for people has lines that people can read."""

_COMMENT: Final = re.compile(r"<!--.*?-->", re.DOTALL)
_BLANKS: Final = re.compile(r"\n{3,}")


class SourceError(Exception):
    """A script cannot be accepted; `reason` says why in one short line.

    Attributes:
        reason: the cause, without any text of the script in it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def normal_text(name: str, text: str) -> bytes:
    """Returns a form that two texts share when they differ only in comments and spacing.

    Args:
        name: the file's name; its ending says what kind of text it is.
        text: hostile; valid Unicode, of bounded length.

    Raises:
        SourceError: it is not valid, or exceeds a limit.
    """
    if any(len(line.encode()) > LINE_BYTES_MAX for line in text.split("\n")):
        raise SourceError(f"a line is over {LINE_BYTES_MAX} bytes")
    if name.endswith(".toml"):
        return _normal_toml(name, text)
    if name.endswith((".md", ".html")):
        text = _COMMENT.sub("", text)
    lines = "\n".join(line.rstrip() for line in text.split("\n"))
    return _BLANKS.sub("\n\n", lines).strip("\n").encode()


def _normal_toml(name: str, text: str) -> bytes:
    if text.count("[") + text.count("{") > TOML_OPENINGS_MAX:
        raise SourceError(f"{name} has over {TOML_OPENINGS_MAX} brackets and braces")
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError, MemoryError):
        raise SourceError(f"{name} is not valid TOML") from None
    parts: list[str] = []
    # Deeper values come out of the stack after their key: a plain walk in prefix notation.
    stack: list[tuple[object, int]] = [(table, 0)]
    while stack:
        value, depth = stack.pop()
        if depth > TOML_DEPTH_MAX:
            raise SourceError(f"{name} is nested over {TOML_DEPTH_MAX} tables deep")
        match value:
            case dict():
                parts.append(f"{{{len(value)}")
                for key in sorted(value, reverse=True):
                    stack += [(value[key], depth + 1), (key, depth)]
            case list():
                parts.append(f"[{len(value)}")
                stack.extend((item, depth + 1) for item in reversed(value))
            case int() if not isinstance(value, bool):
                # Hexadecimal spares the quadratic decimal conversion of long integers.
                parts.append(f"int:{value:x}")
            case dt.datetime() | dt.date() | dt.time():
                parts.append(f"time:{value.isoformat()}")
            case _:
                parts.append(f"{type(value).__name__}:{value!r}")
    return "\n".join(parts).encode("utf-8", "surrogatepass")
