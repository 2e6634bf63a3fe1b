"""Edits of the constants at the top of a script.

This file decides which values of a constant are worth a try: steps on a scale that suits it, around
the value that it has. It refuses to know which of them work best. Constants that it has never heard
of, because another peer's change brought them, are stepped too.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import TYPE_CHECKING, Final, Literal

from node.agent.catalogue.edit import Edit
from node.agent.catalogue.script import NotApplicableError, Script

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from node.agent.catalogue.numbers import Number

Scale = Literal["log", "complement", "count", "width", "heads"]

STEPS: Final = ((2.0, 0.5), (4.0, 0.25, 1.4, 0.7), (1.2, 0.83, 8.0, 0.125), (3.0, 0.33, 1.1, 0.9))
"""Factors by width of the search: the plainest steps first, finer and wilder ones later."""

_ASSIGNMENT: Final = re.compile(r"([A-Z][A-Z0-9_]{0,40})=(-?[0-9][0-9.e+-]{0,30})")


@dataclasses.dataclass(frozen=True, slots=True)
class Constant:
    """What is known about one constant.

    Attributes:
        kind: category of its changes.
        scale: how it is stepped: `log`; `complement` for what approaches one, on a log scale of
            the distance; `count` for small whole numbers; `width` and `heads`, which must fit
            together.
        low: smallest sensible value.
        high: largest sensible value.
        start: value to start from when it is zero, which no factor can leave.
        phrase: what it is, for titles.
        more: what a larger value might bring.
        less: what a smaller value might bring.
    """

    kind: str
    scale: Scale
    low: float
    high: float
    start: float
    phrase: str
    more: str
    less: str


_FASTER: Final = "Larger steps cover more ground in a fixed budget, up to where they diverge."
_CALMER: Final = "Smaller steps are less noisy and may settle lower within the same budget."
_LONGER: Final = "A longer memory averages out the noise of small batches."
_SHORTER: Final = "A shorter memory follows the fast changes of a short run."
_GATHER: Final = "More of it protects from noise, at the price of slower change."
_SPARE: Final = "Less of it leaves more of the budget for learning."

CONSTANTS: Final[Mapping[str, Constant]] = {
    "LEARNING_RATE": Constant("rate", "log", 1e-5, 0.3, 1e-3, "learning rate", _FASTER, _CALMER),
    "MUON_RATE": Constant("rate", "log", 1e-4, 0.5, 0.02, "step of Muon", _FASTER, _CALMER),
    "LION_FACTOR": Constant("rate", "log", 0.01, 10.0, 0.3, "step of Lion", _FASTER, _CALMER),
    "SGD_FACTOR": Constant("rate", "log", 1.0, 1e4, 100.0, "step of SGD", _FASTER, _CALMER),
    "EMBEDDING_FACTOR": Constant(
        "rate", "log", 0.1, 100.0, 1.0, "step of embeddings and head", _FASTER, _CALMER
    ),
    "BATCH_SIZE": Constant(
        "batch",
        "count",
        1,
        256,
        8,
        "batch size",
        "Larger batches give cleaner gradients, for fewer steps.",
        "Smaller batches buy more steps from the same budget, each a little noisier.",
    ),
    "TRAIN_CONTEXT": Constant(
        "batch",
        "count",
        16,
        1024,
        128,
        "context in training",
        "Longer windows show the model more of what it could use.",
        "Shorter windows make steps cheaper and are close enough to what a small model can use.",
    ),
    "N_LAYER": Constant(
        "shape",
        "count",
        1,
        24,
        2,
        "depth",
        "Depth composes features; a step costs more, so there are fewer.",
        "A shallower model takes more steps from the same budget.",
    ),
    "D_MODEL": Constant(
        "shape",
        "width",
        16,
        1024,
        64,
        "width",
        "A wider model learns more per token; a step costs more, so there are fewer.",
        "A narrower model takes more steps from the same budget.",
    ),
    "N_HEAD": Constant(
        "shape",
        "heads",
        1,
        32,
        2,
        "number of heads",
        "More heads look at more places at once.",
        "Fewer, wider heads match more exactly.",
    ),
    "MLP_RATIO": Constant(
        "shape",
        "count",
        1,
        16,
        4,
        "width of the MLP relative to the model",
        "A wider MLP stores more patterns per unit of attention.",
        "A narrower MLP leaves more of the budget for steps.",
    ),
    "INIT_STD": Constant(
        "initialisation",
        "log",
        1e-4,
        1.0,
        0.02,
        "initial standard deviation",
        "Larger initial weights give signals and gradients a useful scale from the start.",
        "Smaller initial weights start closer to the linear regime.",
    ),
    "TOKEN_SCALE": Constant(
        "initialisation", "log", 0.1, 100.0, 1.0, "initial scale of the embedding", _FASTER, _CALMER
    ),
    "BETA1": Constant(
        "moments", "complement", 0.0, 0.995, 0.9, "momentum of AdamW", _LONGER, _SHORTER
    ),
    "BETA2": Constant(
        "moments", "complement", 0.5, 0.9999, 0.999, "second moment of AdamW", _LONGER, _SHORTER
    ),
    "MUON_MOMENTUM": Constant(
        "moments", "complement", 0.5, 0.995, 0.95, "momentum of Muon", _LONGER, _SHORTER
    ),
    "MUON_STEPS": Constant(
        "moments", "count", 1, 12, 5, "Newton-Schulz iterations of Muon", _GATHER, _SPARE
    ),
    "WEIGHT_DECAY": Constant(
        "regularisation", "log", 1e-4, 2.0, 0.05, "weight decay", _GATHER, _SPARE
    ),
    "GRAD_CLIP": Constant(
        "regularisation",
        "log",
        0.05,
        10.0,
        1.0,
        "largest gradient norm",
        "A higher bound lets steep gradients through.",
        "A lower bound keeps single batches from undoing what others taught.",
    ),
    "LOGIT_CAP": Constant("head", "log", 3.0, 100.0, 15.0, "cap on the logits", _SPARE, _GATHER),
    "ROPE_BASE": Constant(
        "positions",
        "log",
        10.0,
        1e6,
        1e4,
        "base of the rotary positions",
        "Slower rotations tell far places apart less and leave more features for content.",
        "Faster rotations suit windows as short as these.",
    ),
    "WARMUP": Constant("schedule", "log", 0.002, 0.5, 0.05, "share of warm-up", _GATHER, _SPARE),
    "COOLDOWN": Constant("schedule", "log", 0.05, 1.0, 0.4, "share of cool-down", _GATHER, _SPARE),
    "AVERAGED": Constant(
        "schedule", "log", 0.02, 0.9, 0.3, "share of the run that is averaged", _GATHER, _SPARE
    ),
}

_FAR: Final = 1e3
"""How far, as a factor, a constant may go whose value here is outside of the usual range: its name
is known, but another script means something else by it."""

_UNKNOWN: Final = Constant(
    "constant",
    "log",
    1e-9,
    1e9,
    1.0,
    "a constant",
    "A larger value has not been tried here.",
    "A smaller value has not been tried here.",
)


def constant_edits(script: Script, width: int) -> Iterator[Edit]:
    """Yields the steps of every constant of a script.

    Args:
        script: the script to change.
        width: how far the search has widened, 0 for the plainest steps only.
    """
    constants = script.constants()
    factors = [factor for level in STEPS[: width + 1] for factor in level]
    for name in sorted(constants):
        seen = {constants[name]}
        for factor in factors:
            value = _step(name, constants, factor)
            if value is not None and value not in seen:
                seen.add(value)
                yield constant_edit(name, value, constants[name])


def parse_assignment(change: str) -> tuple[str, Number] | None:
    """Returns the name and value of a change such as `LEARNING_RATE=0.002`, or None.

    The text may be a peer's: only plain finite numbers pass.
    """
    match = _ASSIGNMENT.fullmatch(change)
    if match is None:
        return None
    name, text = match.groups()
    try:
        value = float(text) if any(sign in text for sign in ".e") else int(text)
    except ValueError:
        return None
    if not math.isfinite(value) or not _UNKNOWN.low <= abs(value or 1) <= _UNKNOWN.high:
        return None
    return name, value


def constant_edit(name: str, value: Number, previous: Number | None = None) -> Edit:
    """Returns the edit that sets a constant which the script has, and whose value is allowed."""
    constant = CONSTANTS.get(name, _UNKNOWN)

    def transform(script: Script) -> Script:
        constants = script.constants()
        if name not in constants:
            raise NotApplicableError(f"the script has no constant {name}")
        here = _here(name, constants[name])
        allowed = value == 0 or here.low <= value <= here.high
        if not allowed or not _fits({**constants, name: value}):
            raise NotApplicableError(f"{value!r} is no value for {name}")
        if constants[name] == value:
            raise NotApplicableError(f"{name} has this value already")
        return script.with_constant(name, value)

    change = f"from {previous!r} to {value!r}" if previous is not None else f"to {value!r}"
    # A gradient norm of zero means no bound at all.
    larger = previous is None or (value > previous and not (name == "GRAD_CLIP" and not previous))
    return Edit(
        kind=constant.kind,
        change=f"{name}={value!r}",
        title=f"{name} {change}",
        rationale=f"This changes the {constant.phrase} {change}. "
        + (constant.more if larger else constant.less),
        expected_effect="A small to moderate difference; the sign is what the trial is for.",
        transform=transform,
    )


def doublings(name: str, value: Number) -> float | None:
    """Returns where a value lies on its constant's scale, in doublings; None for zero."""
    if CONSTANTS.get(name, _UNKNOWN).scale == "complement":
        return -math.log2(1.0 - value) if value < 1.0 else None
    return math.log2(value) if value > 0 else None


