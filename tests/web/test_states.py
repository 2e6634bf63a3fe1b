"""The page when not all is well: a new swarm, a node that is behind, silent or gone, a copy."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from playwright.sync_api import Route, expect

from node.web.export import write_copy
from tests.node.web.scenes import Scene, make_scene
from tests.web.conftest import LIMIT_MS, Visitor
from tests.web.live import LiveScene, head_value, merge_one, violations

SILENCE_MS = 26_000
"""A little more than the page waits for a heartbeat."""


def test_a_new_swarm_says_what_is_not_there_yet(visitor: Visitor, tmp_path: Path, axe: str) -> None:
    served = LiveScene(tmp_path / "blobs", hypotheses=0)
    served.start()
    try:
        page = visitor.begin(bypass_csp=True)
        visitor.show(page, served.url)
        expect(page.locator("#head-story")).to_have_text("The genesis script is not measured yet.")
        expect(page.locator("#records tbody")).to_have_text("Nothing has been merged yet.")
        expect(page.locator("#agents tbody")).to_have_text("No agent has proposed anything yet.")
        expect(page.locator("#peers")).to_have_text("No other peer is known.")
        expect(page.locator("#now")).to_have_text("Nobody is training right now.")
        expect(page.locator("#feed")).to_have_text("Nothing has happened yet.")
        expect(page.locator("#tree li.lit")).to_have_count(1)
        said = page.locator("body").inner_text()
        assert not re.search(r"undefined|null|NaN|Infinity", said)
        page.evaluate(axe)
        assert violations(page) == []
        served.change(lambda scene: scene.try_out(1, gain_micro=150_000))
        expect(page.locator("#head-value")).to_have_text(head_value(served))
        expect(page.locator("#feed li").first).to_contain_text("merged")
    finally:
        visitor.close()
        served.stop()


def test_a_node_that_still_reads_its_records_is_waited_for(
    visitor: Visitor, live: LiveScene
) -> None:
    asked = 0

    def not_yet(route: Route) -> None:
        nonlocal asked
        asked += 1
        state = route.fetch().json()
        route.fulfill(json={**state, "ready": asked > 1})

    page = visitor.begin()
    page.route("**/api/v1/state", not_yet)
    page.goto(live.url)
    expect(page.locator("#notice")).to_have_text("The node is still reading its records.")
    expect(page.locator("#link")).to_have_attribute("data-link", "live")
    expect(page.locator("#notice")).to_be_hidden()
    assert asked == 2


def test_a_page_that_is_cut_off_says_so_and_recovers(browser: Any, tmp_path: Path) -> None:
    served = LiveScene(tmp_path / "blobs", hypotheses=12, seed=2)
    served.start()
    visitor = Visitor(browser)
    try:
        page = visitor.open(served.url)
        expect(page.locator("#link")).to_have_attribute("data-link", "live")
        served.stop()
        expect(page.locator("#link")).to_have_attribute("data-link", "cut")
        expect(page.locator("#notice")).to_contain_text("does not answer")
        merge_one(served.scene)
        served.start()
        expect(page.locator("#link")).to_have_attribute("data-link", "live", timeout=LIMIT_MS)
        expect(page.locator("#notice")).to_be_hidden()
        expect(page.locator("#head-value")).to_have_text(head_value(served), timeout=LIMIT_MS)
    finally:
        visitor.close()
        served.stop()
    # The browser itself reports the refused connections; nothing else may be reported.
    assert all("ERR_" in problem for problem in visitor.problems), visitor.problems


def test_a_page_that_is_behind_says_so(visitor: Visitor, live: LiveScene) -> None:
    page = visitor.open(live.url)
    held = len(live.scene.ledger)

    def say(records: int) -> None:
        def later(scene: Scene) -> None:
            scene.swarm.clock_ms += 10
            scene.presence(4, records=records)

        live.change(later)

    say(10 * held)
    expect(page.locator("#link")).to_have_attribute("data-link", "behind")
    expect(page.locator("#link-text")).to_contain_text("catching up")
    say(held)
    expect(page.locator("#link")).to_have_attribute("data-link", "live")


def test_silence_counts_as_cut_off(visitor: Visitor, live: LiveScene) -> None:
    """A way that was cut without a word: a machine that slept, a firewall that forgot."""
    page = visitor.begin()
    page.clock.install()
    visitor.show(page, live.url)
    expect(page.locator("#link")).to_have_attribute("data-link", "live")
    page.route("**/api/v1/events*", lambda _route: None)
    page.clock.fast_forward(SILENCE_MS)
    expect(page.locator("#link")).to_have_attribute("data-link", "cut")
    expect(page.locator("#notice")).to_contain_text("What you see is as of")
    page.unroute("**/api/v1/events*")
    page.clock.fast_forward(SILENCE_MS)
    expect(page.locator("#link")).to_have_attribute("data-link", "live")


def test_a_copy_opens_from_disk(visitor: Visitor, tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "blobs", hypotheses=30, seed=4)
    merge_one(scene)
    merge_one(scene)
    scene.settle()
    scene.board.source = replace(scene.board.source, running=lambda: None)
    copy, *_ = write_copy(tmp_path / "copy", scene.site)
    page = visitor.open(copy.as_uri())
    expect(page.locator("#link-text")).to_contain_text("copy of")
    expect(page.locator("#tiles .tile").last).to_contain_text("not told in a copy")
    page.locator("#tree li.lit a").first.click()
    expect(page.locator("#detail .diff .added").first).to_be_visible()
    family = page.evaluate("document.fonts.check('15px Inter')")
    assert family
    assert visitor.hosts == {""}


def test_what_a_reported_task_earns_is_called_reproduced(visitor: Visitor, tmp_path: Path) -> None:
    served = LiveScene(tmp_path, hypotheses=30, seed=3, scorer="reported")
    served.start()
    try:
        page = visitor.open(served.url)
        expect(page.locator("#foot-rules")).to_contain_text("Reproduced: a gain over zero")
        page.wait_for_selector("#legend button")
        said = page.locator("body").inner_text().lower()
        assert "reproduced" in said
        assert not re.search(r"\bverified\b", said), re.findall(r".{30}\bverified\b.{30}", said)
    finally:
        # A page that is open when the server ends reports the broken stream.
        visitor.close()
        served.stop()
