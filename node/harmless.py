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
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from protocol.syntax import REFUSALS, parse_tree

_Find: TypeAlias = Callable[[ast.Module], "Iterator[tuple[str, _Change]]"]
_Change: TypeAlias = Callable[[ast.Module], None]

_RENAMED: Final = "alike"
_SALTS: Final = 4

_HELPERS: Final = '''
def split_sum(layer, x, parts):
    """A linear layer's sum over its inputs: one part of several, and the rest added to it."""
    width = layer.weight.shape[1]
    at = width // parts
    left = F.linear(x[..., :at], layer.weight[:, :at], layer.bias)
    return left + F.linear(x[..., at:], layer.weight[:, at:])


def reversed_sum(layer, x):
    """A linear layer's sum over its inputs, from the last to the first."""
    return F.linear(x.flip(-1), layer.weight.flip(-1), layer.bias)
'''
"""What edits of sums call. A script that uses them has torch.nn.functional as F."""

_LAYER_SUMS: Final = {
    "halves": "split_sum({layer}, {input}, 2)",
    "thirds": "split_sum({layer}, {input}, 3)",
    "quarters": "split_sum({layer}, {input}, 4)",
    "reversed": "reversed_sum({layer}, {input})",
}
_PERMUTATIONS: Final = {
    "rows reversed": "{p}.copy_({p}.flip(0))",
    "columns reversed": "{p}.copy_({p}.flip(-1))",
    "rows shifted": "{p}.copy_({p}.roll(1, 0))",
    "columns shifted": "{p}.copy_({p}.roll(1, -1))",
    "both reversed": "{p}.copy_({p}.flip(0, -1))",
}
_BATCH_ORDERS: Final = {
    "batch reversed": "{x}, {y} = {x}.flip(0), {y}.flip(0)",
    "batch rolled": "{x}, {y} = {x}.roll(1, 0), {y}.roll(1, 0)",
    "batch rolled by three": "{x}, {y} = {x}.roll(3, 0), {y}.roll(3, 0)",
}
_LOSSES: Final = {
    "loss summed, then divided": "F.cross_entropy({x}, {y}, reduction='sum') / {y}.numel()",
    "loss in two halves": (
        "(F.cross_entropy({x}[::2], {y}[::2]) + F.cross_entropy({x}[1::2], {y}[1::2])) / 2"
    ),
    "loss written out": "-F.log_softmax({x}, -1).gather(1, {y}[:, None]).mean()",
}
_ATTENTIONS: Final = {
    "scores by another scale": (3.0, 1 / 3.0),
    "scores by a smaller scale": (0.7, 1 / 0.7),
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


def _layers(tree: ast.Module) -> dict[str, str]:
    """Attributes that hold layers with parameters of their own, and the layers' constructors."""
    found = {}
    for holder in ast.walk(tree):
        if not isinstance(holder, ast.ClassDef) or "Module" not in str(
            [ast.unparse(base) for base in holder.bases]
        ):
            continue
        for node in ast.walk(holder):
            match node:
                case ast.Assign(
                    targets=[ast.Attribute(value=ast.Name(id="self"), attr=name)],
                    value=ast.Call(func=function),
                ):
                    constructor = ast.unparse(function).rpartition(".")[2]
                    # What a function of the script returns, such as a norm, starts the same
                    # whatever its name.
                    if constructor[:1].isupper():
                        found[name] = constructor
                case _:
                    continue
    return found


def _renames(tree: ast.Module) -> Iterator[tuple[str, _Change]]:
    """Every layer under another name."""
    for name in _layers(tree):
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


def _salts(tree: ast.Module) -> Iterator[tuple[str, _Change]]:
    """All draws from generators of other names."""
    if not any(_is_generator(node) for node in ast.walk(tree)):
        return

    def salted(salt: str) -> _Change:
        def change(edited: ast.Module) -> None:
            for node in ast.walk(edited):
                if _is_generator(node):
                    assert isinstance(node, ast.Call)
                    node.args[0] = ast.BinOp(node.args[0], ast.Add(), ast.Constant(salt))

        return change

    for number in range(1, _SALTS + 1):
        yield f"other generators {number}", salted(f" {number}")


def _permuted_draws(tree: ast.Module) -> Iterator[tuple[str, _Change]]:
    """What was drawn into a parameter, in another order."""

    def permuted(code: str) -> _Change:
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


# -- sums in another order ------------------------------------------------------------------------


def _layer_sums(tree: ast.Module) -> Iterator[tuple[str, _Change]]:
    """Every linear layer's product, in parts."""

    def summed(layer: str, code: str) -> _Change:
        def change(edited: ast.Module) -> None:
            _Replace(lambda node: _applied(node, layer), code).visit(edited)
            _add_helpers(edited)

        return change

    linear = [name for name, constructor in _layers(tree).items() if constructor == "Linear"]
    for way, code in _LAYER_SUMS.items():
        for layer in linear:
            yield (
                f"{layer} in {way}" if way != "reversed" else f"{layer} {way}",
                summed(layer, code),
            )


def _applied(node: ast.AST, layer: str) -> dict[str, str] | None:
    match node:
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id="self"), attr=name) as function, args=[argument]
        ) if name == layer:
            return {"layer": ast.unparse(function), "input": ast.unparse(argument)}
        case _:
            return None


