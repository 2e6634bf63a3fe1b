"""What the API says, path by path, about a swarm of real records."""

import gzip
import hashlib
import json
import math
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from node.web import rows
from node.web.board import Board
from node.web.http import Request, Response
from node.web.openapi import openapi_document
from node.web.rows import POINT_COLUMNS
from swarm.events import MemberAdded
from swarm.leaderboard import author_rows
from tests.node.web.scenes import Scene, make_scene
from tests.swarm.helpers import arm, key


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    made = make_scene(tmp_path_factory.mktemp("blobs"), hypotheses=60, seed=3)
    while made.ledger.head.depth < 2:
        made.try_out(1, gain_micro=150_000)
    made.branch(made.ledger.root.id, author=2)
    made.presence(1, state="verifying", hypothesis=next(made.ledger.hypotheses()).id)
    made.settle()
    return made


def request(path: str, **changes: Any) -> Request:
    path, _, query = path.partition("?")
    fields = dict(part.split("=", 1) for part in query.split("&") if part)
    defaults: dict[str, Any] = {"method": "GET", "headers": {}, "hosts": ("127.0.0.1:8420",)}
    return Request(path=path, query=fields, **{**defaults, **changes})


async def get(scene: Scene, path: str, **changes: Any) -> Response:
    response = await scene.site.answer(request(path, **changes))
    assert isinstance(response, Response)
    return response


async def ask(scene: Scene, path: str, status: int = 200) -> Any:
    response = await get(scene, path)
    assert response.status == status, response.body
    return json.loads(response.body)


async def test_the_state_tells_head_counts_peers_and_agents(scene: Scene) -> None:
    state = await ask(scene, "/api/v1/state")
    head = scene.ledger.head
    assert head.metric_micro is not None
    assert state["ready"] is True
    assert state["head"]["id"] == head.id.hex()
    assert state["head"]["val_bpb"] == head.metric_micro / 1e6
    assert state["head"]["half_width"] > 0
    assert state["gain"] == pytest.approx(state["baseline_val_bpb"] - state["head"]["val_bpb"])
    items = list(scene.ledger.hypotheses())
    assert state["counts"]["proposed"] == len(items)
    assert state["counts"]["crashed"] == sum(item.status == "crashed" for item in items) > 0
    assert [peer["state"] for peer in state["peers"]] == ["verifying"]
    assert state["gain_half_width"] == pytest.approx(
        math.hypot(state["head"]["half_width"], state["baseline_half_width"])
    )
    assert 0 < state["baseline_half_width"] < state["head"]["half_width"], "more pairs measured it"
    merged = sum(agent["merged_gain"] for agent in state["agents"])
    path_gain = sum(entry.gain_micro or 0 for entry in scene.ledger.lineage()) / 1e6
    assert merged == pytest.approx(path_gain)


async def test_agents_gains_have_intervals_that_add_in_quadrature(scene: Scene) -> None:
    state = await ask(scene, "/api/v1/state")
    for agent in state["agents"]:
        own = [
            (entry.high_micro - entry.low_micro) / 2e6
            for entry in scene.ledger.lineage()
            if entry.author.hex() == agent["id"] and entry.low_micro is not None
            and entry.high_micro is not None
        ]  # fmt: skip
        expected = pytest.approx(math.hypot(*own)) if own else None
        assert agent["merged_half_width"] == expected


async def test_money_is_told_where_this_node_knows_it(tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "blobs", hypotheses=3)
    scene.settle()
    state = await ask(scene, "/api/v1/state")
    assert (state["agent"], state["cost"]) == ("offline", None)
    assert b"agent_cost_usd" not in (await get(scene, "/metrics")).body
    scene.agent = {"mode": "claude", "model": "m", "usd": 3.5, "usd_today": 0.25, "trouble": ""}
    assert (await ask(scene, "/api/v1/state"))["cost"] == {
        "usd": 3.5, "usd_today": 0.25, "model": "m",
    }  # fmt: skip
    assert b"\nswarm_agent_cost_usd 3.5\n" in (await get(scene, "/metrics")).body


async def test_points_hold_every_hypothesis_once_in_order(scene: Scene) -> None:
    points = await ask(scene, "/api/v1/points")
    assert points["columns"] == list(POINT_COLUMNS)
    rows = [dict(zip(points["columns"], row, strict=True)) for row in points["rows"]]
    assert [row["created_ms"] for row in rows] == sorted(row["created_ms"] for row in rows)
    assert {row["id"] for row in rows} == {item.id.hex() for item in scene.ledger.hypotheses()}
    merged = [row for row in rows if row["status"] == "merged"]
    assert all(
        row["merged_ms"] >= row["decided_ms"] > row["verifying_ms"] > row["claimed_ms"]
        for row in merged
    )
    assert all(row["gain_low"] <= row["gain"] <= row["gain_high"] for row in merged)


