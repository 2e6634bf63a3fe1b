"""Edits of how a model is trained: schedule, averaging and optimizer.

This file decides how each of these is written into `learning_rate`, `train` and `make_optimizer`.
It refuses to know the model beyond the names of its matrices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import libcst as cst

from node.agent.catalogue.edit import Edit
from node.agent.catalogue.script import NotApplicableError, Script, code_of, statements

if TYPE_CHECKING:
    from collections.abc import Callable

_WARM_UP: Final = "warm = min(1.0, 0.02 + progress / WARMUP)\n"
_WARM_UP_COMMENT: Final = "share of the budget in which the learning rate rises"


def _schedule(result: str, **constants: float) -> Callable[[Script], Script]:
    """Returns a transform that replaces the schedule and adds the constants that it needs."""

    def transform(script: Script) -> Script:
        script = script.with_body("learning_rate", f"{_WARM_UP}return {result}\n")
        for name, value in {"WARMUP": 0.05, **constants}.items():
            if name not in script.constants():
                script = script.with_constant(name, value, _COMMENTS[name])
        return script

    return transform


_COMMENTS: Final = {
    "WARMUP": _WARM_UP_COMMENT,
    "COOLDOWN": "share of the budget in which the learning rate falls",
}


_TAIL_AVERAGE: Final = '''
class TailAverage:
    """Mean of the weights over the end of a run."""

    def __init__(self, model):
        self.weights = list(model.parameters())
        self.means = []
        self.count = 0

    @torch.no_grad()
    def add(self):
        self.count += 1
        if self.count == 1:
            self.means = [weight.clone() for weight in self.weights]
        for mean, weight in zip(self.means, self.weights):
            mean.lerp_(weight, 1.0 / self.count)

    @torch.no_grad()
    def apply(self):
        for mean, weight in zip(self.means, self.weights):
            weight.copy_(mean)
'''


def _tail_average(script: Script) -> Script:
    if script.has("TailAverage"):
        raise NotApplicableError("the weights are averaged already")

    def change(body: list[cst.BaseStatement]) -> list[cst.BaseStatement] | None:
        for index, loop in enumerate(body):
            if not isinstance(loop, cst.For) or "run.batches" not in code_of(loop.iter):
                continue
            block = loop.body
            steps = [code_of(s).strip() == "optimizer.step()" for s in block.body]
            if not isinstance(block, cst.IndentedBlock) or not any(steps):
                return None
            at = steps.index(True) + 1
            add = statements("if run.progress() > 1.0 - AVERAGED:\n    average.add()\n")
            longer = block.with_changes(body=[*block.body[:at], *add, *block.body[at:]])
            return [
                *body[:index],
                *statements("average = TailAverage(model)"),
                loop.with_changes(body=longer),
                *statements("average.apply()"),
                *body[index + 1 :],
            ]
        return None

    script = script.edit_body("train", change).before("train", _TAIL_AVERAGE)
    return script.with_constant("AVERAGED", 0.3, "share of the budget whose weights are averaged")


_TOGETHER: Final = '''
class Together:
    """Several optimizers that step as one."""

    def __init__(self, *optimizers):
        self.optimizers = optimizers
        self.param_groups = [group for one in optimizers for group in one.param_groups]

    def zero_grad(self, set_to_none=True):
        for one in self.optimizers:
            one.zero_grad(set_to_none=set_to_none)

    def step(self):
        for one in self.optimizers:
            one.step()
'''

_MUON: Final = '''
def orthogonalise(x):
    """Brings all singular values of x near 1 by Newton-Schulz iteration."""
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(MUON_STEPS):
        a = x @ x.T
        x = 3.4445 * x + (2.0315 * a @ a - 4.775 * a) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum for matrices, every update of which turns all directions equally."""

    def __init__(self, matrices):
        super().__init__(matrices, {"lr": MUON_RATE, "lr_factor": MUON_RATE / LEARNING_RATE})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                mean.lerp_(p.grad, 1.0 - MUON_MOMENTUM)
                update = p.grad.lerp(mean, MUON_MOMENTUM)
                # Queries, keys and values share one matrix but are turned each by itself.
                parts = 3 if p.shape[0] == 3 * p.shape[1] else 1
                for u, w in zip(update.chunk(parts), p.chunk(parts)):
                    scale = max(1.0, w.shape[0] / w.shape[1]) ** 0.5
                    w.add_(orthogonalise(u), alpha=-group["lr"] * scale)
