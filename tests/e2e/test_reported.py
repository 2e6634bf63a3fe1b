"""A swarm on a repository with autoresearch's contract, which joins as it is."""

import json
from pathlib import Path

import pytest

from tests.e2e.processes import cli
from tests.trainer.contract import write_repository

pytestmark = pytest.mark.e2e


def test_an_imported_repository_is_improved_and_told_as_reproduced(tmp_path: Path) -> None:
    repository = write_repository(tmp_path)
    script = repository / "train.py"
    # Far below the best rate, so that the offline agent finds a better one soon.
    script.write_text(script.read_text().replace("LEARNING_RATE = 30.0", "LEARNING_RATE = 2.0"))
    imported = cli("task", "import", str(repository), "--cache", str(tmp_path / "cache"))
    assert imported.code == 0, imported.err
    directory = tmp_path / "demo"
    answer = cli(
        "demo", "--task", str(repository), "--tier", "standard", "--merges", "1", "--minutes", "4",
        "--seed", "1", "--home", str(directory), "--json", timeout_s=280,
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert "Traceback" not in answer.err
    assert "reproduced “LEARNING_RATE" in answer.err
    assert "verified" not in answer.err
    result = json.loads(answer.out)
    assert result["converged"] is True
    _, entry, *_ = result["lineage"]
    assert entry["gain"] > 0
    home = str(directory / "node-1")
    shown = cli("show", entry["id"], "--home", home)
    assert shown.code == 0, shown.err
    assert "verified" not in shown.out
    status = json.loads(cli("status", "--json", "--home", home).out)
    assert status["scorer"] == "reported"
    assert (status["metric"]["name"], status["metric"]["direction"]) == ("val_bpb", "min")
    # The rows that the repository's own tools read.
    rows = cli("export", "--tsv", "--home", home)
    assert rows.code == 0, rows.err
    assert rows.out.splitlines()[0].startswith("commit\tval_bpb")
    assert "\tkeep\t" in rows.out