def _losses(tree: ast.Module) -> Iterator[tuple[str, _Change]]:
    """The mean loss of a batch, written in another way."""

    def written(code: str) -> _Change:
        return lambda edited: _replace_once(edited, _plain_loss, code)

    if any(_plain_loss(node) for node in ast.walk(tree)):
        for name, code in _LOSSES.items():
            yield name, written(code)


def _plain_loss(node: ast.AST) -> dict[str, str] | None:
    match node:
        case ast.Call(args=[logits, targets], keywords=[]) if (
            ast.unparse(node.func) == "F.cross_entropy"
        ):
            return {"x": ast.unparse(logits), "y": ast.unparse(targets)}
        case _:
            return None


def _batch_orders(tree: ast.Module) -> Iterator[tuple[str, _Change]]:
    """The rows of each batch in another order."""

    def ordered(code: str) -> _Change:
        def change(edited: ast.Module) -> None:
            for node in ast.walk(edited):
                if isinstance(node, ast.For) and (names := _batch(node)) is not None:
                    node.body[:0] = ast.parse(code.format(**names)).body

        return change

    if any(_batch(node) for node in ast.walk(tree)):
        for name, code in _BATCH_ORDERS.items():
            yield name, ordered(code)


def _batch(node: ast.AST) -> dict[str, str] | None:
    match node:
        case ast.For(
            target=ast.Tuple(elts=[ast.Name(id=x), ast.Name(id=y)]), iter=ast.Call(func=function)
        ) if ast.unparse(function) == "run.batches":
            return {"x": x, "y": y}
        case _:
            return None


def _attentions(tree: ast.Module) -> Iterator[tuple[str, _Change]]:
    """Queries and keys with factors that cancel but for rounding."""

    def scaled(first: float, second: float) -> _Change:
        def change(edited: ast.Module) -> None:
            for node in ast.walk(edited):
                if _is_attention(node):
                    assert isinstance(node, ast.Call)
                    for place, factor in enumerate((first, second)):
                        node.args[place] = ast.BinOp(
                            node.args[place], ast.Mult(), ast.Constant(factor)
                        )

        return change

    if any(_is_attention(node) for node in ast.walk(tree)):
        for name, factors in _ATTENTIONS.items():
            yield name, scaled(*factors)


def _is_attention(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and ast.unparse(node.func) == "F.scaled_dot_product_attention"
        and len(node.args) >= len(("query", "key"))
    )


class _Replace(ast.NodeTransformer):
    """Puts other code in the place of calls, innermost first."""

    def __init__(self, place: Callable[[ast.AST], dict[str, str] | None], code: str) -> None:
        self._place = place
        self._code = code

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if (names := self._place(node)) is None:
            return node
        return ast.parse(self._code.format(**names), mode="eval").body


def _replace_once(
    tree: ast.Module, place: Callable[[ast.AST], dict[str, str] | None], code: str
) -> None:
    """Replaces a call whose arguments the new code uses several times: they are named first."""
    for holder in ast.walk(tree):
        body = getattr(holder, "body", None)
        if not isinstance(body, list):
            continue
        for number, statement in enumerate(body):
            match statement:
                case ast.Assign(value=value) if (names := place(value)) is not None:
                    given = ast.parse(f"logits, targets = {names['x']}, {names['y']}").body
                    statement.value = ast.parse(
                        code.format(x="logits", y="targets"), mode="eval"
                    ).body
                    body[number:number] = given
                    return
                case _:
                    continue


def _add_helpers(tree: ast.Module) -> None:
    """Defines what edited sums call, before the first class."""
    first = next(
        (place for place, node in enumerate(tree.body) if isinstance(node, ast.ClassDef)),
        len(tree.body),
    )
    tree.body[first:first] = ast.parse(_HELPERS).body


_KINDS: Final[dict[str, tuple[_Find, ...]]] = {
    "rename": (_renames,),
    "draws": (_salts, _permuted_draws),
    "sums": (_batch_orders, _losses, _attentions, _layer_sums),
}
