"""`make bench-repeat`: one digit that differs, or one run that fails, is seen."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.repeat import figures_of
from trainer.job import Outcome

RUN = Outcome("ok", 3_591_670, wall_ms=6_000, steps=303, tokens=310_272, flops=285_000_000_000)
FAILED = Outcome("timeout", wall_ms=6_000)


@pytest.mark.parametrize(
    ("other", "well", "alike"),
    [
        (dataclasses.replace(RUN, wall_ms=9_000, train_cpu_ms=5_000), True, True),
        (dataclasses.replace(RUN, metric_micro=3_591_671), True, False),
        (dataclasses.replace(RUN, steps=302), True, False),
        (FAILED, False, False),
    ],
    ids=["slower", "one-digit", "one-step", "failed"],
)
def test_what_differs_is_counted(other: Outcome, well: bool, alike: bool) -> None:
    ended, results, *_ = figures_of("smoke", [RUN, RUN], [RUN, other])
    assert (ended.ok, results.ok) == (well, alike)
    assert ended.value == (4 if well else 3)
