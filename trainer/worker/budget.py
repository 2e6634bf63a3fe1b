"""The budget meter: how much of its compute a training script has spent.

This file decides what a step costs. It refuses to know the script, the task and the node. Under a
`flops` budget the meter counts the operations of the script's own steps, meaning everything
between two draws of a batch: forward, backward and optimizer. Counting slows a step down, so it
counts the first step of every shape and further steps drawn from the seed, and charges every
other step the most that a counted step of its shape has cost. What happens outside of steps (in
`build_model`, before the first draw, after the last) is always counted.

Matrix products, convolutions, attention and recurrent layers are counted. Elementwise work,
sorting, FFTs and NumPy are not: the node bounds those from outside by CPU time. Same script, same
seed and one thread give the same charge, to the last operation.
"""

from __future__ import annotations

import contextlib
import math
import random
import time
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

if TYPE_CHECKING:
    from collections.abc import Callable

RECOUNT_SHARE: Final = 1 / 32
"""Share of later steps that are counted again; at about twice a step's time each, 3 % more CPU."""

OVERSPEND_SHARE: Final = 0.02
"""How far a script may end above its budget before its run is void. A step is only granted when
what is left covers it, so an honest run ends below; only a first step of unknown cost, or work
after the last draw, goes above."""

_CPU_ATTENTION: Final = "_scaled_dot_product_flash_attention_for_cpu"
"""The kernel behind attention on a CPU, for which torch has no formula of its own."""

Shape = tuple[int, int]


