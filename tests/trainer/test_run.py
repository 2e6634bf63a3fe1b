"""The run object and the travelling weights: what a script is given, and what it leaves."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import torch

from trainer.worker import weights
from trainer.worker.budget import Meter
from trainer.worker.run import DivergedError, Run, RunMisuseError, derive_seed
from trainer.worker.weights import WeightsError

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKENS = torch.arange(1000).remainder(251).to(torch.uint8)


def _run(budget: int = 64, *, seed: int = 1, reports: list[Any] | None = None) -> Run:
    return Run(
        seed=seed,
        vocab_size=256,
        context=8,
        tokens=TOKENS,
        meter=Meter("tokens", budget, seed=0),
        report=None if reports is None else lambda *report: reports.append(report),
    )


def test_batches_are_windows_of_the_tokens_with_their_successors() -> None:
    drawn = list(_run().batches(2, 8))
    assert len(drawn) == 4
    for x, y in drawn:
        assert x.shape == y.shape == (2, 8)
        assert x.dtype == y.dtype == torch.int64
        assert torch.equal(x[:, 1:], y[:, :-1])
        assert torch.equal((x + 1).remainder(251), y)


def test_data_order_follows_from_the_seed_whatever_the_batch_size() -> None:
    fours = torch.cat([x for x, _ in _run(256).batches(4, 8)])
    twos = torch.cat([x for x, _ in _run(256).batches(2, 8)])
    others = torch.cat([x for x, _ in _run(256, seed=2).batches(2, 8)])
    assert torch.equal(fours, twos)
    assert not torch.equal(twos, others)


def test_every_name_has_a_generator_of_its_own() -> None:
    run, again = _run(), _run()
    a = torch.randn(4, generator=run.generator("a"))
    assert torch.equal(a, torch.randn(4, generator=again.generator("a")))
    assert not torch.equal(a, torch.randn(4, generator=run.generator("b")))
    assert not torch.equal(a, torch.randn(4, generator=_run(seed=2).generator("a")))


def test_derived_seeds_are_pinned() -> None:
    """Changing them would change every metric of every swarm."""
    assert derive_seed(1, "batches") == 7807923217241820570


@pytest.mark.parametrize("shape", [(0, 8), (2, 0), (2, 1000), (1 << 20, 8), (-1, 8)])
def test_impossible_batches_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(RunMisuseError, match="cannot draw"):
        next(_run().batches(*shape))


def test_a_run_that_only_builds_draws_nothing() -> None:
    run = Run(seed=1, vocab_size=256, context=8)
    assert run.progress() == 0.0
    with pytest.raises(RunMisuseError, match="build_model"):
        next(run.batches(1, 8))


@pytest.mark.parametrize("loss", [float("nan"), torch.tensor(float("inf"))])
def test_a_loss_that_is_no_number_ends_the_run(loss: Any) -> None:
    with pytest.raises(DivergedError):
        _run().log(loss)


def test_progress_and_loss_are_reported_with_every_batch() -> None:
    reports: list[Any] = []
    run = _run(32, reports=reports)
    for _ in run.batches(2, 8):
        run.log(torch.tensor(2.5, requires_grad=True))
    assert reports == [(0.5, None), (1.0, 2.5)]


@pytest.fixture
def room() -> Iterator[int]:
    fd = os.memfd_create("test")
    yield fd
    os.close(fd)


def _model(width: int = 3) -> torch.nn.Module:
    model = torch.nn.Sequential(torch.nn.Linear(width, 2), torch.nn.BatchNorm1d(2))
    model.register_buffer("empty", torch.zeros(0))
    return model


def test_weights_arrive_as_they_left(room: int) -> None:
    sent, received = _model(), _model()
    sent(torch.randn(5, 3))
    size = weights.write(sent, room, 1 << 20)
    assert os.fstat(room).st_size <= size
    weights.read(received, room)
    for name, tensor in sent.state_dict().items():
        assert torch.equal(tensor, received.state_dict()[name]), name


def test_weights_of_another_model_are_refused(room: int) -> None:
    weights.write(_model(), room, 1 << 20)
    with pytest.raises(WeightsError, match="another model"):
        weights.read(_model(width=4), room)


def test_weights_that_do_not_fit_are_refused(room: int) -> None:
    with pytest.raises(WeightsError, match="bytes allowed"):
        weights.write(_model(), room, 100)


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 8, b"\xff" * 100, (5).to_bytes(8, "little") + b"12345", bytes(64)]
)
def test_broken_weights_are_refused(room: int, content: bytes) -> None:
    os.write(room, content)
    with pytest.raises(WeightsError):
        weights.read(_model(), room)


def test_weights_that_are_not_finite_are_seen() -> None:
    model = _model()
    assert weights.all_finite(model)
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    assert not weights.all_finite(model)
