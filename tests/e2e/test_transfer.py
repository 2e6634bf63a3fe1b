"""`swarm-node transfer` as a user has it: real runs at twice the width, interrupted and resumed."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from node.control import ask
from node.offline import fold_home
from tests.e2e.processes import ROOT, Answer, cli, command, environment, running
from tests.node.replayable import Replayable, replayable

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Replayable:
    return replayable(tmp_path_factory.mktemp("transfer"))


def parsed(answer: Answer) -> Any:
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def interrupted_after(runs: int, *arguments: str) -> int:
    """Press Ctrl-C once so many runs were told; the exit code."""
    with subprocess.Popen(
        command(*arguments),
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for _ in range(runs):
            assert process.stderr.readline().startswith("seed ")
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert "the same command goes on from there" in said
    assert "Traceback" not in said
    return process.returncode


def test_what_cannot_be_replayed_is_told_in_one_line(made: Replayable, tmp_path: Path) -> None:
    at = ("--home", str(made.home.root))
    offered = ("--tier smoke", "--scale width=2")
    cli("transfer", *at).refuses(2, *offered)
    cli("transfer", *at, "--tier", "smoke", "--scale", "width=2").refuses(2, *offered)
    cli("transfer", *at, "--scale", "width=3").refuses(2, "it has smoke, width=2")
    cli("transfer", *at, "--scale", "width=2", "--entry", "00000000").refuses(2, "no entry")
    root = made.entries[0].hex()
    cli("transfer", *at, "--scale", "width=2", "--entry", root).refuses(2, "nothing to replay")
    none = ("--home", str(tmp_path / "none"))
    cli("transfer", *none, "--scale", "width=2").refuses(3, "belongs to no swarm")


def test_a_replay_is_interrupted_resumed_shown_and_shared(made: Replayable) -> None:
    at = ("--home", str(made.home.root))
    replay = ("transfer", *at, "--scale", "width=2", "--seeds", "4")
    assert interrupted_after(2, *replay) == 130
    assert fold_home(made.home).transfers() == []
    done = cli(*replay, "--json")
    value = parsed(done)
    # Three scripts on four seeds, of which at least two runs were kept.
    told = [line for line in done.err.splitlines() if line.startswith("seed ")]
    assert len(told) <= 10
    assert (value["delivered"], value["member"], value["carried"]) == ("stored", True, 1)
    assert [step["status"] for step in value["steps"]] == ["carried", "lost"]
    assert [step["title"] for step in value["steps"]] == ["faster", "nothing"]
    assert value["steps"][0]["gain_low"] > 0
    assert value["steps"][1]["genesis"]["status"] == "carried"

    again = cli(*replay)
    assert again.code == 0
    assert "1 of 2 improvements carries over to width=2" in again.out
    assert "the swarm has it already" in again.out
    shown = parsed(cli("show", made.entries[1].hex(), "--json", *at))
    assert [item["scale"] for item in shown["transfer"]] == ["width=2"]
    rows = parsed(cli("lineage", "--json", *at))
    assert [len(row["transfer"]) for row in rows] == [0, 1, 1]
    assert "transfer to width=2" in cli("lineage", *at).out
    assert "transfer to width=2" in cli("show", made.entries[1].hex(), *at).out

    # Beside a running node a record goes through it. This one needs no further run.
    with running(made.home, "--agent", "none") as node:
        fewer = parsed(cli(*replay[:-1], "3", "--json"))
        # How many pairs a step takes depends on the seeds, and those on the node's own key.
        pairs = value["steps"][0]["pairs"]
        assert (fewer["delivered"], fewer["steps"][0]["pairs"]) == ("gossiped", min(pairs, 3))
        assert bytes.fromhex(fewer["record"]) in node.stored()
        entries = ask(made.home.control, "lineage")
        assert [item["pairs"] for item in entries[1]["transfer"]] == [pairs], "not the longer"
