"""Harmless edits of one kind: sums in another order.

Products are split in parts, batches reversed, means written out: only the last digits differ at
first. This file finds where a script has such sums and rewrites them by syntax; what such edits are
for says `harmless.py`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

Change: TypeAlias = Callable[[ast.Module], None]
"""Edits a tree in place."""
Find: TypeAlias = Callable[[ast.Module], "Iterator[tuple[str, Change]]"]
"""Finds the edits that have a place in a tree, by name."""

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


def layers(tree: ast.Module) -> dict[str, str]:
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


def _layer_sums(tree: ast.Module) -> Iterator[tuple[str, Change]]:
    """Every linear layer's product, in parts."""

    def summed(layer: str, code: str) -> Change:
        def change(edited: ast.Module) -> None:
            _Replace(lambda node: _applied(node, layer), code).visit(edited)
            _add_helpers(edited)

        return change

    linear = [name for name, constructor in layers(tree).items() if constructor == "Linear"]
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


def _losses(tree: ast.Module) -> Iterator[tuple[str, Change]]:
    """The mean loss of a batch, written in another way."""

    def written(code: str) -> Change:
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


def _batch_orders(tree: ast.Module) -> Iterator[tuple[str, Change]]:
    """The rows of each batch in another order."""

    def ordered(code: str) -> Change:
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


def _attentions(tree: ast.Module) -> Iterator[tuple[str, Change]]:
    """Queries and keys with factors that cancel but for rounding."""

    def scaled(first: float, second: float) -> Change:
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


SUMS: Final[tuple[Find, ...]] = (_batch_orders, _losses, _attentions, _layer_sums)
