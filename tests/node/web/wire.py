"""A served leaderboard over real sockets on loopback, and ways to talk to it."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
import trio.testing

from node.web.service import Leaderboard, WebConfig
from tests.node.web.scenes import Scene, make_scene

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
