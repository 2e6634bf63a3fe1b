"""The budget meter: exact counts, no free operations, no free steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn import functional

from trainer.worker.budget import BudgetExceededError, FlopCounter, Meter

if TYPE_CHECKING:
    from collections.abc import Callable


def _flops(work: Callable[[], Any]) -> int:
    with FlopCounter() as counter:
        work()
    return counter.flops


def _attention(*, backward: bool) -> None:
    q, k, v = (torch.randn(2, 3, 16, 8, requires_grad=backward) for _ in range(3))
    y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    if backward:
        y.sum().backward()


def _newton_schulz() -> None:
    x = torch.randn(6, 10)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x


@pytest.mark.parametrize(
    ("work", "flops"),
    [
        (lambda: torch.randn(3, 4) @ torch.randn(4, 5), 2 * 3 * 4 * 5),
        (lambda: torch.randn(7, 3, 4) @ torch.randn(7, 4, 5), 7 * 2 * 3 * 4 * 5),
        (lambda: torch.randn(3, 4) @ torch.randn(4), 2 * 3 * 4),
        (lambda: torch.outer(torch.randn(3), torch.randn(4)) * 1, 0),
        (lambda: torch.einsum("bij,bjk->bik", torch.randn(2, 3, 4), torch.randn(2, 4, 5)), 240),
        (lambda: torch.nn.Linear(4, 5)(torch.randn(6, 4)), 2 * 6 * 4 * 5),
        (lambda: torch.nn.Conv1d(2, 3, 4)(torch.randn(1, 2, 9)), 2 * 6 * 3 * 2 * 4),
        (lambda: _attention(backward=False), 4 * 6 * 16 * 16 * 8),
        (lambda: _attention(backward=True), (4 + 10) * 6 * 16 * 16 * 8),
        (_newton_schulz, 5 * 2 * (6 * 10 * 6 + 6 * 6 * 6 + 6 * 6 * 10)),
        (lambda: torch.nn.LSTM(4, 5)(torch.randn(7, 2, 4)), 2 * 14 * 4 * 5 * (4 + 5)),
        (lambda: torch.randn(50).exp().cumsum(0).sort(), 0),
    ],
)
def test_operations_cost_what_they_multiply(work: Callable[[], Any], flops: int) -> None:
    assert _flops(work) == flops


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_composite_operations_are_counted_without_gradients_too(mode: Any) -> None:
    with mode():
        assert _flops(lambda: torch.nn.Linear(4, 5)(torch.randn(6, 4))) == 240
        assert _flops(lambda: _attention(backward=False)) == 4 * 6 * 16 * 16 * 8


def _step(size: int = 8) -> int:
    """Does a step's work and returns its cost."""
    torch.randn(size, size) @ torch.randn(size, size)
    return 2 * size**3


def test_a_flops_budget_grants_exactly_what_it_pays_for() -> None:
    meter = Meter("flops", 10 * _step(), seed=0)
    while meter.grant((2, 4)):
        _step()
    meter.close()
    assert (meter.steps, meter.tokens, meter.flops) == (10, 80, 10 * _step())
    assert meter.progress() == 1.0


def test_a_step_that_does_not_fit_is_not_granted() -> None:
    meter = Meter("flops", 10 * _step() - 1, seed=0)
    while meter.grant((2, 4)):
        _step()
    meter.close()
    assert meter.steps == 9


def test_progress_counts_ended_steps_and_never_falls() -> None:
    meter = Meter("flops", 4 * _step(), seed=0)
    shares = []
    while meter.grant((1, 1)):
        shares.append(meter.progress())
        _step()
    assert shares == [0.0, 0.25, 0.5, 0.75]


def test_shapes_have_costs_of_their_own() -> None:
    meter = Meter("flops", 10**9, seed=0)
    for shape, size in (((1, 8), 8), ((2, 8), 16), ((1, 8), 8), ((2, 8), 16)):
        assert meter.grant(shape)
        _step(size)
    meter.close()
    assert meter.flops == 2 * _step(8) + 2 * _step(16)


def test_work_outside_of_steps_is_charged() -> None:
    meter = Meter("flops", 10 * _step(), seed=0)
    meter.open()
    _step()
    while meter.grant((1, 1)):
        _step()
    _step(4)
    meter.close()
    assert (meter.steps, meter.flops) == (9, 10 * _step() + _step(4))


def test_training_on_after_the_last_batch_exceeds_the_budget() -> None:
    meter = Meter("flops", 10 * _step(), seed=0)
    while meter.grant((1, 1)):
        _step()
    _step()
    with pytest.raises(BudgetExceededError, match="spent"):
        meter.close()


def test_one_step_larger_than_the_budget_exceeds_it() -> None:
    meter = Meter("flops", _step(), seed=0)
    assert meter.grant((1, 1))
    _step(16)
    assert not meter.grant((1, 1))
    with pytest.raises(BudgetExceededError):
        meter.close()


def test_a_script_that_slows_down_later_is_charged_for_it() -> None:
    """Steps after a cheap first one are counted again now and then, and the largest cost stays."""
    meter = Meter("flops", 10**8, seed=1)
    assert meter.grant((1, 1))
    _step(4)
    while meter.grant((1, 1)):
        _step(32)
    honest = 10**8 // _step(32)
    assert meter.steps < honest + 150


def test_which_steps_are_counted_follows_from_the_seed_alone() -> None:
    def run(seed: int) -> int:
        meter = Meter("flops", 300_000, seed)
        step = 0
        while meter.grant((1, 1)):
            _step(4 + step % 7)
            step += 1
        return meter.steps

    assert run(1) == run(1)
    assert len({run(seed) for seed in range(1, 6)}) > 1


def test_a_tokens_budget_counts_tokens_and_nothing_else() -> None:
    meter = Meter("tokens", 100, seed=0)
    shapes = [(2, 8), (4, 8), (6, 8), (1, 8)]
    granted = [meter.grant(shape) for shape in shapes]
    meter.close()
    assert granted == [True, True, True, False]
    assert (meter.tokens, meter.steps, meter.flops) == (96, 3, 0)
    assert meter.progress() == pytest.approx(0.96)


def test_a_seconds_budget_begins_when_the_first_step_ends() -> None:
    now = [100.0]
    meter = Meter("seconds", 10, seed=0, startup_s=60, clock=lambda: now[0])
    now[0] = 130.0
    meter.open()
    assert meter.grant((1, 1))
    assert meter.progress() == 0.0
    now[0] = 150.0
    assert meter.grant((1, 1))
    now[0] = 154.0
    assert meter.progress() == pytest.approx(0.4)
    now[0] = 160.0
    assert not meter.grant((1, 1))
    assert meter.progress() == pytest.approx(1.0)
    meter.close()


def test_a_long_start_up_is_charged_to_a_seconds_budget() -> None:
    now = [0.0]
    meter = Meter("seconds", 10, seed=0, startup_s=60, clock=lambda: now[0])
    now[0] = 66.0
    assert meter.grant((1, 1))
    assert meter.progress() == pytest.approx(0.6)
    now[0] = 71.0
    assert not meter.grant((1, 1))


def test_a_meter_that_is_asked_often_before_the_first_step_gives_nothing_away() -> None:
    now = [0.0]
    meter = Meter("seconds", 10, seed=0, startup_s=5, clock=lambda: now[0])
    for second in range(15):
        now[0] = float(second)
        assert meter.progress() == pytest.approx(max(0.0, (second - 5) / 10))
    now[0] = 15.0
    assert not meter.grant((1, 1))
