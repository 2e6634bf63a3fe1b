from pathlib import Path

import pytest

from node.agent.prices import Used
from node.hypothesis_costs import HypothesisCosts


def test_costs_outlive_the_node_and_free_ideas_have_none(tmp_path: Path) -> None:
    path = tmp_path / "costs.jsonl"
    costs = HypothesisCosts(path)
    assert costs.status() == {"hypotheses": 0, "usd_per_hypothesis": None, "latest": []}
    costs.keep(b"\1" * 32, Used(2, 3_000, 40_000))
    costs.keep(b"\2" * 32, Used())
    costs.keep(b"\3" * 32, Used(1, 1_000, 20_000))
    again = HypothesisCosts(path)
    assert again.of(b"\1" * 32) == {"calls": 2, "tokens": 3_000, "usd": 0.04}
    assert again.of(b"\2" * 32) is None
    status = again.status()
    assert (status["hypotheses"], status["usd_per_hypothesis"]) == (2, pytest.approx(0.03))
    assert [row["id"] for row in status["latest"]] == ["03" * 32, "01" * 32]


@pytest.mark.parametrize(
    "damage",
    [b"{", b"7", b"\xff\xfe", b'{"hypothesis": "zz", "calls": 1, "tokens": 1, "microusd": 1}',
     b'{"hypothesis": "00", "calls": -1, "tokens": 1, "microusd": 1}', b"[" * 100_000],
)  # fmt: skip
def test_a_damaged_line_is_passed_over(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "costs.jsonl"
    HypothesisCosts(path).keep(b"\1", Used(1, 2, 3))
    path.write_bytes(damage + b"\n" + path.read_bytes())
    assert HypothesisCosts(path).status()["hypotheses"] == 1


def test_a_home_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    costs = HypothesisCosts(tmp_path / "missing" / "costs.jsonl")
    costs.keep(b"\1", Used(1, 2, 3))
    assert costs.of(b"\1") == {"calls": 1, "tokens": 2, "usd": 3e-06}
