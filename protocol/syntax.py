"""Parsing Python source, for every part of this program that needs a syntax tree.

This file decides that one thread parses at a time, and which Python's grammar holds. It checks no
limits and refuses to know what a script is for; a caller that parses a stranger's text bounds it
first (`swarm.source`), or turns every error named here into a refusal (`trainer.task`).
"""

import ast
import threading
import warnings
from typing import Final, Literal

LANGUAGE: Final = (3, 11)
"""The oldest Python that nodes run on: what only a newer one reads is no script of a swarm."""

_PARSER_LOCK: Final = threading.Lock()
"""CPython 3.11 counts the depth of a tree under construction once per process: of two threads that
parse at once, one fails with SystemError. Warning filters are shared by all threads too."""

REFUSALS: Final = (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError, SystemError)
"""Everything that the parser may raise for a text, however hostile."""


def parse_tree(code: str, mode: Literal["exec", "eval"] = "exec") -> ast.AST:
    """Parses code like `ast.parse`, which is not safe to call from several threads.

    Statements that came after `LANGUAGE` are refused.

    Raises:
        SyntaxError, ValueError, OverflowError, RecursionError, MemoryError: as `ast.parse` does;
            `REFUSALS` has them all.
    """
    with _PARSER_LOCK, warnings.catch_warnings():
        # A script's invalid escapes or odd comparisons are its own affair, not ours to print.
        warnings.simplefilter("ignore")
        return ast.parse(code, mode=mode, feature_version=LANGUAGE)
