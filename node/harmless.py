"""Edits of a training script that should not matter: what noise looks like to a verdict.

Three kinds, found by syntax in any script of the built-in tasks' form:

* `rename`: a layer gets another name. Its random draws come from a generator named after the
  parameter, so it starts from other numbers of the same distribution;
* `draws`: the initial draws are permuted, or taken from other generators;
* `sums`: a sum is taken in another order: products are split in parts, batches reversed, means
  written out. Only the last digits differ at first, and training then makes more of that.

None changes what is computed but for rounding, how much it costs, or how good the result is on
average: whoever merges one has merged noise. This file decides which edits there are. It refuses
to know how they are run and what is concluded from them.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import itertools
import re
from typing import TYPE_CHECKING, Final

from node.harmless_sums import SUMS, Change, Find, layers
from protocol.syntax import REFUSALS, parse_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_RENAMED: Final = "alike"
_SALTS: Final = 4

_PERMUTATIONS: Final = {
    "rows reversed": "{p}.copy_({p}.flip(0))",
    "columns reversed": "{p}.copy_({p}.flip(-1))",
    "rows shifted": "{p}.copy_({p}.roll(1, 0))",
    "columns shifted": "{p}.copy_({p}.roll(1, -1))",
    "both reversed": "{p}.copy_({p}.flip(0, -1))",
}


@dataclasses.dataclass(frozen=True, slots=True)
class HarmlessEdit:
    """One edit that should not matter.

    Attributes:
        kind: `rename`, `draws` or `sums`.
        name: what it does, unique within a script.
        script: the edited script.
    """

    kind: str
    name: str
    script: str


def harmless_edits(script: str) -> list[HarmlessEdit]:
    """Returns every edit that has a place in a script, the kinds in turn.

    Returns none for a file that is not Python or has none of the places.
    """
    try:
        tree = parse_tree(script)
    except REFUSALS:
        return []
    assert isinstance(tree, ast.Module)
    before = ast.unparse(tree)
    kinds: list[list[HarmlessEdit]] = []
    for kind, finders in _KINDS.items():
        found: dict[str, HarmlessEdit] = {}
        for name, change in itertools.chain.from_iterable(find(tree) for find in finders):
            edited = copy.deepcopy(tree)
            change(edited)
            text = ast.unparse(ast.fix_missing_locations(edited))
            if text != before and all(text + "\n" != other.script for other in found.values()):
                found.setdefault(name, HarmlessEdit(kind, name, text + "\n"))
        kinds.append(list(found.values()))
    turns = itertools.zip_longest(*kinds)
    return [edit for turn in turns for edit in turn if edit is not None]


# -- renamed layers -------------------------------------------------------------------------------


def _renames(tree: ast.Module) -> Iterator[tuple[str, Change]]:
    """Every layer under another name."""
    for name in layers(tree):
        yield f"{name} renamed", _Rename(name).apply


class _Rename(ast.NodeTransformer):
    """Renames an attribute of the script's own objects, and its name within strings."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._word = re.compile(rf"(?<![A-Za-z0-9_]){re.escape(name)}(?![A-Za-z0-9_])")

    def apply(self, tree: ast.Module) -> None:
        self.visit(tree)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        # Only where the holder is the script's: tensors have methods of the same names.
        if (
            node.attr == self._name
            and isinstance(node.value, ast.Name)
            and node.value.id in {"self", "model", "block"}
        ):
            node.attr = f"{self._name}_{_RENAMED}"
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        # A docstring may use the word for something else.
        return node if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str):
            node.value = self._word.sub(f"{self._name}_{_RENAMED}", node.value)
        return node


# -- permuted draws -------------------------------------------------------------------------------


def _is_generator(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and ast.unparse(node.func) == "run.generator"
        and len(node.args) == 1
    )


def _salts(tree: ast.Module) -> Iterator[tuple[str, Change]]:
    """All draws from generators of other names."""
    if not any(_is_generator(node) for node in ast.walk(tree)):
        return

    def salted(salt: str) -> Change:
        def change(edited: ast.Module) -> None:
            for node in ast.walk(edited):
                if _is_generator(node):
                    assert isinstance(node, ast.Call)
                    node.args[0] = ast.BinOp(node.args[0], ast.Add(), ast.Constant(salt))

        return change

    for number in range(1, _SALTS + 1):
        yield f"other generators {number}", salted(f" {number}")


def _permuted_draws(tree: ast.Module) -> Iterator[tuple[str, Change]]:
    """What was drawn into a parameter, in another order."""

    def permuted(code: str) -> Change:
        return lambda edited: _after(edited, _drawn_into, code)

    if any(_drawn_into(node) for node in ast.walk(tree)):
        for name, code in _PERMUTATIONS.items():
            yield f"draws: {name}", permuted(code)


def _drawn_into(node: ast.AST) -> dict[str, str] | None:
    """The parameter that a statement fills from a generator."""
    match node:
        case ast.Expr(
            value=ast.Call(func=ast.Attribute(value=ast.Name(id=name)), keywords=keywords)
        ) if any(keyword.arg == "generator" for keyword in keywords):
            return {"p": name}
        case _:
            return None


def _after(tree: ast.Module, place: Callable[[ast.AST], dict[str, str] | None], code: str) -> None:
    """Puts a statement behind every statement that is such a place."""
    for holder in ast.walk(tree):
        for field in ("body", "orelse"):
            body = getattr(holder, field, None)
            if not isinstance(body, list):
                continue
            placed: list[ast.stmt] = []
            for statement in body:
                placed.append(statement)
                if (names := place(statement)) is not None:
                    placed += ast.parse(code.format(**names)).body
            setattr(holder, field, placed)


_KINDS: Final[dict[str, tuple[Find, ...]]] = {
    "rename": (_renames,),
    "draws": (_salts, _permuted_draws),
    "sums": SUMS,
}
