"""Edits of how parameters start.

This file decides how scales of initialisation are written into `init_weights`. It refuses to know
the model beyond the names of its matrices. Every parameter keeps drawing from its own named
generator, so that parent and child share what they have in common on one seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import libcst as cst

from node.agent.catalogue.edit import OUTPUT_LAYERS, Edit
from node.agent.catalogue.script import NotApplicableError, Script, code_of, is_return, statements

if TYPE_CHECKING:
    from collections.abc import Callable


def _spread(formula: str) -> Callable[[Script], Script]:
    """Returns a transform that draws the blocks' matrices with a spread of their own.

    Embeddings keep the spread that the script had for all.
    """

    def last_return(body: list[cst.BaseStatement]) -> list[cst.BaseStatement] | None:
        if not is_return(body[-1]):
            return None
        return [*body[:-1], *statements(f"return {formula}")]

    def transform(script: Script) -> Script:
        if script.has("init_std"):
            return script.edit_body("init_std", last_return)
        before: list[str] = []

        def visit(node: cst.BaseExpression) -> cst.BaseExpression | None:
            match node:
                case cst.Call(
                    func=cst.Attribute(attr=cst.Name("normal_")), args=[mean, old, *rest]
                ):
                    before.append(code_of(old.value))
                    spread = old.with_changes(
                        value=cst.parse_expression("init_std(name, parameter)")
                    )
                    return node.with_changes(args=[mean, spread, *rest])
                case _:
                    return None

        script = script.rewrite(visit, "init_weights")
        return script.before(
            "init_weights",
            "def init_std(name, parameter):\n"
            '    if name.startswith(("tokens", "positions")):\n'
            f"        return {before[0]}\n"
            "    rows, columns = parameter.shape\n"
            f"    return {formula}\n",
        )

    return transform


def _at_end_of_loop(code: str) -> Callable[[Script], Script]:
    """Returns a transform that adds statements after a parameter has been drawn."""

    def change(body: list[cst.BaseStatement]) -> list[cst.BaseStatement] | None:
        for index, statement in enumerate(body):
            if not isinstance(statement, cst.For) or not isinstance(
                statement.body, cst.IndentedBlock
            ):
                continue
            # Spacing differs by how deep the statements stand, their words do not.
            if "".join(code.split()) in "".join(code_of(statement).split()):
                raise NotApplicableError("the parameters are drawn so already")
            block = statement.body
            longer = block.with_changes(body=[*block.body, *statements(code)])
            return [*body[:index], statement.with_changes(body=longer), *body[index + 1 :]]
        return None

    def transform(script: Script) -> Script:
        return script.edit_body("init_weights", change)

    return transform


_residual = _at_end_of_loop(
    f"if name.endswith({OUTPUT_LAYERS}):\n    parameter.mul_((2 * N_LAYER) ** -0.5)\n"
)
_zero_outputs = _at_end_of_loop(f"if name.endswith({OUTPUT_LAYERS}):\n    parameter.zero_()\n")
_zero_head = _at_end_of_loop('if name == "head.weight":\n    parameter.zero_()\n')
_scale_tokens = _at_end_of_loop('if name == "tokens.weight":\n    parameter.mul_(TOKEN_SCALE)\n')


def _larger_embedding(script: Script) -> Script:
    if "TOKEN_SCALE" in script.constants():
        raise NotApplicableError("the embedding has a scale of its own already")
    return _scale_tokens(script).with_constant(
        "TOKEN_SCALE", 8.0, "the embedding starts this much larger than other matrices"
    )


EDITS: Final = (
    Edit(
        "initialisation",
        "init:kaiming",
        "Kaiming initialisation",
        "A standard deviation of sqrt(2 / inputs) keeps the scale of activations through layers "
        "that lose half of it in their activation; a fixed one suits a single width.",
        "Faster early progress if signals were too small.",
        _spread("(2.0 / columns) ** 0.5"),
    ),
    Edit(
        "initialisation",
        "init:xavier",
        "Xavier initialisation",
        "A standard deviation of sqrt(2 / (inputs + outputs)) balances the scale of signals on the "
        "way forward and of gradients on the way back.",
        "Faster early progress if signals were too small.",
        _spread("(2.0 / (rows + columns)) ** 0.5"),
    ),
    Edit(
        "initialisation",
        "init:fan_in",
        "Initialisation by the number of inputs",
        "A standard deviation of 1 / sqrt(inputs) gives every layer an output of unit scale.",
        "Faster early progress if signals were too small.",
        _spread("columns ** -0.5"),
    ),
    Edit(
        "initialisation",
        "init:residual",
        "Smaller initial outputs with depth",
        "Every block adds to the residual stream; scaling their outputs by 1 / sqrt(2 layers) "
        "keeps its variance independent of depth.",
        "A small gain, larger in deeper models.",
        _residual,
    ),
    Edit(
        "initialisation",
        "init:zero_outputs",
        "Blocks start as the identity",
        "With zero output matrices the model begins as a bigram table and each block joins in "
        "only as far as its gradient asks for it.",
        "Smoother early training.",
        _zero_outputs,
    ),
    Edit(
        "initialisation",
        "init:zero_head",
        "The head starts at zero",
        "The first predictions are then exactly uniform, and no step is spent on unlearning "
        "random preferences.",
        "A small gain early on.",
        _zero_head,
    ),
    Edit(
        "initialisation",
        "init:embedding",
        "Larger initial embedding",
        "A token's vector should be audible in the residual stream from the start; embeddings "
        "get sparse gradients and grow slowly by themselves.",
        "Faster early progress.",
        _larger_embedding,
    ),
)
