"""Scripts that want more compute than their budget: the meter catches them, or the costs do.

The meter lies in the script's own process. What it cannot count, and what a script does to it,
shows in CPU time that the node measures from outside, and loses the verdict.
"""

from __future__ import annotations

import pytest

from benchmarks.repeat import busy_loops
from node.bench import Bench, Costs
from protocol.keys import SigningKey
from protocol.policy import DEMO
from protocol.records import Metric, Trial
from swarm.counting import counted_pairs
from swarm.verdict import conclude
from tests.node.runner_support import BASE, BUDGET, HEAD, SharedRunner, job
from trainer.job import Budget, Job, Outcome

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def genesis(shared: SharedRunner) -> Outcome:
    return shared.run(job(HEAD))


def _never(script: str, seed: int) -> Job:
    raise AssertionError(f"no job is wanted here: {script[:20]} {seed}")


def _verdict(shared: SharedRunner, genesis: Outcome, child: Outcome) -> str:
    """What two verifiers that measure this outcome make of it, the genesis as the parent."""
    by_verifier: dict[bytes, dict[int, tuple[bytes, Trial]]] = {}
    for name in (b"a", b"b"):
        key = SigningKey.from_seed(name * 32)
        bench = Bench(shared.runner, _never, key, DEMO.cost_ratio_permille)
        bench.costs = Costs.of(genesis, BUDGET.kind)
        trials = {
            pair: (
                name * 31 + bytes([pair]),
                bench.trial(b"h" * 32, "verify", pair, (genesis, child)),
            )
            for pair in range(2)
        }
        by_verifier[key.public] = trials
    metric = Metric("val_bpb", "bits/byte", "min")
    pairs = counted_pairs(b"h" * 32, by_verifier, metric=metric, policy=DEMO)
    verdict = conclude(pairs, DEMO, liars=0)
    return f"{verdict.status}: {verdict.reason}"


def test_an_honest_script_is_not_too_costly(shared: SharedRunner, genesis: Outcome) -> None:
    outcome = shared.run(job(HEAD, seed=2))
    assert "costs more" not in _verdict(shared, genesis, outcome)


BUSY = """
import time


def busy(seconds=0.8):
    x = torch.linspace(0, 1, 1 << 16)
    started = time.process_time()
    while time.process_time() - started < seconds:
        torch.fft.fft(x.sin().cumsum(0).sort().values)
"""
"""Work of kinds that the meter cannot count."""

UNCOUNTABLE_STEPS = BUSY + HEAD.replace(
    "        loss.backward()", "        busy(0.005)\n        loss.backward()"
)
BUSY_BUILD = BUSY + HEAD.replace("    model = Model()", "    busy()\n    model = Model()")
ENSEMBLE = BUSY + HEAD.replace(
    "        return self.table(tokens)",
    "        if not self.training: busy(0.7)\n        return self.table(tokens)",
)
UNMETERED_STEPS = HEAD.replace(
    "        optimizer.zero_grad()",
    "        if run._meter._counter is None:\n"
    "            for _ in range(6): torch.ones(256, 256) @ torch.ones(256, 256)\n"
    "        optimizer.zero_grad()",
)
TAMPERED = HEAD.replace(
    "    for x, y in run.batches(4, 32):",
    "    run._meter._entered.close()\n"
    "    run._meter.close = lambda: None\n"
    "    steps = iter(range(2000))\n"
    "    run._meter.grant = lambda shape: next(steps, None) is not None\n"
    "    run._meter.steps, run._meter.tokens = 190, 190 * 4 * 32\n"
    "    for x, y in run.batches(4, 32):",
)
"""Grants itself ten times the steps, uncounted, and claims what an honest run would."""

SLEEPY = "import time\n" + HEAD.replace(
    "        loss.backward()", "        time.sleep(0.01)\n        loss.backward()"
)
"""Takes a machine's time without working."""
MANY_BATCHES = HEAD.replace("        _ = logits[0] @ logits[0].T\n", "").replace(
    "    for x, y in run.batches(4, 32):\n",
    "    for step, (x, y) in enumerate(run.batches(4, 32)):\n        if step == 2500: break\n",
)
"""Steps that cost nothing of the kind that is counted, so that there are many: CPU time tells."""

