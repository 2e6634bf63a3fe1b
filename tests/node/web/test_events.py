"""The stream of changes: at once, resumed, bounded, and inert whatever is in it."""

import json
from pathlib import Path
from typing import Any

import pytest

from node.web.events import EventLog
from node.web.service import live_difference
from tests.node.web.wire import cursor_of, follow, next_change, served
from tests.swarm.helpers import key


async def test_a_change_reaches_a_client_at_once_and_a_resumed_one_misses_nothing(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as page:
        start = await cursor_of(page)
        stream = await follow(page, after=start)
        first = page.tell(lambda: page.scene.propose(key(1), title="first"))
        event = await next_change(stream)
        assert [row["id"] for row in json.loads(event["data"])["hypotheses"]] == [first.id.hex()]
        await stream.stream.aclose()

        page.tell(lambda: page.scene.propose(key(1), title="while away"))
        resumed = await follow(page, after=start, last_event_id=event["id"])
        missed = await next_change(resumed)
        assert [row["title"] for row in json.loads(missed["data"])["hypotheses"]] == ["while away"]
        await resumed.stream.aclose()

        again = await follow(page, after=start)
        titles: list[str] = []
        while len(titles) < 2:
            rows = json.loads((await next_change(again))["data"]).get("hypotheses", [])
            titles += [row["title"] for row in rows]
        assert titles == ["first", "while away"]
        await again.stream.aclose()


@pytest.mark.parametrize(
    "cursor", ["other-1", "junk", "-", "a-99999999999999999999", "%F0%9F%92%A9-1", "a-٣"]
)
async def test_a_client_with_an_unknown_cursor_is_told_to_load_again(
    tmp_path: Path, cursor: str
) -> None:
    async with served(tmp_path) as page:
        ascii_cursor = cursor.encode("ascii", "ignore").decode()
        stream = await follow(page, after=ascii_cursor or "x")
        assert (await stream.next())["event"] == "reset"
        await stream.stream.aclose()


def test_the_log_forgets_by_number_and_size() -> None:
    log = EventLog("e")
    for number in range(3000):
        log.append("change", f"{number}")
    assert log.position("e-3000") == 3000
    assert log.position("e-1000") == 1000
    assert log.position("e-999") is None
    assert log.position("e-3001") is None
    assert log.after(999) is None
    kept = log.after(1000)
    assert kept is not None
    assert [event.number for event in kept] == list(range(1001, 3001))
    for _ in range(12):
        log.append("change", "x" * (1 << 20))
    kept = log.after(3009)
    assert kept is not None
    assert log.after(3000) is None


def test_of_the_live_part_only_differences_are_told() -> None:
    before: dict[str, Any] = {"records": 1, "peers": [{"id": "a", "n": 1}, {"id": "b", "n": 1}]}
    after: dict[str, Any] = {"records": 2, "peers": [{"id": "a", "n": 1}, {"id": "c", "n": 1}]}
    assert live_difference(before, before) == {}
    assert live_difference(before, after) == {
        "records": 2,
        "peers": [{"id": "c", "n": 1}],
        "gone": ["b"],
    }


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "data: x id: 5 event: reset",
    '=HYPERLINK("http://evil.example")',
    "${7*7} {{7*7}} `id` \\n \\u202e",
    "漢字 ελληνικά עברית",
)


async def test_hostile_text_stays_data_in_every_format(tmp_path: Path) -> None:
    async with served(tmp_path) as page:
        stream = await follow(page, after=await cursor_of(page))

        def arrive() -> None:
            for text in HOSTILE:
                hypothesis = page.scene.propose(key(2), title=text, rationale=text, change=text)
                page.scene.outcome(hypothesis, key(2), 0, -50_000, purpose="screen")

        page.tell(arrive)
        told: set[str] = set()
        while told != set(HOSTILE):
            told |= {
                row["title"]
                for row in json.loads((await next_change(stream))["data"])["hypotheses"]
            }
        await stream.stream.aclose()
        answer = await page.get("/api/v1/hypotheses?limit=1000")
        assert b"content-type: application/json" in answer.lower()
        table = (await page.get("/results.tsv")).partition(b"\r\n\r\n")[2].decode()
        assert all(len(line.split("\t")) == 5 for line in table.splitlines())
        assert b"alert(1)" not in await page.get("/")
        metrics = (await page.get("/metrics")).partition(b"\r\n\r\n")[2]
        assert b"alert" not in metrics
