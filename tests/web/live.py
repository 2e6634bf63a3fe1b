"""A served leaderboard that a browser test can change, stop and start again."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import trio
from playwright.sync_api import Page, Route

from node.web.service import Leaderboard, WebConfig
from tests.node.web.scenes import Scene, make_scene

T = TypeVar("T")


def head_value(live: "LiveScene") -> str:
    metric = live.scene.ledger.head.metric_micro
    assert metric is not None
    return f"{metric / 1e6:.4f}"


def merge_one(scene: Scene) -> None:
    before = scene.ledger.head.id
    while scene.ledger.head.id == before:
        scene.try_out(3, gain_micro=90_000)


def violations(page: Page) -> list[str]:
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
    result = page.evaluate("rules => axe.run(document, {runOnly: rules})", rules)
    return [
        f"{found['id']}: {node['target']} {node['failureSummary']}"
        for found in result["violations"]
        for node in found["nodes"]
    ]


def show_merges(page: Page, live: "LiveScene", merges: Sequence[tuple[str, float]]) -> None:
    """Have the page see a past of merges alone: each has a title and a value."""
    root = live.scene.ledger.root.id.hex()

    def name(step: int, kind: str) -> str:
        return f"{kind}{step:063x}" if step else root

    def tell(route: Route) -> None:
        answer = route.fetch().json()
        if "rows" in answer:
            first = dict(zip(answer["columns"], answer["rows"][0], strict=True))
            rows = [
                {**first, "id": name(step, "a"), "entry": name(step, "e"), "status": "merged",
                 "title": title, "val_bpb": value, "gain": 0.01,
                 "created_ms": first["created_ms"] + step, "merged_ms": first["created_ms"] + step}
                for step, (title, value) in enumerate(merges, 1)
            ]  # fmt: skip
            answer["rows"] = [[row[column] for column in answer["columns"]] for row in rows]
        else:
            first = next(entry for entry in answer["entries"] if entry["id"] == root)
            at_ms = next(live.scene.ledger.hypotheses()).created_ms
            answer["entries"] = [first] + [
                {**first, "id": name(step, "e"), "hypothesis": name(step, "a"), "depth": step,
                 "title": title, "parents": [name(step - 1, "e")], "val_bpb": value,
                 "merged_ms": at_ms + step}
                for step, (title, value) in enumerate(merges, 1)
            ]  # fmt: skip
        route.fulfill(json=answer)

    page.route("**/api/v1/points", tell)
    page.route("**/api/v1/lineage", tell)
    page.route("**/api/v1/events*", lambda _route: None)


class LiveScene:
    """A scene with its page, served from a thread of its own.

    Attributes:
        scene: The swarm; changed only through `change`.
        url: Where the page is; it stays when the server is started again.
    """

    def __init__(self, directory: Path, **options: Any) -> None:
        self.scene: Scene = make_scene(directory, **options)
        self.url = ""
        self._port = 0
        self._leaderboard: Leaderboard | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope: trio.CancelScope | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Serve; returns once the address is known."""
        ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._serve, ready))
        self._thread.start()
        assert ready.wait(20)

    def stop(self) -> None:
        """Stop serving, as a node that ends does."""
        if self._thread is None:
            return
        assert self._token is not None
        assert self._scope is not None
        trio.from_thread.run_sync(self._scope.cancel, trio_token=self._token)
        self._thread.join(20)
        assert not self._thread.is_alive()
        self._thread = None

    def change(self, act: Callable[[Scene], T]) -> T:
        """Change the swarm in the server's thread; its page hears of it."""
        assert self._token is not None

        def inside() -> T:
            assert self._leaderboard is not None
            heard = self.scene.board.note
            self.scene.board.note = self._leaderboard.note  # type: ignore[method-assign]
            try:
                return act(self.scene)
            finally:
                self.scene.board.note = heard  # type: ignore[method-assign]

        return trio.from_thread.run_sync(inside, trio_token=self._token)

    async def _serve(self, ready: threading.Event) -> None:
        self._token = trio.lowlevel.current_trio_token()
        source = replace(self.scene.board.source)
        with trio.CancelScope() as self._scope:
            async with trio.open_nursery() as nursery:
                self._leaderboard = Leaderboard(WebConfig(port=self._port), source)
                await nursery.start(self._leaderboard.run)
                self.url = self._leaderboard.url
                self._port = int(self.url.rstrip("/").rpartition(":")[2])
                ready.set()
                await trio.sleep_forever()