DEARER_STEPS = HEAD.replace("logits[0] @ logits[0].T", "logits[:3].flatten(0, 1) @ logits[0].T")
"""The same, but that it gets a third of the steps out of the same operations."""


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(UNCOUNTABLE_STEPS, id="uncountable"),
        pytest.param(BUSY_BUILD, id="build_model"),
        pytest.param(ENSEMBLE, id="ensemble"),
        pytest.param(UNMETERED_STEPS, id="between-metered-steps"),
        pytest.param(TAMPERED, id="tampered-meter"),
        pytest.param(SLEEPY, id="sleeps"),
        pytest.param(MANY_BATCHES, id="many-batches"),
    ],
)
def test_compute_that_the_meter_does_not_see_loses_the_verdict(
    shared: SharedRunner, genesis: Outcome, script: str
) -> None:
    assert script != HEAD
    outcome = shared.run(job(script))
    assert outcome.status == "ok", outcome
    assert _verdict(shared, genesis, outcome) == "refuted: it costs more than the policy allows"


def test_cheaper_steps_may_draw_more_data_out_of_the_same_operations(
    shared: SharedRunner, genesis: Outcome
) -> None:
    dearer = shared.run(job(DEARER_STEPS))
    assert genesis.tokens >= 2.9 * dearer.tokens
    assert genesis.flops == pytest.approx(dearer.flops, rel=0.03)
    assert "costs more" not in _verdict(shared, genesis=dearer, child=genesis)


def test_counted_work_in_build_model_is_charged(shared: SharedRunner) -> None:
    work = (
        "    for _ in range(200): torch.ones(128, 128) @ torch.ones(128, 128)\n    model = Model()"
    )
    outcome = shared.run(job(HEAD.replace("    model = Model()", work)))
    assert outcome.status == "too_costly", outcome


def test_a_meter_whose_claims_exceed_the_budget_is_too_costly(shared: SharedRunner) -> None:
    script = HEAD.replace(
        "    for x, y in run.batches(4, 32):",
        "    run._meter._amount = 10**15\n"
        "    for step, (x, y) in enumerate(run.batches(4, 32)):\n"
        "        if step > 2000: break",
    )
    outcome = shared.run(job(script, budget=Budget("tokens", 10_000)))
    assert outcome.status == "too_costly"
    assert "claims 256,256 of 10,000 tokens" in outcome.reason


def test_claims_of_work_without_a_batch_are_invalid(shared: SharedRunner) -> None:
    script = HEAD + "\n\ndef train(run, model):\n    run._meter.steps = 5\n"
    outcome = shared.run(job(script))
    assert (outcome.status, outcome.metric_micro) == ("invalid", None)
    assert "without having drawn a batch" in outcome.reason


def test_a_script_that_stops_the_clock_of_a_seconds_budget_is_stopped(shared: SharedRunner) -> None:
    script = HEAD.replace(
        "    for x, y in run.batches(4, 32):",
        "    run._meter._clock = lambda: 0.0\n    for x, y in run.batches(4, 32):",
    )
    budget = Budget("seconds", 1)
    bounded = job(script, budget=budget, startup_s=0.0, train_wall_s=600)
    assert bounded.train_wall_s == pytest.approx(6.1)
    outcome = shared.run(job(script, budget=budget, startup_s=0.0, train_wall_s=1.5))
    assert outcome.status == "timeout"


def test_ten_runs_give_one_number_beside_a_busy_loop(shared: SharedRunner) -> None:
    """The short form of `make bench-repeat`."""
    alone = {shared.run(job(BASE)).metric_micro for _ in range(5)}
    with busy_loops(1):
        beside = {shared.run(job(BASE)).metric_micro for _ in range(5)}
    assert alone == beside
    assert len(alone) == 1
    assert None not in alone
