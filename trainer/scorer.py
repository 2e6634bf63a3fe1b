"""The scorer: turns a served model's logits into bits per byte, and looks for a model that peeks.

This file decides which windows are asked for in which order, what the answers are worth, and
whether they are honest. It is the node's side of the metric: it holds the validation bytes, takes
nothing from the sandbox but arrays, and normalises them itself. It does no I/O (the node's runner
carries requests and answers) and never sees torch.

A pass over the windows gives the bits of every position (`Scoring`). The audit (`Audit`) then asks
a fresh process again: the same windows, but behind a chosen position every token is replaced by a
random byte. A causal model must answer the same up to that position; one that used what lies
behind it cannot, and one that remembered the first pass is dead. Positions are chosen in
proportion to the gain over the parent, so a cheat worth a share s of the claimed gain is caught
with probability 1 - (1 - s)^probes: 2 % of the gain at 99.4 % with 256 probes.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from trainer.job import MICRO, TrainerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainer.job import Evaluation

Tokens = npt.NDArray[np.int64]
Logits = npt.NDArray[np.float32]
Bits = npt.NDArray[np.float32]

BATCH_LOGITS_BYTES: Final = 8 << 20
"""Logits of one request: large enough to hide the round trip, small enough for a cache and a
short stay in the scoring thread."""

AUDIT_TOLERANCE_BITS: Final = 1e-3
"""Largest difference of a position's bits between two honest answers.

On a CPU it is exactly zero, measured for other rows, other numbers of rows and shorter windows, on
trained and on wildly scaled models. The room is for GPU kernels that round by batch shape. Peeking
within it is worth at most 0.001 bits per byte, a fifth of the smallest gain that any tier of the
built-in task cares about."""

LOGIT_LIMIT: Final = 1e30
"""Logits beyond this are treated as not finite: their differences overflow float32."""


class InvalidAnswerError(TrainerError):
    """The served model gave something that is not a prediction."""


class LooksAheadError(InvalidAnswerError):
    """The served model's predictions depend on tokens that come later."""


@dataclasses.dataclass(frozen=True, slots=True)
class Score:
    """What a full pass gave.

    Attributes:
        metric_micro: bits per byte in millionths, rounded half to even.
        bits: bits of every position, float32 of shape (windows, context).
    """

    metric_micro: int
    bits: Bits


