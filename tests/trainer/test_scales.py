"""Scales: what `task.toml` may offer, and what a lineage's scripts become at them."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import pytest

from tests.trainer.tiny import tiny_task, write_task
from trainer.constants import read_constants
from trainer.fields import TaskError
from trainer.job import Budget
from trainer.scales import find_scaling, offered_scales
from trainer.task import built_in_task, load_task, open_bundle

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("N_LAYER", "D_MODEL", "N_HEAD")


def constants(script: str) -> tuple[int | float, ...]:
    return tuple(read_constants(script, NAMES).values())


def test_the_genesis_becomes_what_the_other_tier_begins_with() -> None:
    task = built_in_task()
    for tier in task.tiers:
        for other in task.tiers:
            if tier == other:
                continue
            scaling = find_scaling(task, tier, other)
            script = scaling.script(task.genesis_script(tier))
            assert script == task.genesis_script(other)
            job = scaling.job(task, task.genesis_script(tier), 5)
            assert job == task.job(other, task.genesis_script(other), 5)


def test_what_an_entry_changed_keeps_its_proportion() -> None:
    task = built_in_task()
    changed = task.genesis_script("smoke").replace("D_MODEL = 64", "D_MODEL = 80")
    changed = changed.replace("LEARNING_RATE = 1e-3", "LEARNING_RATE = 0.004")
    scaled = find_scaling(task, "smoke", "confirm").script(changed)
    assert constants(scaled) == (4, 120, 3)
    assert "LEARNING_RATE = 0.004" in scaled


@pytest.mark.parametrize(
    ("name", "expected", "times"), [("width=2", (2, 128, 4), 4), ("depth=3", (6, 64, 2), 3)]
)
def test_a_factor_multiplies_constants_budget_and_limits(
    name: str, expected: tuple[int, ...], times: int
) -> None:
    task = built_in_task()
    job = find_scaling(task, "smoke", name).job(task, task.genesis_script("smoke"), 1)
    own = task.job("smoke", task.genesis_script("smoke"), 1)
    assert constants(job.script) == expected
    assert job.budget == Budget("flops", own.budget.amount * times)
    assert job.evaluation == own.evaluation
    assert job.limits.train_wall_s == own.limits.train_wall_s * times
    assert job.limits.memory_bytes == own.limits.memory_bytes * times


def test_whole_numbers_stay_whole_and_do_not_vanish() -> None:
    task = built_in_task()
    back = find_scaling(task, "confirm", "smoke")
    assert back.factors["D_MODEL"] == Fraction(2, 3)
    small = task.genesis_script("confirm").replace("N_HEAD = 3", "N_HEAD = 1")
    assert constants(back.script(small))[2] == 1
    none = task.genesis_script("confirm").replace("N_HEAD = 3", "N_HEAD = 0")
    assert constants(back.script(none))[2] == 0


def test_what_is_not_offered_is_refused_with_what_is() -> None:
    task = built_in_task()
    assert offered_scales(task, "smoke")[:4] == ["laptop", "confirm", "long", "width=2"]
    for name in ("smoke", "width", "width=5", "width=02", "width=2=2", "height=2", "", "=2"):
        with pytest.raises(TaskError, match=r"it has laptop, confirm, long, width=2"):
            find_scaling(task, "smoke", name)


@pytest.mark.parametrize(
    "value",
    ["2 * 40", "True", "'64'", "1e400", "0x" + "f" * 5000, "None", "(64,)", "\n64", "nan"],
)
def test_a_script_that_hides_its_constant_cannot_be_scaled(value: str) -> None:
    task = built_in_task()
    hidden = task.genesis_script("smoke").replace("D_MODEL = 64", f"D_MODEL = {value}")
    with pytest.raises(TaskError):
        find_scaling(task, "smoke", "width=2").script(hidden)
    twice = task.genesis_script("smoke") + "\nD_MODEL = 8\n"
    with pytest.raises(TaskError, match="assign D_MODEL once"):
        find_scaling(task, "smoke", "width=2").script(twice)


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ('constants = ["D_MODEL"]\nfactors = [2]', "lacks the key budget_exponent"),
        ("constants = []\nfactors = [2]\nbudget_exponent = 1", "constants must not be empty"),
        ('constants = ["D_MODEL"]\nfactors = []\nbudget_exponent = 1', "factors must not be empty"),
        ('constants = ["D_MODEL"]\nfactors = [1]\nbudget_exponent = 1', "integers from 2 to 64"),
        ('constants = ["D_MODEL"]\nfactors = [2, 2]\nbudget_exponent = 1', "one number twice"),
        ('constants = ["D_MODEL"]\nfactors = [2.0]\nbudget_exponent = 1', "integers from 2 to 64"),
        ('constants = ["D_MODEL"]\nfactors = [2]\nbudget_exponent = 5', "from 0 to 4"),
        ('constants = ["d"]\nfactors = [2]\nbudget_exponent = 1', "constants' names"),
        ('constants = ["WIDTH"]\nfactors = [2]\nbudget_exponent = 1', "must assign WIDTH once"),
        ('constants = ["D_MODEL"]\nfactors = [2]\nbudget_exponent = 1\nx = 1', "not a known key"),
    ],
)
def test_a_wrong_scale_is_named(tmp_path: Path, table: str, fault: str) -> None:
    path = write_task(tmp_path) / "task.toml"
    path.write_text(path.read_text() + f"\n[scales.width]\n{table}\n")
    with pytest.raises(TaskError, match=fault):
        load_task(tmp_path)


def test_scales_travel_in_the_bundle_and_are_optional(tmp_path: Path) -> None:
    assert dict(tiny_task(tmp_path).manifest.scales) == {}
    task = built_in_task()
    assert open_bundle(task.bundle()).manifest.scales == task.manifest.scales
