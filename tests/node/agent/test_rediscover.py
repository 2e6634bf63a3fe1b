"""The bad start from which a swarm is to find its way: a valid task that the catalogue fits."""

from pathlib import Path

import pytest

from benchmarks.rediscover import TIER, found_in, task_directory
from node.agent.catalogue import STRUCTURAL, NotApplicableError, Script, apply_edits, find_edits
from trainer.data import unpack
from trainer.task import load_task


def start(tmp_path: Path) -> str:
    return load_task(task_directory(tmp_path)).genesis_script(TIER)


def test_the_task_is_whole(tmp_path: Path) -> None:
    directory = task_directory(tmp_path)
    task = load_task(directory)
    assert len(unpack(directory, task.pins["validation"])) == task.pins["validation"].size_bytes


def test_nothing_is_found_until_both_edits_are_made(tmp_path: Path) -> None:
    script = Script.parse(start(tmp_path))
    assert found_in(script.code) == []
    for init in ("init:kaiming", "init:xavier"):
        one = apply_edits(script, find_edits(init))
        assert found_in(one.code) == ["Kaiming or Xavier"]
        both = apply_edits(one, find_edits("norm:rmsnorm"))
        assert found_in(both.code) == ["Kaiming or Xavier", "RMSNorm"]
    for other in ("init:fan_in", "norm:qk"):
        assert found_in(apply_edits(script, find_edits(other)).code) == []


@pytest.mark.parametrize("change", ["norm:layernorm", "norm:layernorm_nobias"])
def test_of_norms_that_do_the_same_the_cheaper_one_comes_first(tmp_path: Path, change: str) -> None:
    script = Script.parse(start(tmp_path))
    with pytest.raises(NotApplicableError, match="nothing is normalised yet"):
        apply_edits(script, find_edits(change))
    normed = apply_edits(script, find_edits("norm:rmsnorm"))
    assert found_in(apply_edits(normed, find_edits(change)).code) == []


def test_embeddings_keep_the_spread_that_they_had(tmp_path: Path) -> None:
    script = apply_edits(Script.parse(start(tmp_path)), find_edits("init:kaiming"))
    again = apply_edits(script, find_edits("init:xavier"))
    for code in (script.code, again.code):
        assert 'startswith(("tokens", "positions")):\n        return 0.5\n' in code
    with pytest.raises(NotApplicableError):
        apply_edits(again, find_edits("init:xavier"))


def test_most_of_the_catalogue_applies(tmp_path: Path) -> None:
    script = Script.parse(start(tmp_path))
    applied = 0
    for edit in STRUCTURAL.values():
        try:
            edit.apply(script)
        except NotApplicableError:
            continue
        applied += 1
    assert applied >= 0.9 * len(STRUCTURAL)