def _step(name: str, constants: Mapping[str, Number], factor: float) -> Number | None:
    """Returns the value one step away, rounded as a person would write it, or None."""
    old = constants[name]
    constant = _here(name, old)
    value: Number
    match constant.scale:
        case "log" if isinstance(old, int) and constant.kind == _UNKNOWN.kind:
            value = round(old * factor)
            if value == old:
                value = old + (1 if factor > 1.0 else -1)
        case "log":
            # From zero the first step is a usual value, others are steps around that.
            value = _rounded(old * factor) if old else _rounded(constant.start * factor / 2.0)
        case "complement":
            value = 1.0 - _rounded((1.0 - old) / factor)
            value = float(f"{value:.6g}")
        case "count":
            value = round(old * factor)
            if value == old:
                value = round(old) + (1 if factor > 1.0 else -1)
        case "width":
            unit = 8 * round(constants.get("N_HEAD", 1))
            # The cost grows with the square, so half a step is a step in cost.
            value = max(1, round(old * factor**0.5 / unit)) * unit
        case "heads":
            value = max(1, round(old * factor))
    if not constant.low <= value <= constant.high or not _fits({**constants, name: value}):
        return None
    return value


def _here(name: str, value: Number) -> Constant:
    """Returns what is known of a constant in a script where it has this value.

    A value outside of the usual range shows that the script means something of its own by the name.
    It is then stepped like an unknown constant, on a logarithmic scale, on its side of zero.
    """
    known = CONSTANTS.get(name, _UNKNOWN)
    if value == 0 or known.low <= value <= known.high:
        return known
    far = sorted((value / _FAR, value * _FAR))
    return dataclasses.replace(known, kind=_UNKNOWN.kind, scale="log", low=far[0], high=far[1])


def _rounded(value: float) -> float:
    return float(f"{value:.2g}")


def _fits(constants: Mapping[str, Number]) -> bool:
    """Returns whether the heads divide the width into an even number of features each."""
    width, heads = constants.get("D_MODEL"), constants.get("N_HEAD")
    if width is None or heads is None:
        return True
    return width > 0 and heads > 0 and width % (2 * heads) == 0