'''

_MUON_BODY: Final = """
matrices = [p for name, p in model.named_parameters() if "blocks" in name and p.dim() == 2]
chosen = {id(p) for p in matrices}
others = [p for p in model.parameters() if id(p) not in chosen]
adamw = torch.optim.AdamW(
    others, lr=LEARNING_RATE, betas=(BETA1, BETA2), weight_decay=WEIGHT_DECAY, fused=True
)
return Together(Muon(matrices), adamw)
"""


def _muon(script: Script) -> Script:
    if script.has("Muon"):
        raise NotApplicableError("the matrices are trained by Muon already")
    script = script.with_body("make_optimizer", _MUON_BODY)
    script = script.before("make_optimizer", _TOGETHER + "\n" + _MUON)
    script = script.with_constant("MUON_RATE", 0.02, "length of a step of the blocks' matrices")
    script = script.with_constant("MUON_MOMENTUM", 0.95)
    return script.with_constant("MUON_STEPS", 5, "Newton-Schulz iterations")


_LION: Final = '''
class Lion(torch.optim.Optimizer):
    """Steps of one length along the sign of the momentum."""

    def __init__(self, parameters):
        rate = LEARNING_RATE * LION_FACTOR
        super().__init__(parameters, {"lr": rate, "lr_factor": LION_FACTOR})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                update = p.grad.lerp(mean, 0.9).sign_()
                p.mul_(1.0 - group["lr"] * WEIGHT_DECAY).add_(update, alpha=-group["lr"])
                mean.lerp_(p.grad, 0.01)
'''


def _lion(script: Script) -> Script:
    if script.has("Lion"):
        raise NotApplicableError("the model is trained by Lion already")
    script = script.with_body("make_optimizer", "return Lion(model.parameters())\n")
    script = script.before("make_optimizer", _LION)
    return script.with_constant("LION_FACTOR", 0.3, "step of Lion relative to LEARNING_RATE")


_SGD_BODY: Final = """
optimizer = torch.optim.SGD(
    model.parameters(), lr=LEARNING_RATE, momentum=BETA1, nesterov=True, weight_decay=WEIGHT_DECAY
)
optimizer.param_groups[0]["lr_factor"] = SGD_FACTOR
return optimizer
"""


def _sgd(script: Script) -> Script:
    script = script.with_body("make_optimizer", _SGD_BODY)
    return script.with_constant("SGD_FACTOR", 100.0, "step of SGD relative to LEARNING_RATE")


_RMSPROP_BODY: Final = """
return torch.optim.RMSprop(
    model.parameters(), lr=LEARNING_RATE, alpha=BETA2, momentum=0.0, weight_decay=0.0
)
"""

_NADAM_BODY: Final = """
return torch.optim.NAdam(
    model.parameters(), lr=LEARNING_RATE, betas=(BETA1, BETA2), weight_decay=WEIGHT_DECAY
)
"""


def _body_of(function: str, code: str) -> Callable[[Script], Script]:
    return lambda script: script.with_body(function, code)


def _groups(code: str) -> Callable[[Script], Script]:
    """Returns a transform that splits what AdamW trains into groups.

    Args:
        code: definition of `parameter_groups(model, parameters)`.
    """

    def visit(node: cst.BaseExpression) -> cst.BaseExpression | None:
        if not isinstance(node, cst.Call) or code_of(node.func) != "torch.optim.AdamW":
            return None
        if not node.args or node.args[0].keyword is not None:
            return None
        trained = code_of(node.args[0].value)
        grouped = cst.parse_expression(f"parameter_groups(model, {trained})")
        return node.with_changes(args=[node.args[0].with_changes(value=grouped), *node.args[1:]])

    def transform(script: Script) -> Script:
        if script.has("parameter_groups"):
            raise NotApplicableError("the parameters are grouped already")
        return script.rewrite(visit, "make_optimizer").before("make_optimizer", code)

    return transform


_no_decay = _groups(
    '''
def parameter_groups(model, parameters):
    """Vectors and embeddings are not decayed."""
    decayed = {id(p) for n, p in model.named_parameters() if "blocks" in n and p.dim() == 2}
    parameters = list(parameters)
    return [
        {"params": [p for p in parameters if id(p) in decayed]},
        {"params": [p for p in parameters if id(p) not in decayed], "weight_decay": 0.0},
    ]
'''
)

_group_ends = _groups(
    '''