class BudgetExceededError(Exception):
    """The script spent more than its budget."""


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Two products per head: queries by keys, weights by values. Masks are not deducted."""
    heads, length, width = math.prod(query.shape[:-2]), query.shape[-2], query.shape[-1]
    return int(2 * heads * length * key.shape[-2] * (width + value.shape[-1]))


def _attention_backward(_: Any, query: Any, key: Any, value: Any, *__: Any, **___: Any) -> int:
    """Five products where the forward pass has two: it recomputes one and needs two gradients each.

    The same convention as torch.utils.flop_counter.sdpa_backward_flop_count.
    """
    heads, length, width = math.prod(query.shape[:-2]), query.shape[-2], query.shape[-1]
    return int(2 * heads * length * key.shape[-2] * (3 * width + 2 * value.shape[-1]))


def _recurrent(input_: Any, *weights: Any, **_: Any) -> int:
    """A recurrent layer multiplies each input by all its weights once."""
    rows = math.prod(input_.shape[:-1])
    return int(2 * rows * sum(w.numel() for w in weights[:2]))


def _vector_product(*tensors: Any, **_: Any) -> int:
    """A matrix by a vector, or an outer product: one multiply-add for every matrix entry."""
    return 2 * max(t.numel() for t in tensors if isinstance(t, torch.Tensor))


def _formulas() -> dict[Any, Callable[..., int]]:
    aten = torch.ops.aten
    formulas: dict[Any, Callable[..., int]] = {
        getattr(aten, _CPU_ATTENTION): _attention,
        getattr(aten, f"{_CPU_ATTENTION}_backward"): _attention_backward,
        aten.mkldnn_rnn_layer: _recurrent,
        aten.mkldnn_rnn_layer_backward: lambda *a, **k: 2 * _recurrent(*a, **k),
    }
    for operation in (aten.mv, aten.addmv, aten.dot, aten.vdot, aten.addr, aten.ger):
        formulas[operation] = _vector_product
    for operation, formula in flop_registry.items():
        formulas.setdefault(operation, formula)
    return formulas


_FORMULAS: Final = _formulas()


class FlopCounter(TorchDispatchMode):
    """Counts floating point operations of what runs while it is entered.

    torch's own FlopCounterMode also tracks modules, which a mode that is entered and left in the
    middle of a training loop cannot afford; the formulas are the same registry.

    Attributes:
        flops: operations counted so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs one operation and adds its cost."""
        kwargs = kwargs or {}
        formula = _FORMULAS.get(func.overloadpacket)
        if formula is None:
            # Under inference mode composite operations arrive whole; their parts are counted.
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        result = func(*args, **kwargs)
        if formula is not None:
            self.flops += int(formula(*args, **kwargs, out_val=result))
        return result


class Meter:
    """Grants steps until a budget is spent.

    A machine with three calls: `grant(shape)` asks for a step and closes the one before,
    `open()` starts counting what is outside of steps, `close()` ends all counting.

    Attributes:
        steps: steps granted.
        tokens: tokens granted.
        flops: operations charged.
    """

    def __init__(
        self,
        kind: str,
        amount: int,
        seed: int,
        *,
        startup_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Meters a budget.

        A `seconds` budget begins when the first step ends, because that step compiles and tunes;
        but no later than `startup_s` after the meter was made, so that waiting is not free.

        Args:
            kind: `flops`, `tokens` or `seconds`.
            amount: how many of them may be spent.
            seed: decides which steps are counted again.
            startup_s: longest start-up that a `seconds` budget does not count.
            clock: seconds; read only under a `seconds` budget.
        """
        assert kind in {"flops", "tokens", "seconds"}
        self._kind = kind
        self._amount = amount
        self._draws = random.Random(seed)
        self._clock = clock
        self._latest_start = clock() + startup_s if kind == "seconds" else 0.0
        self._started: float | None = None
        self._stepped = False
        self._cost: dict[Shape, int] = {}
        self._shape: Shape | None = None
        self._counter: FlopCounter | None = None
        self._entered = contextlib.ExitStack()
        self.steps = 0
        self.tokens = 0
        self.flops = 0

    def open(self) -> None:
        """Counts what follows until the first step is granted, or `close`."""
        self._settle()
        self._count()

    def grant(self, shape: Shape) -> bool:
        """Ends the running step and grants another of (rows, columns) tokens, if affordable."""
        self._settle()
        if not self._affords(shape):
            self._count()
            return False
        self.steps += 1
        self.tokens += shape[0] * shape[1]
        self._shape = shape
        # Drawn for every step, so that the draws do not depend on which shapes came before.
        recount = self._draws.random() < RECOUNT_SHARE
        if self._kind == "flops" and (recount or shape not in self._cost):
            self._count()
        return True

    def close(self) -> None:
        """Ends all counting.

        Raises:
            BudgetExceededError: more was spent than OVERSPEND_SHARE above the budget.
        """
        self._settle()
        if self._kind != "seconds" and self.spent() > self._amount * (1 + OVERSPEND_SHARE):
            raise BudgetExceededError(
                f"spent {self.spent():,} of {self._amount:,} {self._kind}: "
                "one step must not cost more than what is left"
            )

    def spent(self) -> int:
        """Returns what has been spent, in units of the budget; a running step is not yet in it."""
        match self._kind:
            case "flops":
                return self.flops
            case "tokens":
                return self.tokens
            case _:
                return int(self._elapsed_s())

    def progress(self) -> float:
        """Returns the share of the budget that is spent, 0 to 1."""
        if self._kind == "seconds":
            return min(1.0, self._elapsed_s() / self._amount)
        return min(1.0, self.spent() / self._amount)

    def _affords(self, shape: Shape) -> bool:
        match self._kind:
            case "flops":
                # The cost of a shape never seen is only known after its first step.
                return self.flops + self._cost.get(shape, 1) <= self._amount
            case "tokens":
                return self.tokens + shape[0] * shape[1] <= self._amount
            case _:
                return self._elapsed_s() < self._amount

    def _elapsed_s(self) -> float:
        """Returns the seconds that count."""
        now = self._clock()
        if self._started is None:
            if not self._stepped and now < self._latest_start:
                return 0.0
            self._started = min(now, self._latest_start)
        return now - self._started

    def _count(self) -> None:
        if self._kind == "flops":
            self._counter = FlopCounter()
            self._entered.enter_context(self._counter)

    def _settle(self) -> None:
        """Charges the running step, or what ran outside of steps."""
        self._entered.close()
        counted = self._counter.flops if self._counter is not None else None
        self._counter = None
        shape, self._shape = self._shape, None
        self._stepped = self._stepped or shape is not None
        if shape is None:
            self.flops += counted or 0
        elif counted is not None:
            self._cost[shape] = max(counted, self._cost.get(shape, 0))
            self.flops += counted
        elif self._kind == "flops":
            self.flops += self._cost[shape]
