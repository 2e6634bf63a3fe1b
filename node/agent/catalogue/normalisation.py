"""Edits of what a model normalises, and of the biases that a norm makes redundant.

This file decides how each of these is written into a script. It refuses to know which of them work
best.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import libcst as cst

from node.agent.catalogue.edit import Edit
from node.agent.catalogue.script import NotApplicableError, Script, assigned, code_of, statements

if TYPE_CHECKING:
    from collections.abc import Callable


def _qk_norm(script: Script) -> Script:
    if script.calls("F.rms_norm", "shape_heads"):
        raise NotApplicableError("queries and keys are normalised already")
    return script.prepend(
        "shape_heads", "q, k = F.rms_norm(q, q.shape[-1:]), F.rms_norm(k, k.shape[-1:])"
    )


def _post_norm(script: Script) -> Script:
    for part, norm in (("attention", "norm1"), ("mlp", "norm2")):
        script = script.replace(
            f"x + self.{part}(self.{norm}(x))",
            f"self.{norm}(x + self.{part}(x))",
            "forward",
            "Block",
        )
    return script


def _embedding_norm(script: Script) -> Script:
    if script.calls("F.rms_norm", "forward", "GPT"):
        raise NotApplicableError("the embedding is normalised already")

    def after_first(body: list[cst.BaseStatement]) -> list[cst.BaseStatement] | None:
        for index, statement in enumerate(body):
            if assigned(statement) == "x":
                return [
                    *body[: index + 1],
                    *statements("x = F.rms_norm(x, x.shape[-1:])"),
                    *body[index + 1 :],
                ]
        return None

    return script.edit_body("forward", after_first, "GPT")


def _no_bias(script: Script) -> Script:
    def visit(node: cst.BaseExpression) -> cst.BaseExpression | None:
        if not isinstance(node, cst.Call) or code_of(node.func) != "nn.Linear":
            return None
        if any(argument.keyword is not None for argument in node.args):
            return None
        bias = cst.Arg(
            keyword=cst.Name("bias"),
            value=cst.Name("False"),
            equal=cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace("")),
        )
        return node.with_changes(args=[*node.args, bias])

    for owner in ("Attention", "MLP"):
        script = script.rewrite(visit, "__init__", owner)
    return script


def _rms_norm(script: Script) -> Script:
    return script.with_body("norm", "return nn.RMSNorm(width)\n")


def _layer_norm(code: str) -> Callable[[Script], Script]:
    """Returns a transform to a LayerNorm, where something is normalised already.

    Where nothing is, RMSNorm does the same work for less; which of the two is better is a question
    for later.
    """

    def transform(script: Script) -> Script:
        if not script.calls("nn.RMSNorm", "norm") and not script.calls("nn.LayerNorm", "norm"):
            raise NotApplicableError("nothing is normalised yet")
        return script.with_body("norm", code + "\n")

    return transform


EDITS: Final = (
    Edit(
        "normalisation",
        "norm:rmsnorm",
        "RMSNorm",
        "Only the scale of the activations needs taming; the mean subtraction and the bias of "
        "LayerNorm cost parameters and steps without adding anything that the next matrix cannot.",
        "A small gain, mostly from fewer parameters to learn.",
        _rms_norm,
    ),
    Edit(
        "normalisation",
        "norm:layernorm",
        "LayerNorm",
        "Subtracting the mean removes a direction that every token shares; on some models that "
        "direction grows and wastes precision.",
        "A small difference in either direction.",
        _layer_norm("return nn.LayerNorm(width)"),
    ),
    Edit(
        "normalisation",
        "norm:layernorm_nobias",
        "LayerNorm without a bias",
        "The matrix that follows a norm has a bias of its own, so the norm's is redundant.",
        "A small gain or none.",
        _layer_norm("return nn.LayerNorm(width, bias=False)"),
    ),
    Edit(
        "normalisation",
        "norm:qk",
        "Normalise queries and keys per head",
        "Attention logits then stay bounded whatever the weights grow to, which tolerates larger "
        "steps; without a gain the logits may also be too flat for sharp attention.",
        "Stabler training, most visible together with a larger learning rate.",
        _qk_norm,
    ),
    Edit(
        "normalisation",
        "norm:post",
        "Normalise after the residual sum",
        "Post-norm keeps the scale of the residual stream constant with depth. It trains less "
        "easily in deep models, but this one is shallow.",
        "Unsure: a gain in shallow models, a loss with large steps.",
        _post_norm,
    ),
    Edit(
        "normalisation",
        "norm:embedding",
        "Normalise the embedding",
        "Small initial embeddings leave the residual stream dominated by the first block's output; "
        "bringing them to unit scale lets the token itself be heard from the first step.",
        "Faster early progress.",
        _embedding_norm,
    ),
    Edit(
        "normalisation",
        "norm:linear_nobias",
        "No biases in the blocks' matrices",
        "With normalised inputs the biases add little; leaving them out saves work per step.",
        "A small gain or none.",
        _no_bias,
    ),
)
