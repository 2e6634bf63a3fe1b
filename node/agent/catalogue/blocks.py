"""Edits of the model's blocks: activation, positions, attention and head.

This file decides how each of these is written into a script. It refuses to know how a model is
initialised and trained, and which of its edits work best.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import libcst as cst

from node.agent.catalogue.edit import Edit
from node.agent.catalogue.script import NotApplicableError, Script, assigned, code_of, statements

if TYPE_CHECKING:
    from collections.abc import Callable

_ROTATE: Final = '''
def rotate(x):
    """Turns pairs of features by angles that grow with the place in the window (RoPE)."""
    half = x.shape[-1] // 2
    speed = ROPE_BASE ** (-torch.arange(half, device=x.device) / half)
    angle = torch.outer(torch.arange(x.shape[-2], device=x.device), speed)
    cos, sin = angle.cos(), angle.sin()
    a, b, rest = x.split((half, half, x.shape[-1] - 2 * half), dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos, rest), dim=-1)
'''

_SHIFT: Final = '''
def shift(x):
    """Takes half of the features (B, T, D) from the token before."""
    half = x.shape[-1] // 2
    past = F.pad(x[..., :half], (0, 0, 1, 0))[:, :-1]
    return torch.cat((past, x[..., half:]), dim=-1)
'''


def _gate(script: Script) -> Script:
    """Gives the MLP a second input matrix whose activated output scales the first one's.

    Two thirds of the width keep the number of weights as it was.
    """
    script = script.replace(
        "activation(self.up(x))", "activation(self.gate(x)) * self.up(x)", "forward", "MLP"
    )
    wide = "int(MLP_RATIO * D_MODEL)"
    script = script.replace(wide, "int(MLP_RATIO * D_MODEL / 1.5)", "__init__", "MLP")

    def add_gate(body: list[cst.BaseStatement]) -> list[cst.BaseStatement] | None:
        for index, statement in enumerate(body):
            if assigned(statement) == "self.up":
                gate = statement.visit(_Rename("up", "gate"))
                assert isinstance(gate, cst.BaseStatement)
                return [*body[: index + 1], gate, *body[index + 1 :]]
        return None

    return script.edit_body("__init__", add_gate, "MLP")


class _Rename(cst.CSTTransformer):
    def __init__(self, old: str, new: str) -> None:
        super().__init__()
        self._old, self._new = old, new

    def leave_Attribute(  # noqa: N802 - libcst names its visitors after its nodes
        self,
        original_node: cst.Attribute,  # noqa: ARG002 - the visitor interface has it
        updated_node: cst.Attribute,
    ) -> cst.Attribute:
        if updated_node.attr.value == self._old:
            return updated_node.with_changes(attr=cst.Name(self._new))
        return updated_node


def _drop_learned(script: Script) -> Script:
    """Removes the table of learned positions and every use of it."""
    script = script.replace(
        "add_positions(self.tokens(tokens), self.positions)",
        "self.tokens(tokens)",
        "forward",
        "GPT",
    )

    def drop_table(body: list[cst.BaseStatement]) -> list[cst.BaseStatement] | None:
        kept = [statement for statement in body if assigned(statement) != "self.positions"]
        return kept if len(kept) < len(body) else None

    return script.edit_body("__init__", drop_table, "GPT").without("add_positions")


def _rope(script: Script) -> Script:
    if script.has("rotate"):
        raise NotApplicableError("queries and keys are rotated already")
    script = script.before("shape_heads", _ROTATE)
    script = script.append("shape_heads", "q, k = rotate(q), rotate(k)")
    if "ROPE_BASE" in script.constants():
        return script
    return script.with_constant("ROPE_BASE", 10000.0, "slowest rotation, in tokens")


def _shift_attention(script: Script) -> Script:
    script = script.replace(
        "self.attention(self.norm1(x))", "self.attention(shift(self.norm1(x)))", "forward", "Block"
    )
    return script.before("Block", _SHIFT)


def _shift_mlp(script: Script) -> Script:
    script = script.replace(
        "self.mlp(self.norm2(x))", "self.mlp(shift(self.norm2(x)))", "forward", "Block"
    )
    return script.before("Block", _SHIFT)


def _parallel(script: Script) -> Script:
    """Adds both branches to the same stream, each as it stands, other edits of it included."""

    def merge(body: list[cst.BaseStatement]) -> list[cst.BaseStatement] | None:
        match body:
            case [
                cst.SimpleStatementLine(
                    body=[
                        cst.Assign(
                            value=cst.BinaryOperation(cst.Name("x"), cst.Add(), attention),
                        )
                    ]
                ) as first,
                cst.SimpleStatementLine(
                    body=[cst.Return(cst.BinaryOperation(cst.Name("x"), cst.Add(), mlp))]
                ),
            ] if assigned(first) == "x":
                return statements(f"return x + {code_of(attention)} + {code_of(mlp)}")
            case _:
                return None

    return script.edit_body("forward", merge, "Block")


def _tied(script: Script) -> Script:
    line = "self.head.weight = self.tokens.weight"
    if any(assigned(s) == "self.head.weight" for s in script.body("__init__", "GPT")):
        raise NotApplicableError("the head shares the embedding already")
    return script.append("__init__", line, "GPT")


def _soft_cap(script: Script) -> Script:
    if "LOGIT_CAP" in script.constants():
        raise NotApplicableError("the logits are capped already")

    def cap(body: list[cst.BaseStatement]) -> list[cst.BaseStatement] | None:
        match body[-1]:
            case cst.SimpleStatementLine(body=[cst.Return(value=cst.BaseExpression() as value)]):
                result = f"return LOGIT_CAP * torch.tanh({code_of(value)} / LOGIT_CAP)"
                return [*body[:-1], *statements(result)]
            case _:
                return None

    script = script.edit_body("forward", cap, "GPT")
    return script.with_constant("LOGIT_CAP", 15.0, "no logit leaves ± this value")


def _swiglu(script: Script) -> Script:
    return _gate(script).with_body("activation", "return F.silu(x)\n")


def _rope_only(script: Script) -> Script:
    return _rope(_drop_learned(script))


def _body_of(function: str, code: str) -> Callable[[Script], Script]:
    """Returns a transform that replaces the body of a function by one line of code."""
    return lambda script: script.with_body(function, code + "\n")


ACTIVATION: Final = (
    Edit(
        "activation",
        "activation:relu",
        "ReLU",
        "It is cheap and sparse; smooth activations help less in small models than in large ones.",
        "A small difference in either direction.",
        _body_of("activation", "return F.relu(x)"),
    ),
    Edit(
        "activation",
        "activation:relu2",
        "Squared ReLU",
        "Squaring makes the response of a hidden unit selective: weak matches vanish, strong ones "
        "count more, which has helped language models at equal compute.",
        "A moderate gain.",
        _body_of("activation", "return F.relu(x).square()"),
    ),
    Edit(
        "activation",
        "activation:silu",
        "SiLU",
        "A smooth activation with a wider negative part than GELU keeps more units learning.",
        "A small difference in either direction.",
        _body_of("activation", "return F.silu(x)"),
    ),
    Edit(
        "activation",
        "activation:swiglu",
        "SwiGLU: a gated MLP with SiLU",
        "A product of two projections lets the MLP select features by context; two thirds of the "
        "width keep the number of weights.",
        "A moderate gain.",
        _swiglu,
    ),
    Edit(
        "activation",
        "activation:gated",
        "Gate the MLP with its present activation",
        "A product of two projections lets the MLP select features by context, with whatever "
        "activation has proved itself here; two thirds of the width keep the number of weights.",
        "A moderate gain.",
        _gate,
    ),
)

POSITIONS: Final = (
    Edit(
        "positions",
        "positions:rope",
        "Rotary positions instead of learned ones",
        "Attention then sees distances directly and equally everywhere in the window, instead of "
        "having to learn a vector for every place.",
        "Faster learning of local structure.",
        _rope_only,
    ),
    Edit(
        "positions",
        "positions:rope_added",
        "Rotary positions",
        "Rotating queries and keys shows attention the distance between tokens directly; whatever "
        "says where in the window a token stands is left as it is.",
        "Faster learning of local structure.",
        _rope,
    ),
    Edit(
        "positions",
        "positions:none",
        "No learned positions",
        "Causal attention can tell order by itself, and a table of positions that is trained on "
        "few tokens is mostly noise.",
        "Unsure: less noise, but distances must be inferred.",
        _drop_learned,
    ),
)

ATTENTION: Final = (
    Edit(
        "attention",
        "attention:shift",
        "Attention reads half of its features from the previous token",
        "Most of the predictable structure in text is local. Handing attention the pair of "
        "neighbouring tokens saves it a layer spent on finding the previous one.",
        "Faster learning of local structure.",
        _shift_attention,
    ),
    Edit(
        "attention",
        "mlp:shift",
        "The MLP reads half of its features from the previous token",
        "Pairs of neighbouring tokens become features of the MLP without attention's help.",
        "Faster learning of local structure.",
        _shift_mlp,
    ),
    Edit(
        "attention",
        "block:parallel",
        "Attention and MLP side by side",
        "Both read the same residual stream and their outputs are added at once, which shortens "
        "the path of the gradient.",
        "A small difference in either direction.",
        _parallel,
    ),
)

HEAD: Final = (
    Edit(
        "head",
        "head:tied",
        "The head shares the embedding's weights",
        "Input and output vectors of a token have related meanings, and shared weights get twice "
        "the gradient; the scale that suits an embedding may not suit a head.",
        "A gain where the run is short.",
        _tied,
    ),
    Edit(
        "head",
        "head:soft_cap",
        "Soft cap on the logits",
        "Bounded logits keep the model from early over-confidence, whose correction costs steps.",
        "A small gain, more with large steps.",
        _soft_cap,
    ),
)

EDITS: Final = ACTIVATION + POSITIONS + ATTENTION + HEAD
