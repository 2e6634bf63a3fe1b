"""Harmless edits: there are many, they are what they say, and nothing that matters changes."""

from __future__ import annotations

import ast
import functools
import types
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import torch

from benchmarks.harmless import improved_head
from node.harmless import HarmlessEdit, harmless_edits
from trainer.constants import set_constants
from trainer.task import built_in_task
from trainer.worker.budget import Meter
from trainer.worker.run import Run, seed_libraries

if TYPE_CHECKING:
    from collections.abc import Iterator

TASK = built_in_task()
GENESIS = TASK.genesis_script("smoke")
HEAD = improved_head(TASK, "smoke")
SMALL = set_constants(HEAD, {"D_MODEL": 16, "BATCH_SIZE": 2, "TRAIN_CONTEXT": 16})
"""Trains in no time."""


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@functools.cache
def _trained(script: str) -> tuple[list[int], torch.Tensor]:
    """Trains for two steps; the sizes of all parameters, and logits of some tokens."""
    module = types.ModuleType("train")
    seed_libraries(7)
    exec(compile(script, "train.py", "exec"), module.__dict__)  # noqa: S102
    tokens = torch.arange(4096, dtype=torch.uint8) * 7
    meter = Meter("tokens", 2 * 2 * 16, 7)
    run = Run(seed=7, vocab_size=256, context=16, tokens=tokens, meter=meter)
    model = module.build_model(run)
    sizes = sorted(parameter.numel() for parameter in model.parameters())
    module.train(run, model)
    with torch.inference_mode():
        logits = model(torch.arange(16)[None])
    assert isinstance(logits, torch.Tensor)
    return sizes, logits


def test_an_improved_head_has_at_least_forty_of_every_kind() -> None:
    edits = harmless_edits(HEAD)
    assert len(edits) >= 40
    assert len({edit.script for edit in edits}) == len({edit.name for edit in edits}) == len(edits)
    kinds = Counter(edit.kind for edit in edits)
    assert set(kinds) == {"rename", "draws", "sums"}
    assert min(kinds.values()) >= 8
    # The first few already show all kinds.
    assert {edit.kind for edit in edits[:3]} == set(kinds)


@pytest.mark.parametrize("edit", harmless_edits(SMALL)[::3], ids=lambda edit: edit.name)
def test_an_edit_changes_the_run_and_not_the_model(edit: HarmlessEdit) -> None:
    before_sizes, before = _trained(SMALL)
    sizes, after = _trained(edit.script)
    assert sizes == before_sizes
    distance = float((before - after).abs().max())
    if edit.kind == "sums":
        # The same function but for rounding; some sums happen to round alike for two steps.
        assert distance < 1e-3
    else:
        assert distance > 1e-3


def test_a_renamed_layer_is_renamed_where_it_is_named_too() -> None:
    script = HEAD.replace('"blocks" in name', 'name.split(".")[0] == "blocks"')
    edits = {edit.name: edit.script for edit in harmless_edits(script)}
    assert "== 'blocks_alike'" in edits["blocks renamed"]
    # A tensor's method of that name is another thing.
    assert "x.norm()" in edits["head renamed"]


@pytest.mark.parametrize("script", ["", "x = 1\n", "def broken(:\n", "[page]\ntitle = 'x'\n", "\0"])
def test_a_file_without_such_places_has_no_edits(script: str) -> None:
    assert harmless_edits(script) == []


def test_edits_of_the_genesis_script_are_python() -> None:
    edits = harmless_edits(GENESIS)
    assert len(edits) >= 40
    for edit in edits:
        ast.parse(edit.script)
