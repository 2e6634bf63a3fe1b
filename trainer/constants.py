"""Top-level constants of a script: tiers and scales write their own values into them.

This file decides which assignment is meant and leaves all other text as it is. The script may be a
stranger's: whatever it holds, only `TaskError` leaves this file.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from protocol.syntax import REFUSALS, parse_tree
from trainer.fields import TaskError

if TYPE_CHECKING:
    from collections.abc import Mapping

Constant = int | float

CONSTANT_MAX = 2**53
"""Largest magnitude of a constant that is read, so that it can be multiplied and written again."""


def read_constants(source: str, names: tuple[str, ...]) -> dict[str, Constant]:
    """Returns the numbers that a script's top-level constants of these names have.

    Raises:
        TaskError: the script cannot be parsed, or does not assign one of the names exactly once, a
            number written as such.
    """
    values: dict[str, Constant] = {}
    for name, node in _assigned(source, names).items():
        try:
            value = ast.literal_eval(node)
        except (ValueError, TypeError, MemoryError, RecursionError) as error:
            raise TaskError(f"the script must assign {name} a number") from error
        if type(value) not in {int, float} or not abs(value) <= CONSTANT_MAX:
            raise TaskError(f"the script must assign {name} a number up to {CONSTANT_MAX}")
        values[name] = value
    return values


def set_constants(source: str, constants: Mapping[str, Constant]) -> str:
    """Returns a script with other values in its top-level constants.

    Raises:
        TaskError: the script cannot be parsed, or does not assign one of the names exactly once.
    """
    # ast counts columns in bytes of UTF-8.
    lines = [line.encode() for line in source.splitlines(keepends=True)]
    for name, value in _assigned(source, tuple(constants)).items():
        row = value.lineno - 1
        new = repr(constants[name]).encode()
        lines[row] = lines[row][: value.col_offset] + new + lines[row][value.end_col_offset :]
    return b"".join(lines).decode()


def _assigned(source: str, names: tuple[str, ...]) -> dict[str, ast.expr]:
    """Returns what each name is assigned at the script's top level."""
    try:
        tree = parse_tree(source)
    except REFUSALS as error:
        raise TaskError("the script is not valid Python") from error
    assert isinstance(tree, ast.Module)
    found: dict[str, list[ast.expr]] = {name: [] for name in names}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            if isinstance(target, ast.Name) and target.id in found:
                found[target.id].append(node.value)
    for name, values in found.items():
        if len(values) != 1 or values[0].lineno != values[0].end_lineno:
            raise TaskError(f"the script must assign {name} once, on one line")
    return {name: values[0] for name, values in found.items()}
