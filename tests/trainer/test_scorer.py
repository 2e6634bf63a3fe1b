"""The scorer: exact bits for known models, refusal of nonsense, and a catch for every peek."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from trainer.job import Evaluation, TrainerError
from trainer.scorer import (
    AUDIT_TOLERANCE_BITS,
    Audit,
    InvalidAnswerError,
    LooksAheadError,
    Score,
    Scoring,
    bits_of,
    rows_per_request,
    windows_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer.scorer import Bits, Logits, Tokens

Model = "Callable[[Tokens], Logits]"
VOCAB = 16
WINDOWS = np.random.default_rng(5).integers(0, VOCAB, (40, 25))


def _table(tokens: Tokens) -> Logits:
    """A causal model: each token's logits follow from that token alone."""
    return np.random.default_rng(1).normal(size=(VOCAB, VOCAB)).astype(np.float32)[tokens]


def _peeking(strength: float, share: float = 1.0) -> Callable[[Tokens], Logits]:
    """A model that puts more weight on the true next token at a share of positions."""

    def answer(tokens: Tokens) -> Logits:
        logits = _table(tokens)
        rows, columns = np.nonzero(np.random.default_rng(2).random(tokens[:, :-1].shape) < share)
        logits[rows, columns, tokens[rows, columns + 1]] += strength
        return logits

    return answer


def _score(model: Callable[[Tokens], Logits]) -> Score:
    scoring = Scoring(WINDOWS, VOCAB, seed=3)
    for index, tokens in enumerate(scoring.requests):
        scoring.accept(index, model(tokens))
    return scoring.score()


def _audit(
    model: Callable[[Tokens], Logits], bits: Bits, parent: Bits | None = None, probes: int = 64
) -> None:
    audit = Audit(WINDOWS, VOCAB, bits, probes=probes, seed=11, parent_bits=parent)
    assert sum(len(tokens) for tokens in audit.requests) == probes
    for index, tokens in enumerate(audit.requests):
        audit.accept(index, model(tokens))


def test_uniform_logits_cost_the_logarithm_of_the_vocabulary() -> None:
    score = _score(lambda tokens: np.zeros((*tokens.shape, VOCAB), np.float32))
    assert score.metric_micro == 4_000_000


def test_bits_follow_the_definition_whatever_the_scale() -> None:
    draws = np.random.default_rng(4)
    logits = draws.normal(scale=30, size=(3, 7, VOCAB)).astype(np.float32)
    targets = draws.integers(0, VOCAB, (3, 7))
    exact = logits.astype(np.float64)
    exact = (
        np.log(np.exp(exact - exact.max(-1, keepdims=True)).sum(-1))
        - (np.take_along_axis(exact - exact.max(-1, keepdims=True), targets[..., None], -1)[..., 0])
    )
    assert np.allclose(bits_of(logits.copy(), targets), exact / np.log(2), atol=1e-4)
    shifted = (logits + np.float32(64)).copy()
    assert np.allclose(bits_of(shifted, targets), exact / np.log(2), atol=1e-4)


def test_every_position_is_asked_once_whatever_the_order() -> None:
    one, other = Scoring(WINDOWS, VOCAB, seed=1), Scoring(WINDOWS, VOCAB, seed=2)
    assert not np.array_equal(np.concatenate(one.requests), np.concatenate(other.requests))
    for scoring in (one, other):
        asked = np.concatenate(scoring.requests)
        assert sorted(map(tuple, asked)) == sorted(map(tuple, WINDOWS[:, :-1]))
        for index in reversed(range(len(scoring.requests))):
            scoring.accept(index, _table(scoring.requests[index]))
    assert one.score().metric_micro == other.score().metric_micro
    assert np.array_equal(one.score().bits, other.score().bits)


def test_large_passes_are_cut_into_bounded_requests() -> None:
    assert rows_per_request(128, 256) == 64
    assert rows_per_request(1 << 20, 256) == 1
    windows = np.zeros((200, 129), np.int64)
    assert [len(tokens) for tokens in Scoring(windows, 256, seed=0).requests] == [64, 64, 64, 8]


def test_windows_are_spread_over_the_validation_bytes() -> None:
    content = np.arange(250, dtype=np.uint8)
    windows = windows_of(content, Evaluation(context=9, windows=5))
    assert windows.shape == (5, 10)
    assert windows[0].tolist() == list(range(10))
    assert windows[-1].tolist() == list(range(240, 250))
    with pytest.raises(TrainerError, match="do not fill"):
        windows_of(content[:5], Evaluation(context=9, windows=5))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e31])
def test_logits_that_are_not_finite_are_refused(bad: float) -> None:
    def model(tokens: Tokens) -> Logits:
        logits = _table(tokens)
        logits[-1, -1, 0] = bad
        return logits

    with pytest.raises(InvalidAnswerError, match="not finite"):
        _score(model)


@pytest.mark.parametrize(
    "answer",
    [
        lambda tokens: _table(tokens)[:-1],
        lambda tokens: _table(tokens)[:, :-1],
        lambda tokens: _table(tokens).astype(np.float64),
    ],
)
def test_answers_of_another_shape_or_type_are_refused(
    answer: Callable[[Tokens], Logits],
) -> None:
    with pytest.raises(InvalidAnswerError, match="expected logits"):
        _score(answer)


def test_an_honest_model_passes_the_audit() -> None:
    bits = _score(_table).bits
    _audit(_table, bits)
    _audit(_table, bits, parent=bits + 1)
    _audit(_table, bits, parent=bits)


def test_a_model_that_peeks_is_caught() -> None:
    model = _peeking(2.0)
    with pytest.raises(LooksAheadError, match="looks ahead"):
        _audit(model, _score(model).bits)


def test_a_rare_peek_is_caught_because_probes_follow_the_gain() -> None:
    parent = _score(_table).bits
    model = _peeking(6.0, share=0.01)
    bits = _score(model).bits
    assert bits.mean() < parent.mean()
    with pytest.raises(LooksAheadError):
        _audit(model, bits, parent=parent, probes=8)


def test_noise_within_the_tolerance_passes_and_twice_that_does_not() -> None:
    bits = _score(_table).bits
    _audit(_table, bits + np.float32(AUDIT_TOLERANCE_BITS / 2))
    with pytest.raises(LooksAheadError):
        _audit(_table, bits + np.float32(AUDIT_TOLERANCE_BITS * 2))


def test_probes_keep_the_prefix_and_change_every_token_behind_it() -> None:
    bits = _score(_table).bits
    audit = Audit(WINDOWS, VOCAB, bits, probes=200, seed=8)
    for request in audit.requests:
        for tokens in request:
            same = WINDOWS[:, :-1] == tokens
            kept = same.cumprod(axis=1).sum(axis=1)
            assert ((kept >= 1) & (kept < len(tokens)) & (same.sum(axis=1) == kept)).any()
