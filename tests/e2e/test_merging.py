"""Three nodes find, verify and merge an improvement, and agree."""

import json
from pathlib import Path

import pytest

from node.home import Home
from tests.e2e.processes import NodeProcess, cli

pytestmark = pytest.mark.e2e


def test_three_nodes_merge_and_converge(tmp_path: Path, tiny_task: Path) -> None:
    directory = tmp_path / "demo"
    answer = cli(
        "demo", "--task", str(tiny_task), "--merges", "1", "--minutes", "3", "--seed", "1",
        "--home", str(directory), "--json", timeout_s=240,
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert "Traceback" not in answer.err
    result = json.loads(answer.out)
    assert result["converged"] is True
    statuses = result["nodes"]
    assert len({status["node_id"] for status in statuses}) == 3
    assert len({status["records_digest"] for status in statuses}) == 1
    assert len({status["head"]["id"] for status in statuses}) == 1
    assert statuses[0]["head"]["val_bpb"] < statuses[0]["baseline_val_bpb"]

    genesis, *merges = result["lineage"]
    assert merges
    assert genesis["val_bpb"] == statuses[0]["baseline_val_bpb"]
    for parent, entry in zip(result["lineage"], merges, strict=False):
        assert entry["parents"][0] == parent["id"]
        assert entry["gain"] > 0
        # Two others have verified it; its author's own trials did not count.
        assert len(set(entry["verifiers"]) - {entry["author"]}) >= 2
        assert entry["author"] not in entry["verifiers"]

    # What they agreed on is durable, and the same bytes everywhere.
    stored = [NodeProcess(Home(directory / f"node-{number}")).stored() for number in (1, 2, 3)]
    assert stored[0] == stored[1] == stored[2]
    assert len(stored[0]) == statuses[0]["records"]
    shown = json.loads(
        cli("show", merges[0]["id"], "--json", "--home", str(directory / "node-2")).out
    )
    assert shown["status"] == "merged"
    assert shown["diff"]
    assert cli("doctor", "--home", str(directory / "node-3")).code == 0
