"""What a training script sees: the `run` object.

This file decides the interface between the editable script and the worker: batches until the
budget ends, progress, named random generators and a place to log the loss. It refuses to decide
the budget (`budget.py`), the process (`child.py`) and the metric (the node's scorer). The script
never owns the clock, the seed or the metric.
"""

from __future__ import annotations

import hashlib
import math
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trainer.worker.budget import Meter

MAX_BATCH_TOKENS = 1 << 22
"""Most tokens of one batch: 64 MiB of int64 for x and y, far more than a CPU run wants."""


class RunMisuseError(Exception):
    """The script asked the run for something that it does not offer."""


class DivergedError(Exception):
    """The training loss is no longer a number."""


def derive_seed(seed: int, name: str) -> int:
    """Returns the 63-bit seed of the stream that belongs to a name."""
    digest = hashlib.sha256(f"swarm-node/random:{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_libraries(seed: int) -> None:
    """Makes whatever a script draws outside of `run` follow from the seed."""
    torch.manual_seed(derive_seed(seed, "torch"))
    random.seed(derive_seed(seed, "python"))
    np.random.seed(derive_seed(seed, "numpy") % 2**32)


class Run:
    """The run object that `build_model` and `train` receive.

    Attributes:
        vocab_size: number of distinct tokens.
        context: length of the windows that the model is scored on.
        device: torch device that the model must live on.
    """

    def __init__(
        self,
        *,
        seed: int,
        vocab_size: int,
        context: int,
        device: str = "cpu",
        tokens: Any = None,
        meter: Meter | None = None,
        report: Callable[[float, float | None], None] | None = None,
    ) -> None:
        """Makes a run.

        Args:
            seed: seed that every random stream is derived from.
            vocab_size: number of distinct tokens.
            context: length of a scored window.
            device: torch device.
            tokens: the training tokens, a one-dimensional tensor; None in a run that only builds.
            meter: the budget; None in a run that only builds.
            report: called at every batch with the share of the budget spent and the last loss.
        """
        self.vocab_size = vocab_size
        self.context = context
        self.device = device
        self._seed = seed
        self._tokens = tokens
        self._meter = meter
        self._report = report
        self._loss: float | None = None

    def generator(self, name: str) -> torch.Generator:
        """Returns a CPU generator of its own for every name.

        Two scripts that draw a parameter of one name and shape get the same numbers on the same
        seed, whatever else they draw: that is what makes paired comparisons sharp.
        """
        return torch.Generator().manual_seed(derive_seed(self._seed, str(name)))

    def progress(self) -> float:
        """Returns the share of the budget that is spent, 0 to 1."""
        return 0.0 if self._meter is None else self._meter.progress()

    def batches(self, batch_size: int, context: int) -> Iterator[tuple[Any, Any]]:
        """Draws random windows until the budget is spent.

        Args:
            batch_size: windows per batch.
            context: tokens per window.

        Yields:
            Tokens x and their successors y, both int64 of shape (batch_size, context).

        Raises:
            RunMisuseError: the shape is impossible, or this run only builds a model.
        """
        if self._meter is None or self._tokens is None:
            raise RunMisuseError("build_model must not draw batches")
        rows, columns = int(batch_size), int(context)
        room = self._tokens.numel() - columns
        if rows < 1 or columns < 1 or room < 1 or rows * columns > MAX_BATCH_TOKENS:
            raise RunMisuseError(f"cannot draw {rows} windows of {columns} tokens")
        generator = self.generator("batches")
        offsets = torch.arange(columns + 1)
        while self._meter.grant((rows, columns)):
            if self._report is not None:
                self._report(self._meter.progress(), self._loss)
            # Drawn as fractions, so that scripts with other window lengths see nearby text.
            draws = torch.rand(rows, dtype=torch.float64, generator=generator)
            starts = (draws * room).long()
            # torch indexes no unsigned 16-bit numbers: they come as signed ones.
            windows = (self._tokens[starts[:, None] + offsets].long() & 0xFFFF).to(self.device)
            yield windows[:, :-1], windows[:, 1:]

    def log(self, loss: Any) -> None:
        """Shows the training loss, in nats, to whoever watches the run.

        Raises:
            DivergedError: the loss is not finite; the run ends as diverged.
        """
        self._loss = float(loss.detach() if isinstance(loss, torch.Tensor) else loss)
        if not math.isfinite(self._loss):
            raise DivergedError(f"the loss is {self._loss}")
