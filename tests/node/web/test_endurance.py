"""Slow, silent and many clients, and faults of the server itself: none of them holds up a node."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from node.errors import NodeError, UsageError
from node.web import http, routes
from node.web import service as web_service
from node.web.service import Leaderboard, WebConfig
from tests.node.web.wire import cursor_of, follow, next_change, served
from tests.swarm.helpers import key


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


async def test_nothing_is_told_before_the_disk_has_it(tmp_path: Path) -> None:
    """A record that the ledger counts already, while it is still being written."""
    async with served(tmp_path) as page:
        board = page.leaderboard._board
        written, everybody = trio.Event(), trio.Event()
        waiting = 0

        async def settled() -> None:
            nonlocal waiting
            waiting += 1
            if waiting == 4:
                everybody.set()
            await written.wait()

        answers: list[bytes] = []

        async def ask(target: str) -> None:
            answers.append(await page.get(target))

        start = await cursor_of(page)
        board.source = replace(board.source, settled=settled)
        record = page.tell(lambda: page.scene.propose(key(1), title="too early"))
        targets = ("/api/v1/state", "/metrics", f"/api/v1/hypotheses/{record.id.hex()}")
        async with trio.open_nursery() as nursery:
            for target in targets:
                nursery.start_soon(ask, target)
            # The three requests, and what renews the board and tells the followers.
            await everybody.wait()
            assert not answers
            assert page.leaderboard._events.cursor == start
            written.set()
        assert len(answers) == 3
        stream = await follow(page, after=start)
        assert "too early" in (await next_change(stream))["data"]
        await stream.stream.aclose()
        # By now it is on the board, too; the first answers may have come before that.
        for target in targets:
            assert (await page.get(target)).startswith(b"HTTP/1.1 200")


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
