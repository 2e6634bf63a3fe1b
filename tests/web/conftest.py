"""One Chromium for all tests; every page watches for errors and for requests to elsewhere."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.swarm.helpers import key
from tests.web.live import LiveScene

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
LIMIT_MS = 10_000


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield chromium
        chromium.close()


class Visitor:
    """Opens pages and remembers what went wrong on them."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[Any] = []
        self.problems: list[str] = []
        self.hosts: set[str] = set()

    def open(self, url: str, *, width: int = 1366, height: int = 860, **options: Any) -> Page:
        """Open a page and wait until it shows data."""
        page = self.begin(width=width, height=height, **options)
        self.show(page, url)
        page.locator("#head-value", has_text=re.compile(r"\d")).wait_for()
        return page

    def begin(self, *, width: int = 1366, height: int = 860, **options: Any) -> Page:
        """An empty page that is watched."""
        context = self._browser.new_context(
            viewport={"width": width, "height": height}, reduced_motion="reduce", **options
        )
        self._contexts.append(context)
        page: Page = context.new_page()
        page.set_default_timeout(LIMIT_MS)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", self._console)
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        page.on("dialog", lambda dialog: self.problems.append(f"dialog {dialog.message}"))
        return page

    def show(self, page: Page, url: str) -> None:
        """Go to a page and wait until its tables are drawn."""
        page.goto(url)
        page.wait_for_selector("#records tbody tr td")

    def _console(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.problems.append(message.text)

    def close(self) -> None:
        while self._contexts:
            self._contexts.pop().close()


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Visitor]:
    """Fails the test when a page logged an error or asked another host for anything."""
    made = Visitor(browser)
    yield made
    made.close()
    assert not made.problems
    assert all(host.partition(":")[0] in {"127.0.0.1", ""} for host in made.hosts), made.hosts


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveScene]:
    """A swarm of some eighty hypotheses with a side branch and agents at work."""
    served = LiveScene(tmp_path_factory.mktemp("blobs"), hypotheses=70, seed=11)
    scene = served.scene
    while scene.ledger.head.depth < 6:
        scene.try_out(1 + scene.ledger.head.depth % 5, gain_micro=110_000)
    scene.branch(scene.ledger.lineage()[2].id, author=2)
    latest = list(scene.ledger.hypotheses())
    scene.presence(1, state="verifying", hypothesis=latest[-1].id, progress_permille=620)
    scene.presence(2, state="idle")
    assert key(1).public in scene.presences.known()
    served.start()
    yield served
    served.stop()


@pytest.fixture
def axe() -> str:
    """The accessibility checker's source."""
    return (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
