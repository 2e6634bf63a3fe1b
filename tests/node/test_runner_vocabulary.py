"""A task with a vocabulary, trained and scored through the sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from node.runner import open_runner
from node.runner_data import run_data, wanted
from node.sandbox import select_sandbox
from tests.node.runner_support import HEAD
from tests.trainer.test_formats import write_bpe_task
from trainer.data import cached
from trainer.task import load_task

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.sandbox


async def test_bits_per_byte_over_a_vocabulary(tmp_path: Path) -> None:
    task = load_task(write_bpe_task(tmp_path / "task"))
    files = {
        name: cached(tmp_path / "blobs", tmp_path / "task", task.pins[name])
        for name in wanted(task)
    }
    data = run_data(task, files, tmp_path / "stage")
    script = HEAD.replace("nn.Embedding(256, 256)", "nn.Embedding(300, 300)")
    untrained = script.replace("lr=50.0", "lr=0.0")
    async with open_runner(
        select_sandbox(), data=data, stage_home=tmp_path / "stage", random_seed=lambda: 4
    ) as runner:
        nothing = await runner.run(task.job("smoke", untrained, 1))
        learned = await runner.run(task.job("smoke", script, 1))
    assert nothing.status == learned.status == "ok", (nothing, learned)
    assert nothing.metric_micro is not None
    assert learned.metric_micro is not None
    # log2(300) is 8.23 bits a token; "the" is one token, so a byte costs less than that.
    assert 7_000_000 < nothing.metric_micro < 8_200_000
    assert learned.metric_micro < 4_000_000