def rows_per_request(context: int, vocab_size: int) -> int:
    """Returns how many windows are asked for at once."""
    return max(1, BATCH_LOGITS_BYTES // (context * vocab_size * 4))


def windows_of(
    validation: npt.NDArray[np.unsignedinteger], evaluation: Evaluation, vocab_size: int = 256
) -> Tokens:
    """Returns the scored windows, int64 of shape (windows, context + 1), evenly spaced.

    Raises:
        TrainerError: the validation tokens are fewer than one window, or not of the vocabulary.
    """
    span = evaluation.context + 1
    if len(validation) < span:
        raise TrainerError(f"{len(validation)} validation tokens do not fill a window of {span}")
    starts = np.linspace(0, len(validation) - span, evaluation.windows).astype(np.int64)
    windows = validation[starts[:, None] + np.arange(span)].astype(np.int64)
    if int(windows.max()) >= vocab_size:
        raise TrainerError(f"token {int(windows.max())} is not in a vocabulary of {vocab_size}")
    return windows


def bits_of(logits: Logits, targets: Tokens) -> Bits:
    """Returns -log2 p(target) at every position, from unnormalised logits.

    Args:
        logits: float32 of shape (rows, context, vocabulary), owned by the caller.
        targets: int64 of shape (rows, context).

    Raises:
        InvalidAnswerError: a logit is not a finite number.
    """
    # NaN fails the comparison too.
    if not bool((np.abs(logits) < LOGIT_LIMIT).all()):
        raise InvalidAnswerError("the model's logits are not finite")
    top = logits.max(axis=-1, keepdims=True)
    shifted = logits - top
    chosen = np.take_along_axis(shifted, targets[..., None], axis=-1)[..., 0]
    total = np.exp(shifted, out=shifted).sum(axis=-1)
    bits: Bits = (np.log(total) - chosen) / np.float32(np.log(2.0))
    return bits


class Scoring:
    """One pass over the windows, in shuffled order.

    For every array of `requests` hand the answer to `accept`; then read `score`.

    Attributes:
        requests: tokens to ask for, each int64 of shape (rows, context).
    """

    def __init__(
        self,
        windows: Tokens,
        vocab_size: int,
        seed: int,
        *,
        token_bytes: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """Plans a pass.

        Args:
            windows: int64 of shape (windows, context + 1).
            vocab_size: size of the vocabulary.
            seed: shuffles the windows.
            token_bytes: bytes that each token stands for; None where a token is a byte.
        """
        self._windows = windows
        self._token_bytes = token_bytes
        self._vocab_size = vocab_size
        context = windows.shape[1] - 1
        order = np.random.default_rng(seed).permutation(len(windows))
        rows = rows_per_request(context, vocab_size)
        self._parts = [order[i : i + rows] for i in range(0, len(order), rows)]
        self._bits = np.full((len(windows), context), np.nan, np.float32)
        self.requests: Sequence[Tokens] = [windows[part, :-1] for part in self._parts]

    def accept(self, index: int, logits: Logits) -> None:
        """Takes the answer to request `index`.

        Raises:
            InvalidAnswerError: it is not logits of the right shape, or not finite.
        """
        part = self._parts[index]
        _check_shape(logits, (len(part), self._windows.shape[1] - 1, self._vocab_size))
        self._bits[part] = bits_of(logits, self._windows[part, 1:])

    def score(self) -> Score:
        """Returns the result, once every request is answered.

        Raises:
            TrainerError: the windows stand for no bytes at all.
        """
        assert not np.isnan(self._bits).any(), "every request must be answered first"
        total, size = float(self._bits.sum(dtype=np.float64)), self._bits.size
        if self._token_bytes is not None:
            # Special tokens stand for no bytes: neither their bits nor their bytes count.
            sizes = self._token_bytes[self._windows[:, 1:]]
            total = float(self._bits.sum(dtype=np.float64, where=sizes > 0))
            size = int(sizes.sum())
            if size == 0:
                raise TrainerError("the scored windows hold special tokens only")
        return Score(round(total / size * MICRO), self._bits)


class Audit:
    """A second look at positions of a pass, with other tokens behind them.

    Attributes:
        requests: tokens to ask for, each int64 of shape (rows, context).
    """

    def __init__(
        self,
        windows: Tokens,
        vocab_size: int,
        bits: Bits,
        *,
        probes: int,
        seed: int,
        parent_bits: Bits | None = None,
    ) -> None:
        """Plans an audit.

        Args:
            windows: the windows of the pass.
            vocab_size: size of the vocabulary.
            bits: what the pass gave.
            probes: positions to look at.
            seed: chooses positions and random tokens; the worker must not know it.
            parent_bits: what the parent's pass gave on the same windows; None weighs all alike.
        """
        self._windows = windows
        self._vocab_size = vocab_size
        self._bits = bits
        draws = np.random.default_rng(seed)
        self._rows, self._last = _positions(bits, parent_bits, probes, draws)
        tokens = windows[self._rows, :-1]
        behind = np.arange(tokens.shape[1]) > self._last[:, None]
        # A shift by 1 to vocab_size - 1 makes every replaced token a different one.
        shift = draws.integers(1, vocab_size, tokens.shape)
        tokens = np.where(behind, (tokens + shift) % vocab_size, tokens)
        rows = rows_per_request(tokens.shape[1], vocab_size)
        self._starts = list(range(0, probes, rows))
        self.requests: Sequence[Tokens] = [tokens[i : i + rows] for i in self._starts]

    def accept(self, index: int, logits: Logits) -> None:
        """Takes the answer to request `index`.

        Raises:
            InvalidAnswerError: it is not logits of the right shape, or not finite.
            LooksAheadError: a position up to the chosen one got other bits than in the pass.
        """
        start = self._starts[index]
        request = self.requests[index]
        _check_shape(logits, (*request.shape, self._vocab_size))
        rows = self._rows[start : start + len(request)]
        again = bits_of(logits, self._windows[rows, 1:])
        seen = np.arange(request.shape[1]) <= self._last[start : start + len(request), None]
        difference = np.where(seen, np.abs(again - self._bits[rows]), 0.0)
        if difference.max() > AUDIT_TOLERANCE_BITS:
            raise LooksAheadError(
                f"looks ahead: predictions change by up to {difference.max():.3g} bits "
                "when only later tokens change"
            )


def _positions(
    bits: Bits, parent_bits: Bits | None, probes: int, draws: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Draws (row, position) pairs, in proportion to the gain over the parent where there is one.

    The last position of a window has nothing behind it, so nothing can be learned there.
    """
    rows, context = bits.shape
    weights = np.ones((rows, context - 1))
    if parent_bits is not None:
        gain = np.maximum(0.0, parent_bits.astype(np.float64) - bits)[:, :-1]
        if gain.sum() > 0:
            weights = gain
    total = weights.sum()
    flat = draws.choice(weights.size, size=probes, p=weights.reshape(-1) / total)
    return np.divmod(flat, context - 1)


def _check_shape(logits: Logits, expected: tuple[int, ...]) -> None:
    if logits.dtype != np.float32 or logits.shape != expected:
        raise InvalidAnswerError(f"expected logits {expected}, got {logits.dtype} {logits.shape}")
