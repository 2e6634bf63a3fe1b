from pathlib import Path

import pytest
from rich.console import Console

from node import news, view
from node.activity import Activity, Work
from node.blobs import BlobStore
from node.demo_display import describe_work, lineage_table
from node.errors import NodeError
from swarm.ledger import Ledger
from tests.swarm.helpers import TAU, Swarm, admitted, arm, key, steady

AUTHOR, FIRST, SECOND = key(1), key(2), key(3)


def grown() -> tuple[Swarm, Ledger]:
    """A ledger with one merged, one refuted, one crashed and one unfinished hypothesis."""
    swarm = Swarm()
    merged = swarm.merged("better", AUTHOR, [FIRST, SECOND], steady(30 * TAU, 6))
    worse = swarm.hypothesis("worse", AUTHOR)
    crash = swarm.hypothesis("crash", AUTHOR)
    records = [
        *swarm.members(3),
        *merged,
        worse,
        *swarm.trials(worse, [FIRST, SECOND], steady(-30 * TAU, 6)),
        crash,
        swarm.trial(crash, AUTHOR, 0, 0, purpose="screen", child=arm(None, "crashed")),
        swarm.hypothesis("new", AUTHOR),
    ]
    return swarm, swarm.ledger(*records)


def running() -> view.Running:
    return view.Running(
        node_id=FIRST.public,
        peers=[],
        activity=Activity("cpu", [Work("verifying", b"h" * 32, "better", 1, "child", 0.5)]),
        sandbox="bubblewrap",
        sandbox_problem="",
    )


def test_status_has_the_documented_fields_and_counts() -> None:
    swarm, ledger = grown()
    value = view.status(ledger, running())
    assert {
        "node_id", "swarm_id", "role", "head", "baseline_val_bpb", "records", "records_digest",
        "hypotheses", "merges", "peers", "worker", "sandbox",
    } <= value.keys()  # fmt: skip
    assert value["head"].keys() == {
        "id", "depth", "val_bpb", "title", "merged_ms", "confirmed", "gain", "gain_low",
        "gain_high",
    }  # fmt: skip
    assert value["merges"] == 1
    assert value["records"] == len(ledger)
    assert value["swarm_id"] == swarm.id.hex()
    counts = value["hypotheses"]
    assert (counts["proposed"], counts["verified"], counts["refuted"], counts["crashed"]) == (
        4, 1, 1, 1,
    )  # fmt: skip
    assert value["worker"]["hypothesis"] == (b"h" * 32).hex()
    assert describe_work(value["worker"]) == "verifying pair 2, child"


def test_status_beside_a_stopped_node_says_so() -> None:
    _, ledger = grown()
    value = view.status(ledger, None)
    assert value["node_id"] is None
    assert value["worker"]["state"] == "stopped"
    assert value["merges"] == 1


def test_the_lineage_lists_entries_from_the_genesis_to_the_head() -> None:
    _, ledger = grown()
    rows = view.lineage(ledger)
    assert [row["title"] for row in rows] == ["genesis", "better"]
    assert rows[1].keys() >= {
        "id", "parents", "title", "val_bpb", "gain", "author", "merged_ms", "trials",
        "verifiers", "self_verified", "source",
    }  # fmt: skip
    assert rows[1]["parents"] == [rows[0]["id"]]
    assert rows[1]["gain"] == pytest.approx(30 * TAU / 1e6, abs=0.001)
    assert rows[1]["gain_low"] < rows[1]["gain"] < rows[1]["gain_high"]
    assert set(rows[1]["verifiers"]) == {FIRST.public.hex(), SECOND.public.hex()}
    assert rows[0]["val_bpb"] > rows[1]["val_bpb"]


def test_one_hypothesis_is_shown_whole_by_the_start_of_its_id(tmp_path: Path) -> None:
    _, ledger = grown()
    blobs = BlobStore(tmp_path)
    merged = next(item for item in ledger.hypotheses() if item.status == "merged")
    value = view.show(ledger, blobs, merged.id.hex()[:10].upper())
    assert value["title"] == "better"
    assert len(value["trials"]) == 6
    assert value["status"] == "merged"
    assert view.show(ledger, blobs, merged.entry_id.hex())["id"] == value["id"]
    assert view.show(ledger, blobs, ledger.root.id.hex())["kind"] == "genesis"
    with pytest.raises(NodeError, match="at least 4"):
        view.show(ledger, blobs, "ab")
    with pytest.raises(NodeError, match="nothing here"):
        view.show(ledger, blobs, "0" * 64)


def test_the_diff_is_shown_where_both_scripts_are_here(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    _, ledger = grown()
    item = next(item for item in ledger.hypotheses() if item.status == "merged")
    assert view.show(ledger, blobs, item.id.hex())["diff"] == []
    for digest, text in ((ledger.root.source, b"a\nb\n"), (item.body.source, b"a\nc\n")):
        path = blobs.path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
    with pytest.raises(NodeError, match="does not match"):
        view.show(ledger, blobs, item.id.hex())


def test_every_event_has_a_line_or_needs_none() -> None:
    swarm = Swarm()
    ledger = swarm.ledger()
    lines: list[str] = []
    for record in [
        *swarm.members(3),
        *swarm.merged("better", AUTHOR, [FIRST, SECOND], steady(30 * TAU, 6)),
    ]:
        for event in admitted(ledger, record).events:
            described = news.describe(event, ledger)
            if described is not None:
                lines.append(described[0])
    text = "\n".join(lines)
    assert "is a member now" in text
    assert "tried “better”" in text
    assert "verified “better” after" in text
    assert "merged: head" in text


def test_text_from_peers_is_not_read_as_markup() -> None:
    console = Console(width=100, record=True, file=None, force_terminal=False)
    entry = {
        "id": "ab" * 32, "title": "[bold red]not markup[/]", "val_bpb": 1.0, "gain": None,
        "author": "cd" * 32, "verifiers": [], "self_verified": False,
    }  # fmt: skip
    with console.capture() as capture:
        console.print(lineage_table([entry], {}))
    assert "[bold red]not markup[/]" in capture.get()
