"""The tokens of a script, the same under every Python.

Since Python 3.12 an f-string is many tokens, and may hold what ended it before: its own quotes,
backslashes, comments. Here it is one token under every version, and what only the newer ones read
is refused, so that no script counts as valid, or as small enough, on some nodes alone.

This file decides what the tokens are. It refuses to know how many of them a script may have.
"""

import io
import re
import tokenize
from collections.abc import Iterator
from typing import Final

from swarm.source_texts import SourceError

_START: Final[int | None] = getattr(tokenize, "FSTRING_START", None)
_MIDDLE: Final[int | None] = getattr(tokenize, "FSTRING_MIDDLE", None)
_END: Final[int | None] = getattr(tokenize, "FSTRING_END", None)

_BODIES: Final = {
    "'": re.compile(r"[^\n'\\]*(?:\\.[^\n'\\]*)*", re.DOTALL),
    '"': re.compile(r'[^\n"\\]*(?:\\.[^\n"\\]*)*', re.DOTALL),
    "'''": re.compile(r"[^'\\]*(?:(?:\\.|'(?!''))[^'\\]*)*", re.DOTALL),
    '"""': re.compile(r'[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*', re.DOTALL),
}
"""What stands between the quotes of a string: the rules of the language reference."""


def script_tokens(source: str) -> Iterator[tuple[int, str]]:
    """Yields the type and the text of each token.

    Raises:
        SourceError: an f-string is one that Python 3.11 does not read.
        tokenize.TokenError, SyntaxError, ValueError, RecursionError, MemoryError: as
            `tokenize.generate_tokens` does.
    """
    lines = source.split("\n")
    start = (0, 0)
    opener = ""
    depth = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == _START:
            depth += 1
            if depth == 1:
                start, opener = token.start, token.string
        elif token.type == _END:
            depth -= 1
            if not depth:
                text = _between(lines, start, token.end)
                _check_quotes(text, opener)
                yield tokenize.STRING, text
        elif not depth:
            yield token.type, token.string
        elif token.type != _MIDDLE and ("\\" in token.string or token.type == tokenize.COMMENT):
            raise SourceError("an f-string holds a backslash or a comment within braces")


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    """The text from one place to another; rows count from 1, columns from 0."""
    if start[0] == end[0]:
        return lines[start[0] - 1][start[1] : end[1]]
    middle = lines[start[0] : end[0] - 1]
    return "\n".join([lines[start[0] - 1][start[1] :], *middle, lines[end[0] - 1][: end[1]]])


def _check_quotes(text: str, opener: str) -> None:
    """Refuses an f-string that its own quotes end early, as they did before Python 3.12."""
    quote = opener.lstrip("rRfFbBuU")
    body = text[len(opener) : len(text) - len(quote)]
    if not _BODIES[quote].fullmatch(body):
        raise SourceError("an f-string holds its own quotes, or a line's end, within braces")