def parameter_groups(model, parameters):
    """Embeddings and the head learn at a rate of their own."""
    ends = {id(p) for n, p in model.named_parameters() if "blocks" not in n and p.dim() == 2}
    parameters = list(parameters)
    return [
        {"params": [p for p in parameters if id(p) in ends], "lr_factor": EMBEDDING_FACTOR},
        {"params": [p for p in parameters if id(p) not in ends]},
    ]
'''
)


def _embedding_rate(script: Script) -> Script:
    return _group_ends(script).with_constant(
        "EMBEDDING_FACTOR", 4.0, "step of embeddings and head relative to LEARNING_RATE"
    )


_SMOOTH_WARM: Final = "LEARNING_RATE * warm"


def _cosine(script: Script) -> Script:
    shape = "0.5 * (1.0 + math.cos(math.pi * progress))"
    return _schedule(f"{_SMOOTH_WARM} * {shape}")(script).with_import("math")


SCHEDULE: Final = (
    Edit(
        "schedule",
        "schedule:warmup",
        "Warm-up, then a constant learning rate",
        "The optimizer's statistics are poor in the first steps; smaller steps there avoid damage "
        "that takes many steps to repair.",
        "A small gain, larger with a higher learning rate.",
        _schedule(_SMOOTH_WARM),
    ),
    Edit(
        "schedule",
        "schedule:linear",
        "Warm-up and linear decay",
        "Large steps explore, small steps settle: decaying to nothing averages out the noise of "
        "small batches. In a short run the lost step length may cost more than it brings.",
        "A gain if the rate is high enough to begin with.",
        _schedule(f"{_SMOOTH_WARM} * (1.0 - progress)"),
    ),
    Edit(
        "schedule",
        "schedule:cosine",
        "Warm-up and cosine decay",
        "The rate stays high for the first half and settles smoothly to nothing at the end.",
        "A gain if the rate is high enough to begin with.",
        _cosine,
    ),
    Edit(
        "schedule",
        "schedule:trapezoid",
        "Warm-up, a plateau and a linear cool-down",
        "Most of the budget is spent at full rate; the noise is averaged out only at the end.",
        "A gain that costs less step length than decay over the whole run.",
        _schedule(f"{_SMOOTH_WARM} * min(1.0, (1.0 - progress) / COOLDOWN)", COOLDOWN=0.4),
    ),
    Edit(
        "schedule",
        "schedule:tail_average",
        "Average the weights over the end of the run",
        "The mean of the last weights is closer to the valley's floor than any one of them, like a "
        "decay of the learning rate but without shorter steps.",
        "A gain, less where the learning rate decays anyway.",
        _tail_average,
    ),
)

OPTIMIZER: Final = (
    Edit(
        "optimizer",
        "optimizer:muon",
        "Muon for the blocks' matrices",
        "Adam's updates of a matrix are nearly of low rank; orthogonalised momentum moves all "
        "directions alike, the rare ones too. The iteration costs products of its own.",
        "A large gain per step, some fewer steps.",
        _muon,
    ),
    Edit(
        "optimizer",
        "optimizer:lion",
        "Lion",
        "The sign of the momentum gives every weight the same step and needs no second moment, "
        "which is noisy in short runs.",
        "Unsure: depends on the step length.",
        _lion,
    ),
    Edit(
        "optimizer",
        "optimizer:sgd",
        "SGD with Nesterov momentum",
        "Fewer statistics to estimate; transformers usually need a rate per weight, so this mostly "
        "tests whether that holds at this scale.",
        "Probably a loss.",
        _sgd,
    ),
    Edit(
        "optimizer",
        "optimizer:rmsprop",
        "RMSprop without momentum",
        "Momentum delays the answer to the gradient; a short run may do better without.",
        "Unsure.",
        _body_of("make_optimizer", _RMSPROP_BODY),
    ),
    Edit(
        "optimizer",
        "optimizer:nadam",
        "NAdam",
        "Nesterov's look-ahead in Adam uses the present gradient more strongly.",
        "A small gain or none.",
        _body_of("make_optimizer", _NADAM_BODY),
    ),
    Edit(
        "optimizer",
        "optimizer:no_decay",
        "No weight decay on vectors and embeddings",
        "Decay is meant for matrices; it only pulls gains and rare tokens' vectors towards zero.",
        "A small gain or none.",
        _no_decay,
    ),
    Edit(
        "optimizer",
        "optimizer:embedding_rate",
        "A higher learning rate for embeddings and head",
        "Rows of the embedding get a gradient only when their token occurs, so they lag behind.",
        "A gain early in training.",
        _embedding_rate,
    ),
)

EDITS: Final = SCHEDULE + OPTIMIZER
