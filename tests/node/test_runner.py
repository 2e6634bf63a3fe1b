"""The runner: whatever a script does is an outcome, and the number is the node's own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import trio

from tests.node.runner_support import BASE, HEAD, SharedRunner, job
from trainer.job import Budget, Outcome, Progress

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def honest(shared: SharedRunner) -> Outcome:
    return shared.run(job(HEAD))


def test_the_same_script_and_seed_give_the_same_number(shared: SharedRunner) -> None:
    first, again, other = (shared.run(job(BASE, seed=seed)) for seed in (1, 1, 2))
    assert first.status == "ok", first
    assert first.metric_micro is not None
    # Uniform guessing costs 8 bits; the model has learned something.
    assert 1_000_000 < first.metric_micro < 5_500_000
    assert again.metric_micro == first.metric_micro
    assert other.metric_micro != first.metric_micro
    assert (first.steps, first.tokens, first.flops) == (again.steps, again.tokens, again.flops)
    assert first.tokens == first.steps * 4 * 32
    assert 90_000_000 < first.flops <= 100_000_000


def test_costs_are_measured_from_outside(honest: Outcome) -> None:
    assert honest.status == "ok", honest
    assert 0 < honest.train_cpu_ms < 60_000
    assert 0 < honest.score_cpu_ms < 60_000
    assert honest.wall_ms > 0
    assert 20_000 < honest.peak_memory_kib < 2_000_000
    assert (honest.reason, honest.log_tail) == ("", "")


def test_a_model_that_knows_nothing_costs_eight_bits(shared: SharedRunner) -> None:
    script = HEAD + "\n\ndef train(run, model):\n    next(run.batches(4, 32))\n"
    outcome = shared.run(job(script))
    assert outcome.metric_micro == 8_000_000
    assert outcome.steps == 1


COMPILED = (
    HEAD
    + """
def train(run, model):
    optimizer = torch.optim.SGD(model.parameters(), lr=50.0)
    step = torch.compile(model, backend="aot_eager")
    for x, y in run.batches(4, 32):
        with torch.autocast(run.device, torch.bfloat16):
            logits = step(x) @ torch.eye(256)
        assert logits.dtype == torch.bfloat16
        loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""
)


def test_bfloat16_and_compilation_are_allowed_under_a_seconds_budget(shared: SharedRunner) -> None:
    outcome = shared.run(job(COMPILED, budget=Budget("seconds", 1)))
    assert outcome.status == "ok", (outcome.reason, outcome.log_tail)
    assert outcome.metric_micro is not None
    assert outcome.metric_micro < 8_000_000
    assert outcome.steps > 1


def test_every_budget_is_kept(shared: SharedRunner) -> None:
    outcome = shared.run(job(HEAD, budget=Budget("tokens", 1_000)))
    assert (outcome.status, outcome.tokens, outcome.steps) == ("ok", 896, 7)
    outcome = shared.run(job(HEAD, budget=Budget("seconds", 1)))
    assert outcome.status == "ok"
    assert outcome.steps > 10


def test_progress_goes_through_the_stages(shared: SharedRunner) -> None:
    seen: list[Progress] = []

    async def run() -> None:
        await shared.runner.run(job(BASE, budget=Budget("seconds", 1)), on_progress=seen.append)

    trio.run(run)
    stages = [progress.stage for progress in seen]
    assert list(dict.fromkeys(stages)) == ["start", "train", "score", "audit"]
    training = [progress for progress in seen if progress.stage == "train"]
    fractions = [progress.fraction for progress in training]
    assert len(training) >= 2
    assert fractions == sorted(fractions)
    assert training[-1].loss_micro is not None
    assert 0 < training[-1].loss_micro < 10_000_000
    assert seen[-1].fraction == 1.0


def test_a_printed_metric_changes_nothing(shared: SharedRunner, honest: Outcome) -> None:
    script = HEAD + '\nprint("val_bpb: 0.000001", flush=True)\n'
    outcome = shared.run(job(script))
    assert outcome.metric_micro == honest.metric_micro
    assert "val_bpb: 0.000001" in outcome.log_tail


@pytest.mark.parametrize(
    ("addition", "status", "reason"),
    [
        ("x = 1 / 0", "crashed", "ZeroDivisionError: division by zero (train.py line 32)"),
        ("def f(:", "crashed", "SyntaxError: invalid syntax (train.py line 32)"),
        ("import sys; sys.exit(0)", "crashed", "SystemExit"),
        ("import os; os._exit(0)", "crashed", "ended with exit code 0 before it was done"),
        ("import ctypes; ctypes.string_at(0)", "crashed", "was killed by signal 11"),
        ("import os; os.fork()", "crashed", "PermissionError"),
        ("import socket; socket.socket()", "crashed", "PermissionError"),
        ("open('/tmp/x', 'w')", "crashed", "Error"),
        ("del build_model", "invalid", "train.py defines no function build_model"),
        ("train = 3", "invalid", "train.py defines no function train"),
        ("build_model = lambda run: None", "invalid", "build_model must return a torch.nn.Module"),
        ("train = lambda run, model: None", "invalid", "train never drew a batch"),
        ("b = []\nwhile True: b.append(bytearray(1 << 24))", "oom", "out of memory"),
        ("b = torch.ones(1 << 28)", "oom", "out of memory"),
        ("b = bytearray(100 << 30)", "oom", "out of memory"),
        ("b = torch.zeros(100 << 30, dtype=torch.uint8).fill_(1)", "oom", "out of memory"),
        (
            "import sys\nfor _ in range(10_000): sys.stdout.write('x' * 1_000_000)",
            "crashed",
            "printed more than 8 MiB",
        ),
    ],
)
def test_a_script_that_cannot_work_is_an_outcome(
    shared: SharedRunner, addition: str, status: str, reason: str
) -> None:
    outcome = shared.run(job(HEAD + "\n" + addition + "\n"))
    assert outcome.status == status, outcome
    assert outcome.metric_micro is None
    assert reason in outcome.reason