async def test_the_lineage_names_its_path_and_what_lies_beside_it(scene: Scene) -> None:
    entries = (await ask(scene, "/api/v1/lineage"))["entries"]
    path = [entry["id"] for entry in entries if entry["on_path"]]
    assert path == [entry.id.hex() for entry in scene.ledger.lineage()]
    beside = [entry for entry in entries if not entry["on_path"]]
    assert [entry["title"] for entry in beside] == ["The road not taken"]
    assert beside[0]["parents"] == [path[0]]


async def test_hypotheses_are_paged_filtered_and_sorted(scene: Scene) -> None:
    everything = await ask(scene, "/api/v1/hypotheses?limit=1000")
    assert everything["total"] == len(everything["items"]) == len(scene.board.facts)
    pages: list[str] = []
    for offset in range(0, everything["total"], 25):
        page = await ask(scene, f"/api/v1/hypotheses?limit=25&offset={offset}")
        pages += [row["id"] for row in page["items"]]
    assert pages == [row["id"] for row in everything["items"]]

    crashed = await ask(scene, "/api/v1/hypotheses?status=crashed,merged&limit=1000")
    assert {row["status"] for row in crashed["items"]} == {"crashed", "merged"}
    author = key(1).public.hex()
    mine = await ask(scene, f"/api/v1/hypotheses?author={author[:10]}&limit=1000")
    assert 0 < mine["total"] < everything["total"]
    assert {row["author"] for row in mine["items"]} == {author}
    found = await ask(scene, "/api/v1/hypotheses?q=ROTARY&limit=1000")
    assert {row["title"] for row in found["items"]} == {"Rotary positions"}
    best = await ask(scene, "/api/v1/hypotheses?sort=val_bpb&limit=1000")
    values = [row["val_bpb"] for row in best["items"]]
    known = [value for value in values if value is not None]
    assert known == sorted(known)
    assert values[len(known) :] == [None] * (len(values) - len(known))


@pytest.mark.parametrize(
    "query", ["limit=1001", "limit=-1", "limit=x", "offset=9999999999999", "sort=id", "what=1"]
)
async def test_a_query_that_cannot_be_is_refused_in_words(scene: Scene, query: str) -> None:
    answer = await ask(scene, f"/api/v1/hypotheses?{query}", status=400)
    assert answer["error"]


async def test_one_hypothesis_is_told_with_its_trials_and_its_diff(scene: Scene) -> None:
    head = scene.ledger.head
    assert head.hypothesis is not None
    for name in (head.hypothesis.hex(), head.hypothesis.hex()[:12], head.id.hex()):
        about = await ask(scene, f"/api/v1/hypotheses/{name}")
        assert about["id"] == head.hypothesis.hex()
    assert about["rationale"].startswith("Adam's updates")
    assert sum(trial["counted"] for trial in about["trials"]) == head.trials
    assert {trial["purpose"] for trial in about["trials"]} == {"screen", "verify"}
    assert all(isinstance(trial["seed"], str) for trial in about["trials"])
    for name in (head.hypothesis.hex(), head.id.hex()):
        diff = await ask(scene, f"/api/v1/entries/{name}/diff")
        assert diff["entry"] == head.id.hex()
        if head.depth > 1:
            assert any(line.startswith("+LEARNING_RATE = ") for line in diff["lines"])


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/hypotheses/ffff0000ffff",
        "/api/v1/entries/ffff0000ffff/diff",
        "/api/v1/hypotheses/XYZ1",
        "/api/v1/hypotheses/abc",
        "/api/v1/nothing",
        "/api/v2/state",
    ],
)
async def test_what_is_not_there_is_404(scene: Scene, path: str) -> None:
    assert (await get(scene, path)).status == 404


async def test_the_table_is_what_autoresearch_writes(scene: Scene) -> None:
    response = await get(scene, "/results.tsv")
    header, *lines = response.body.decode().split("\n")[:-1]
    assert header == "commit\tval_bpb\tmemory_gb\tstatus\tdescription"
    cells = [line.split("\t") for line in lines]
    assert all(len(row) == 5 and len(row[0]) == 7 for row in cells)
    assert {row[3] for row in cells} == {"keep", "discard", "crash"}
    kept = [row for row in cells if row[3] == "keep"]
    assert len(kept) == sum(item.status == "merged" for item in scene.ledger.hypotheses())
    assert all(row[1] == "0.000000" for row in cells if row[3] == "crash")


async def test_metrics_are_prometheus_text(scene: Scene) -> None:
    text = (await get(scene, "/metrics")).body.decode()
    values = dict(
        line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#")
    )
    assert int(values["swarm_head_depth"]) == scene.ledger.head.depth
    assert int(values['swarm_hypotheses{status="crashed"}']) > 0
    assert all(
        line.startswith(("# HELP swarm_", "# TYPE swarm_", "swarm_")) for line in text.splitlines()
    )


async def test_health_waits_for_the_records(tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "blobs", hypotheses=1)
    assert (await get(scene, "/healthz")).status == 503
    scene.settle()
    assert (await get(scene, "/healthz")).body == b"ok\n"


