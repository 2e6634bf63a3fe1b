"""Top-level constants of a script: a tier writes its own values into them.

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


def set_constants(source: str, constants: Mapping[str, Constant]) -> str:
    """Returns a script with other values in its top-level constants.

    Raises:
        TaskError: the script cannot be parsed, or does not assign one of the names exactly once.
    """
    try:
        tree = parse_tree(source)
    except REFUSALS as error:
        raise TaskError("the script is not valid Python") from error
    assert isinstance(tree, ast.Module)
    found: dict[str, list[ast.expr]] = {name: [] for name in constants}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            if isinstance(target, ast.Name) and target.id in found:
                found[target.id].append(node.value)
    # ast counts columns in bytes of UTF-8.
    lines = [line.encode() for line in source.splitlines(keepends=True)]
    for name, values in found.items():
        if len(values) != 1 or values[0].lineno != values[0].end_lineno:
            raise TaskError(f"the script must assign {name} once, on one line")
        value, row = values[0], values[0].lineno - 1
        new = repr(constants[name]).encode()
        lines[row] = lines[row][: value.col_offset] + new + lines[row][value.end_col_offset :]
    return b"".join(lines).decode()