def test_a_crash_leaves_its_traceback_in_the_local_log(shared: SharedRunner) -> None:
    script = HEAD.replace("loss.backward()", "loss.backwards()")
    outcome = shared.run(job(script))
    assert outcome.status == "crashed"
    assert "loss.backwards()" in outcome.log_tail
    assert 'train.py", line' in outcome.log_tail


def test_a_logged_loss_that_is_no_number_is_a_divergence(shared: SharedRunner) -> None:
    script = HEAD.replace("optimizer.step()", "run.log(loss * float('inf'))")
    outcome = shared.run(job(script))
    assert (outcome.status, outcome.reason) == ("diverged", "the loss is inf")


def test_weights_that_are_no_numbers_are_a_divergence(shared: SharedRunner) -> None:
    outcome = shared.run(job(HEAD.replace("lr=50.0", "lr=float('nan')")))
    assert (outcome.status, outcome.reason) == ("diverged", "the trained weights are not finite")


def test_a_hung_script_is_stopped_and_the_worker_goes_on(
    shared: SharedRunner, honest: Outcome
) -> None:
    outcome = shared.run(job(HEAD + "\nwhile True:\n    pass\n", train_wall_s=0.6))
    assert (outcome.status, outcome.reason) == ("timeout", "ran longer than 0.6 s")
    assert outcome.train_cpu_ms > 20
    assert shared.run(job(HEAD)).metric_micro == honest.metric_micro


def test_a_script_that_sleeps_is_stopped(shared: SharedRunner) -> None:
    outcome = shared.run(job("import time; time.sleep(1000)", train_wall_s=0.5))
    assert outcome.status == "timeout"


def test_endless_output_is_stopped_and_only_its_end_kept(shared: SharedRunner) -> None:
    outcome = shared.run(job("while True: print('spam ' * 1000)"))
    assert (outcome.status, outcome.reason) == ("crashed", "printed more than 8 MiB")
    assert 1000 < len(outcome.log_tail) <= 2048


def test_endless_processor_time_is_stopped(shared: SharedRunner) -> None:
    outcome = shared.run(job("while True: pass", cpu_s=1))
    assert (outcome.status, outcome.reason) == ("timeout", "used over 1 s of processor time")
    assert outcome.train_cpu_ms < 10_000


def test_a_step_larger_than_the_budget_is_too_costly(shared: SharedRunner) -> None:
    outcome = shared.run(job(HEAD, budget=Budget("flops", 1_000)))
    assert outcome.status == "too_costly"
    assert "one step must not cost more" in outcome.reason


def test_training_after_the_last_batch_is_too_costly(shared: SharedRunner) -> None:
    script = (
        HEAD + "    for _ in range(100):\n        torch.ones(256, 256) @ torch.ones(256, 256)\n"
    )
    assert shared.run(job(script)).status == "too_costly"


def test_weights_beyond_their_room_are_invalid(shared: SharedRunner) -> None:
    script = HEAD + "    model.register_buffer('more', torch.zeros(3 << 20))\n"
    outcome = shared.run(job(script))
    assert outcome.status == "invalid"
    assert "bytes allowed" in outcome.reason


def test_reason_and_log_are_bounded_and_printable(shared: SharedRunner) -> None:
    outcome = shared.run(job("raise ValueError('\\x1b[31m' + 'é' * 5000)"))
    assert outcome.status == "crashed"
    assert len(outcome.reason.encode()) <= 300
    assert outcome.reason.isprintable()


def test_the_metric_is_what_the_model_says_of_the_validation_bytes(
    shared: SharedRunner, tmp_path: Path
) -> None:
    """A model whose logits do not depend on its input scores the entropy that one can compute."""
    import numpy as np

    from tests.trainer.tiny import text
    from trainer.scorer import windows_of

    script = HEAD.replace("nn.init.zeros_(model.table.weight)", "model.table.weight.data[:] = 0.0")
    script = script.replace("lr=50.0", "lr=0.0").replace(
        "return self.table(tokens)", "return self.table(tokens) + 3.0 * (torch.arange(256) == 101)"
    )
    windows = windows_of(np.frombuffer(text("validation", 6_000), np.uint8), job(script).evaluation)
    share = float((windows[:, 1:] == ord("e")).mean())
    total = math.log2(255 + math.exp(3))
    expected = total - share * 3 / math.log(2)
    outcome = shared.run(job(script))
    assert outcome.metric_micro == pytest.approx(expected * 1e6, abs=2)
