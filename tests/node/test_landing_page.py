"""A task without a language model: judged in the sandbox, improved by a swarm that is as ever."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from node.agent.offline import OfflineProposer
from node.runner import open_runner
from node.runner_data import run_data, wanted
from node.sandbox import select_sandbox
from protocol.records import Metric
from protocol.sources import join_files, split_files
from tests.node.fakes import RUN_S, ArmsRunner, Subject, fake_swarm, until
from tests.trainer.landing import DIRECTORY, JUDGE, SOURCE, TASK, changed, rate
from tests.virtual_time import virtually
from trainer.data import cached
from trainer.job import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainer.job import Job, Progress
    from trainer.scorer import Bits

READS_OTHERS = changed('headline = "Welcome to Almond"', 'headline = "visitors.json"')


class JudgingRunner(ArmsRunner):
    """The judge, without a process of its own for each run; takes virtual time."""

    async def run(
        self,
        job: Job,
        *,
        parent_bits: Bits | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        yields: bool = False,
    ) -> Outcome:
        await trio.sleep(RUN_S)
        try:
            metric = round(rate(join_files(job.sources()), job.seed, 6_000) * 1e6)
        except (JUDGE.InvalidPageError, ValueError) as error:
            return Outcome("crashed", reason=str(error))
        return Outcome("ok", metric, train_cpu_ms=100, peak_memory_kib=1000)


def test_a_swarm_keeps_what_works_and_drops_what_does_not(tmp_path: Path) -> None:
    metric = TASK.metric
    subject = Subject(
        SOURCE,
        Metric(metric.name, metric.unit, metric.direction),
        partial(TASK.job, "smoke"),
        JudgingRunner(),
    )

    async def test() -> None:
        proposers = [OfflineProposer() for _ in range(3)]
        async with fake_swarm(tmp_path, [*proposers], subject=subject) as nodes:
            await until(lambda: all(node.intake.ledger.head.depth >= 3 for node in nodes))
            ledger = nodes[0].intake.ledger
            assert all(
                entry.gain_micro is None or entry.gain_micro > 0 for entry in ledger.lineage()
            )
            head = nodes[0].materials.local_script(ledger.head.source)
            assert head is not None
            assert set(split_files(head)) == {"email.md", "variants.toml"}
            # On people whom the search has never met.
            assert rate(head, 987_654) > rate(SOURCE, 987_654) + 0.003
            assert any(item.status == "screened_out" for item in ledger.hypotheses())

    virtually(test)


@pytest.mark.sandbox
def test_the_judge_reads_what_is_edited_and_runs_nothing_of_it(tmp_path: Path) -> None:
    files = {name: cached(tmp_path, DIRECTORY, TASK.pins[name]) for name in wanted(TASK)}
    data = run_data(TASK, files, tmp_path / "stage")
    cases = {
        "ok": SOURCE,
        "better": changed("price_shown = false", "price_shown = true"),
        "other files": SOURCE.replace("=== email.md ===", "=== letter.md ==="),
        "no page": changed("form_fields = 6", "form_fields = 99"),
        "not TOML": changed("form_fields = 6", "form_fields = "),
        "a name of a file is a text": READS_OTHERS,
        "one text": "print('response_rate: 1.0')\n",
    }

    async def go() -> dict[str, Outcome]:
        outcomes = {}
        async with open_runner(
            select_sandbox(), data=data, stage_home=tmp_path / "stage"
        ) as runner:
            for name, source in cases.items():
                outcomes[name] = await runner.run(TASK.job("smoke", source, 5))
        return outcomes

    found = trio.run(go)
    expected = {name: rate(source, 5, 60_000) for name, source in list(cases.items())[:2]}
    for name, value in expected.items():
        assert found[name].status == "ok", found[name]
        assert found[name].metric_micro == round(value * 1e6)
    assert found["better"].metric_micro > found["ok"].metric_micro  # type: ignore[operator]
    assert found["a name of a file is a text"].status == "ok"
    for name, reason in {
        "other files": "must hold email.md, variants.toml and nothing else",
        "one text": "must hold email.md, variants.toml and nothing else",
    }.items():
        assert (found[name].status, found[name].metric_micro) == ("invalid", None)
        assert reason in found[name].reason
    assert found["no page"].reason == "page.form_fields must be a whole number from 1 to 12"
    assert found["no page"].status == found["not TOML"].status == "crashed"
