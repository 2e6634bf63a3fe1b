"""The page's server over real sockets on loopback: the stream, hostile clients, what is refused."""

import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from node.errors import NodeError, UsageError
from node.web import guard, http, routes
from node.web import service as web_service
from node.web.events import EventLog
from node.web.service import Leaderboard, WebConfig, live_difference
from tests.node.web.scenes import Scene, make_scene
from tests.swarm.helpers import key

LIMIT_S = 20.0


class Page:
    """A served leaderboard and ways to talk to it."""

    def __init__(self, scene: Scene, leaderboard: Leaderboard) -> None:
        self.scene = scene
        self.leaderboard = leaderboard
        self.port = int(leaderboard.url.rstrip("/").rpartition(":")[2])

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def send(self, data: bytes) -> bytes:
        """Everything the server answers until it closes."""
        stream = await self.connect()
        async with stream:
            try:
                await stream.send_all(data)
                return b"".join([chunk async for chunk in stream])
            except trio.BrokenResourceError:
                return b""

    async def get(self, target: str, *headers: str, host: str = "127.0.0.1") -> bytes:
        head = [f"GET {target} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
        return await self.send("\r\n".join([*head, "", ""]).encode())

    async def alive(self) -> bool:
        return (await self.get("/healthz")).startswith(b"HTTP/1.1 200")

    def tell(self, act: Callable[[], Any]) -> Any:
        """Change the swarm as intake would: records first, then the leaderboard hears of it."""
        heard = self.scene.board.note
        self.scene.board.note = self.leaderboard.note  # type: ignore[method-assign]
        try:
            return act()
        finally:
            self.scene.board.note = heard  # type: ignore[method-assign]


@asynccontextmanager
async def served(tmp_path: Path, config: WebConfig | None = None) -> AsyncIterator[Page]:
    scene = make_scene(tmp_path / "blobs", hypotheses=5)
    config = WebConfig(port=0, names=("Board.Example",)) if config is None else config
    leaderboard = Leaderboard(config, scene.board.source)
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(leaderboard.run)
            page = Page(scene, leaderboard)
            while not await page.alive():
                await trio.lowlevel.checkpoint()
            yield page
            nursery.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for a person's patience."""
    monkeypatch.setattr(web_service, "_TICK_S", 0.02)
    monkeypatch.setattr(web_service, "_RETRY_S", 0.02)


class Stream:
    """The events of one client."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._data = b""

    async def next(self) -> dict[str, str]:
        """The next event that says something."""
        while True:
            while b"\n\n" not in self._data:
                chunk = await self.stream.receive_some()
                if not chunk:
                    raise EOFError
                # The chunks' own lengths stand on lines of their own; no event has such a line.
                self._data += chunk
            block, _, self._data = self._data.partition(b"\n\n")
            fields = dict(
                line.split(": ", 1)
                for line in block.decode().replace("\r\n", "\n").split("\n")
                if line.startswith(("id: ", "event: ", "data: "))
            )
            if "event" in fields:
                return fields


async def follow(page: Page, after: str = "", last_event_id: str = "") -> Stream:
    stream = await page.connect()
    target = f"/api/v1/events?after={after}" if after else "/api/v1/events"
    lines = [f"GET {target} HTTP/1.1", "Host: localhost", "Accept: text/event-stream"]
    if last_event_id:
        lines.append(f"Last-Event-ID: {last_event_id}")
    await stream.send_all("\r\n".join([*lines, "", ""]).encode())
    return Stream(stream)


async def cursor_of(page: Page) -> str:
    answer = await page.get("/api/v1/state")
    cursor = json.loads(answer.partition(b"\r\n\r\n")[2])["cursor"]
    assert isinstance(cursor, str)
    return cursor


async def next_change(stream: Stream) -> dict[str, str]:
    while True:
        event = await stream.next()
        if event["event"] in {"change", "reset"}:
            return event


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


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:8420", True),
        ("localhost", True),
        ("LOCALHOST:1", True),
        ("[::1]:8420", True),
        ("192.168.7.7:8420", True),
        ("board.example:8420", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("evil.example:8420@127.0.0.1", False),
        ("127.0.0.1, evil.example", False),
        ("", False),
        ("[::1", False),
        ("::1", False),
    ],
)
async def test_a_name_made_to_resolve_here_is_refused(
    tmp_path: Path, host: str, allowed: bool
) -> None:
    async with served(tmp_path) as page:
        answer = await page.get("/api/v1/state", host=host)
        assert answer.startswith(b"HTTP/1.1 200") == allowed
        assert allowed or b"bytes-gpt" not in answer


async def test_two_host_fields_or_none_are_refused(tmp_path: Path) -> None:
    async with served(tmp_path) as page:
        two = await page.get("/", "Host: localhost")
        assert two.startswith((b"HTTP/1.1 400", b"HTTP/1.1 421"))
        assert (await page.send(b"GET / HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 421")


@pytest.mark.parametrize(
    "target",
    [
        "/../identity.pem",
        "/..%2f..%2fidentity.pem",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/vendor/../../routes.py",
        "//etc/passwd",
        "/style.css/",
        "/vendor",
        "/%00",
        "/index.html%00.css",
        "/C:%5Cwindows",
        "/__init__.py",
    ],
)
async def test_nothing_but_the_page_can_be_asked_for(tmp_path: Path, target: str) -> None:
    async with served(tmp_path) as page:
        assert (await page.get(target)).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
async def test_only_reading_is_served(tmp_path: Path, method: str) -> None:
    async with served(tmp_path) as page:
        answer = await page.send(
            f"{method} /api/v1/state HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
        assert answer.startswith(b"HTTP/1.1 405")
        assert b"Allow: GET, HEAD" in answer


UPGRADE = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AA==\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n\r\n",
        b"\x00" * 100,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x07" * 400,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nBad Header: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\r\n",
        b"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /%ff%fe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /?" + b"a=1&" * 50 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n" + UPGRADE + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + UPGRADE + b"Origin: x\r\n\r\n\xff\xff",
    ],
)  # fmt: skip
async def test_malformed_requests_are_refused_and_the_node_lives_on(
    tmp_path: Path, data: bytes
) -> None:
    async with served(tmp_path) as page:
        stream = await page.connect()
        async with stream:
            await stream.send_all(data)
            await stream.send_eof()
            answer = b""
            try:
                async for chunk in stream:
                    answer += chunk
            except trio.BrokenResourceError:
                pass
        assert not answer or answer.split()[1].startswith(b"4"), answer[:100]
        assert b"101" not in answer[:12]
        assert await page.alive()


async def test_random_bytes_end_nothing(tmp_path: Path) -> None:
    rng = random.Random(7)
    async with served(tmp_path) as page:
        for _ in range(150):
            start = rng.choice(
                [b"", b"GET / HTTP/1.1\r\n", b"GET /api/v1/events HTTP/1.1\r\nHost: "]
            )
            stream = await page.connect()
            async with stream:
                try:
                    await stream.send_all(start + rng.randbytes(rng.randrange(300)) + b"\r\n\r\n")
                    await stream.send_eof()
                    await stream.receive_some()
                except trio.BrokenResourceError:
                    continue
        assert await page.alive()


async def test_every_answer_tells_the_browser_to_refuse_everything_else(tmp_path: Path) -> None:
    async with served(tmp_path) as page:
        for answer in (await page.get("/"), await page.get("/none"), await page.send(b"x\r\n\r\n")):
            head = answer.partition(b"\r\n\r\n")[0].decode()
            for name, value in guard.SECURITY_HEADERS:
                assert f"{name}: {value}".lower() in head.lower(), answer[:60]
            assert "access-control" not in head.lower()
            assert "default-src 'none'" in head


async def test_a_client_that_says_nothing_or_half_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_REQUEST_TIMEOUT_S", 0.05)
    async with served(tmp_path) as page:
        for said in (b"", b"GET / HTTP/1.1\r\nHost: local"):
            stream = await page.connect()
            async with stream:
                if said:
                    await stream.send_all(said)
                assert await stream.receive_some() == b""


async def test_a_client_that_stops_reading_is_dropped_and_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_SEND_TIMEOUT_S", 0.05)
    async with served(tmp_path) as page:
        stream = await page.connect()
        async with stream:
            wanted = b"GET /vendor/uPlot.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
            with trio.move_on_after(0.5):
                # More answers than socket buffers hold, and none of them is read.
                await stream.send_all(wanted * 200)
            assert await page.alive()


async def test_a_node_ends_although_a_client_does_not_read(tmp_path: Path) -> None:
    async with served(tmp_path) as page:
        stream = await page.connect()
        with trio.move_on_after(0.2):
            await stream.send_all(b"GET /vendor/uPlot.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200)
    await stream.aclose()


async def test_clients_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "CONNECTIONS_MAX", 4)
    monkeypatch.setattr(routes, "_STREAMS_MAX", 2)
    async with served(tmp_path) as page:
        streams = [await follow(page, after="x-1x") for _ in range(2)]
        for stream in streams:
            await stream.next()
        cursor = await cursor_of(page)
        followers = [await follow(page, after=cursor) for _ in range(2)]
        for follower in followers:
            assert b"HTTP/1.1 200" in await follower.stream.receive_some()
        assert (await page.get(f"/api/v1/events?after={cursor}")).startswith(b"HTTP/1.1 503")
        idle = [await page.connect() for _ in range(2)]
        over = await page.connect()
        assert await over.receive_some() == b""
        for stream_ in (*idle, over, *(one.stream for one in (*followers, *streams))):
            await stream_.aclose()
        while not await page.alive():
            await trio.lowlevel.checkpoint()


async def test_a_fault_in_the_server_or_the_board_ends_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tmp_path) as page:
        calls = 0
        recovered = trio.Event()
        real = page.scene.board.source.running

        def broken() -> Any:
            nonlocal calls
            calls += 1
            if calls <= 3:
                raise RuntimeError("a fault in the board")
            recovered.set()
            return real()

        board = page.leaderboard._board
        board.source = replace(board.source, running=broken)
        await recovered.wait()
        assert await page.alive()


async def test_a_server_that_fails_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = http.serve_http, 0

    async def failing(*arguments: Any) -> None:
        nonlocal failures
        failures += 1
        if failures <= 2:
            raise RuntimeError("the server broke")
        await real(*arguments)

    monkeypatch.setattr(web_service, "serve_http", failing)
    async with served(tmp_path) as page:
        assert failures == 3
        assert await page.alive()


async def test_a_port_that_is_taken_is_said_at_once(tmp_path: Path) -> None:
    async with served(tmp_path) as page:
        rival = Leaderboard(WebConfig(port=page.port), page.scene.board.source)
        with pytest.raises(NodeError, match="--web-port"):
            await rival.run()
    with pytest.raises(UsageError, match="not an IP address"):
        await Leaderboard(WebConfig(host="localhost"), page.scene.board.source).run()


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