async def test_large_answers_are_packed_for_who_can_unpack(scene: Scene) -> None:
    plain = await get(scene, "/api/v1/points")
    packed = await get(scene, "/api/v1/points", headers={"accept-encoding": "gzip, br"})
    assert ("Content-Encoding", "gzip") in packed.headers
    assert len(packed.body) * 2 < len(plain.body)
    assert json.loads(gzip.decompress(packed.body))["rows"] == json.loads(plain.body)["rows"]


async def test_the_document_describes_every_path_truthfully(scene: Scene) -> None:
    document = await ask(scene, "/api/v1/openapi.json")
    assert document == json.loads(json.dumps(openapi_document()))
    head = scene.ledger.head.id.hex()
    for path, methods in document["paths"].items():
        assert set(methods) == {"get"}
        if path == "/api/v1/events":
            continue
        response = await get(scene, path.replace("{id}", head))
        ((media, described),) = methods["get"]["responses"]["200"]["content"].items()
        assert response.status == 200, path
        assert response.content_type.partition(";")[0] == media
        schema = described["schema"]
        if "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        if media == "application/json" and "required" in schema:
            answer = json.loads(response.body)
            assert set(schema["required"]) <= set(answer), path
    page = await ask(scene, "/api/v1/hypotheses")
    described = set(document["components"]["schemas"]["Hypothesis"]["properties"])
    assert all(set(row) == described for row in page["items"])


async def test_only_what_changed_is_told(tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "blobs", hypotheses=3)
    assert {row["id"] for row in scene.settle()["hypotheses"]} == set(scene.board.facts)
    assert scene.settle() == {}
    scene.swarm.clock_ms += 60_000
    hypothesis = scene.propose(key(1))
    change = scene.settle()
    assert [row["id"] for row in change["hypotheses"]] == [hypothesis.id.hex()]
    assert change["hypotheses"][0]["status"] == "proposed"
    assert "entries" not in change
    scene.outcome(hypothesis, key(1), 0, 0, purpose="screen", child=arm(None, "diverged"))
    assert [row["status"] for row in scene.settle()["hypotheses"]] == ["crashed"]


def test_a_board_that_was_kept_up_says_what_a_new_one_would(tmp_path: Path) -> None:
    kept = make_scene(tmp_path / "blobs", hypotheses=2, seed=9)
    kept.settle()
    for _ in range(40):
        kept.live_through(1, merge_share=0.3)
        kept.settle()
    kept.branch(kept.ledger.lineage()[-3].id, author=2, gain_micro=900_000)
    kept.settle()
    fresh = Board(kept.board.source)
    fresh.renew_now()
    assert kept.ledger.head.title == "The road not taken", "fork choice has moved to the branch"
    assert kept.board.ordered() == fresh.ordered()
    assert kept.board.lineage() == fresh.lineage()
    kept.swarm.clock_ms += 10_000
    kept.propose(key(1))
    kept.settle()
    fresh.renew_now()
    assert rows.agent_rows(kept.ledger, kept.board.facts.values()) == kept.board.agents


def test_agents_are_what_the_leaderboard_says(scene: Scene) -> None:
    scene.swarm.clock_ms += 10_000
    scene.board.note([MemberAdded(key(1).public)])
    scene.settle()
    told = {agent["id"]: agent for agent in scene.board.agents}
    for row in author_rows(scene.ledger):
        agent = told[row.author.hex()]
        assert agent["merged_gain"] == row.gain_micro / 1e6
        assert agent["entries"] == row.entries
        assert agent["hypotheses"] == row.hypotheses
        assert agent["refuted"] == row.refuted
        assert agent["pairs_verified"] == row.pairs_verified
    assert len(told) == len(author_rows(scene.ledger))


def test_vendored_files_are_the_ones_that_are_listed() -> None:
    vendor = files("node.web").joinpath("static", "vendor")
    listed = json.loads(vendor.joinpath("vendored.json").read_text())["files"]
    names = {item.name for item in vendor.iterdir()} - {"vendored.json"}
    assert names == {item["name"] for item in listed}
    for item in listed:
        data = vendor.joinpath(item["name"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == item["sha256"], item["name"]
        assert item["license"] in {"MIT", "OFL-1.1"}


def test_the_page_asks_for_nothing_from_elsewhere_and_parses_no_markup() -> None:
    static = files("node.web").joinpath("static")
    for item in static.iterdir():
        if not item.name.endswith((".js", ".html", ".css", ".svg")):
            continue
        text = item.read_text().replace("http://www.w3.org/2000/svg", "")
        for forbidden in ("http:", "https:", "//cdn", "innerHTML", "outerHTML", "insertAdjacent",
                          "document.write", "eval(", "style=\"", " onclick="):  # fmt: skip
            assert forbidden not in text, (item.name, forbidden)


def test_the_page_names_every_module_at_once() -> None:
    """A browser that learns of a module only from another one asks for them one after another."""
    static = files("node.web").joinpath("static")
    named = re.findall(
        r'rel="modulepreload" href="([^"]+)"', static.joinpath("index.html").read_text()
    )
    ours = {item.name for item in static.iterdir() if item.name.endswith(".js")}
    assert sorted(named) == sorted({*ours, "vendor/uPlot.js"} - {"main.js"})
