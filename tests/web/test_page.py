"""The page in a real browser: what is seen, what moves, what can be done with it."""

import re
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from node.web.export import write_copy
from tests.node.web.scenes import Scene, make_scene
from tests.swarm.helpers import key
from tests.web.conftest import LIMIT_MS, Visitor
from tests.web.live import LiveScene

MERGE_LIMIT_S = 2.0


def head_value(live: LiveScene) -> str:
    metric = live.scene.ledger.head.metric_micro
    assert metric is not None
    return f"{metric / 1e6:.4f}"


def merge_one(scene: Scene) -> None:
    before = scene.ledger.head.id
    while scene.ledger.head.id == before:
        scene.try_out(3, gain_micro=90_000)


def test_the_page_shows_the_swarm(visitor: Visitor, live: LiveScene) -> None:
    page = visitor.open(live.url)
    expect(page.locator("#head-value")).to_have_text(head_value(live))
    expect(page.locator("#link")).to_have_attribute("data-link", "live")
    depth = live.scene.ledger.head.depth
    expect(page.locator("#tree li.lit")).to_have_count(depth + 1)
    expect(page.locator("#tree li:not(.lit)")).to_have_count(1)
    expect(page.locator("#tree .tree-edge.lit")).to_have_count(depth)
    expect(page.locator("#now li").first).to_contain_text("verifies")
    expect(page.locator("#now [role=progressbar]").first).to_have_attribute("aria-valuenow", "62")
    expect(page.locator("#peers li")).to_have_count(2)
    expect(page.locator("#agents tbody tr")).to_have_count(5)
    merged = sum(item.status == "merged" for item in live.scene.ledger.hypotheses())
    expect(page.locator("#records tbody tr")).to_have_count(merged)


def test_every_measured_gain_has_its_interval(visitor: Visitor, live: LiveScene) -> None:
    page = visitor.open(live.url)
    spread = re.compile(r"[+−]\d\.\d{4} ± \d\.\d{4}")
    expect(page.locator("#head-story")).to_have_text(spread)
    expect(page.locator("#head-interval")).to_have_text(re.compile(r"± \d\.\d{4}"))
    depth = live.scene.ledger.head.depth
    expect(page.locator("#tree .tree-meta").filter(has_text=spread)).to_have_count(depth + 1)
    rows = page.locator("#records tbody tr")
    expect(rows.filter(has_text=spread)).to_have_count(rows.count())
    expect(page.locator("#agents tbody tr").filter(has_text=spread).first).to_be_visible()
    page.locator("#chart").focus()
    while "over" not in (page.locator("#tip").text_content() or ""):
        page.keyboard.press("ArrowLeft")
    expect(page.locator("#tip")).to_have_text(spread)


def test_the_tiles_say_what_was_spent(visitor: Visitor, live: LiveScene) -> None:
    page = visitor.open(live.url)
    tiles = page.locator("#tiles .tile")
    expect(tiles.locator("dt")).to_have_text(
        ["Baseline", "Hypotheses", "Merged", "Refuted", "Crashed", "Peers", "Compute", "Cost"]
    )
    expect(tiles.last).to_contain_text("no paid model here")

    def spend(scene: Scene) -> None:
        scene.agent |= {"mode": "claude", "model": "m", "usd": 12.345, "usd_today": 0.5}

    live.change(spend)
    expect(tiles.last).to_contain_text("$12.35")
    expect(tiles.last).to_contain_text("$0.50 today")


def test_what_happens_is_told_step_by_step(visitor: Visitor, live: LiveScene) -> None:
    page = visitor.open(live.url)
    live.change(merge_one)
    expect(page.locator("#feed li").first).to_contain_text("merged")
    kinds = page.locator("#feed .feed-kind").all_text_contents()[::-1]
    steps = ["proposed", "claimed", "verifying", "verified", "merged"]
    assert [kind for kind in kinds if kind in steps][-5:] == steps


def test_a_merge_shows_within_two_seconds(visitor: Visitor, live: LiveScene) -> None:
    page = visitor.open(live.url)
    expect(page.locator("#link")).to_have_attribute("data-link", "live")
    live.change(merge_one)
    began = time.monotonic()
    expect(page.locator("#head-value")).to_have_text(head_value(live), timeout=LIMIT_MS)
    took_s = time.monotonic() - began
    expect(page.locator("#feed li").first).to_contain_text("merged")
    expect(page.locator("#tree li.lit")).to_have_count(live.scene.ledger.head.depth + 1)
    assert took_s < MERGE_LIMIT_S


def test_pointing_at_the_chart_tells_and_clicking_opens(visitor: Visitor, live: LiveScene) -> None:
    page = visitor.open(live.url)
    chart = page.locator("#chart")
    chart.focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#tip")).to_be_visible()
    expect(page.locator("#chart-live")).not_to_be_empty()
    page.keyboard.press("Enter")
    expect(page.locator("#detail h2")).not_to_have_text("Loading…")
    assert re.search(r"#/hypothesis/[0-9a-f]{64}$", page.url)
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).to_be_hidden()
    assert "#" not in page.url

    area = page.locator("#chart .u-over").bounding_box()
    assert area is not None
    for share in range(5, 100, 3):
        page.mouse.move(area["x"] + area["width"] * share / 100, area["y"] + area["height"] * 0.3)
        if page.locator("#tip").is_visible():
            break
    else:
        pytest.fail("no hypothesis was found along a line through the chart")
    title = page.locator("#tip strong").text_content()
    page.mouse.down()
    page.mouse.up()
    expect(page.locator("#detail h2")).to_have_text(str(title))


def test_the_chart_zooms_changes_its_axis_and_hides_groups(
    visitor: Visitor, live: LiveScene
) -> None:
    page = visitor.open(live.url)
    area = page.locator("#chart .u-over").bounding_box()
    assert area is not None
    before = page.locator("#chart canvas").screenshot()
    page.mouse.move(area["x"] + 100, area["y"] + 30)
    page.mouse.down()
    page.mouse.move(area["x"] + 400, area["y"] + 200, steps=4)
    page.mouse.up()
    page.mouse.move(5, 5)
    expect(page.locator("#reset-zoom")).to_be_visible()
    zoomed = page.locator("#chart canvas").screenshot()
    assert zoomed != before
    page.locator("#reset-zoom").click()
    expect(page.locator("#reset-zoom")).to_be_hidden()
    for mode in ("Time", "Compute", "Order"):
        button = page.get_by_role("button", name=mode, exact=True)
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
    whole = page.locator("#chart canvas").screenshot()
    toggle = page.locator("#legend [data-status=screened_out]").first
    toggle.click()
    expect(page.locator("#legend button[data-status=screened_out]")).to_have_attribute(
        "aria-pressed", "false"
    )
    assert page.locator("#chart canvas").screenshot() != whole


def test_an_entry_opens_with_diff_reason_and_trials_and_can_be_linked(
    visitor: Visitor, live: LiveScene
) -> None:
    page = visitor.open(live.url)
    page.locator("#tree li.lit a").first.click()
    drawer = page.locator("#detail")
    expect(drawer.locator("h2")).to_have_text(live.scene.ledger.head.title)
    expect(drawer.locator(".diff .added").first).to_be_visible()
    expect(drawer.locator(".diff .removed").first).to_be_visible()
    expect(drawer).to_contain_text("orthogonalised momentum")
    assert live.scene.ledger.head.hypothesis is not None
    trials = live.scene.ledger.hypothesis(live.scene.ledger.head.hypothesis).trials
    expect(drawer.locator("tbody tr")).to_have_count(len(trials))
    expect(drawer.locator(".forest .counted").first).to_be_visible()

    again = visitor.open(page.url)
    expect(again.locator("#detail h2")).to_have_text(live.scene.ledger.head.title)
    again.locator("#detail .person").first.click()
    expect(again.locator("#detail h2")).to_contain_text("Peer ")
    again.go_back()
    expect(again.locator("#detail h2")).to_have_text(live.scene.ledger.head.title)


def test_rows_are_filtered_sorted_and_paged(visitor: Visitor, live: LiveScene) -> None:
    page = visitor.open(live.url)
    rows = page.locator("#records tbody tr")
    page.get_by_role("button", name="All hypotheses").click()
    total = len(list(live.scene.ledger.hypotheses()))
    expect(rows).to_have_count(min(100, total))
    page.locator("#filter").fill("rotary screened_out")
    expect(rows.first).to_contain_text("Rotary positions")
    texts = rows.all_text_contents()
    assert texts
    assert all("Rotary" in text and "screened out" in text for text in texts)
    page.locator("#filter").fill("no such change")
    expect(rows).to_have_text(["Nothing matches the filter."])
    page.locator("#filter").fill("")
    page.get_by_role("button", name="Value", exact=True).click()
    page.get_by_role("button", name="Value", exact=True).click()
    header = page.locator("#records th", has_text="Value")
    expect(header).to_have_attribute("aria-sort", "ascending")
    values = [
        float(text)
        for text in page.locator("#records tbody tr td:nth-child(4)").all_text_contents()
        if text != "–"
    ]
    assert values == sorted(values)
    assert len(values) > 20


def background(page: Page) -> str:
    colour: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return colour


def test_dark_follows_the_system_or_the_button(visitor: Visitor, live: LiveScene) -> None:
    dark = visitor.open(live.url, color_scheme="dark")
    assert background(dark) == "rgb(15, 17, 21)"
    light = visitor.open(live.url, color_scheme="light")
    assert background(light) == "rgb(245, 244, 239)"
    button = light.locator("#theme")
    button.click()
    button.click()
    expect(button).to_have_attribute("aria-label", "Colour scheme: dark")
    assert background(light) == "rgb(15, 17, 21)"
    light.reload()
    light.wait_for_selector("#records tbody tr td a")
    assert background(light) == "rgb(15, 17, 21)"


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


def test_a_copy_opens_from_disk(visitor: Visitor, tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "blobs", hypotheses=30, seed=4)
    merge_one(scene)
    merge_one(scene)
    scene.settle()
    copy, *_ = write_copy(tmp_path / "copy", scene.site)
    page = visitor.open(copy.as_uri())
    expect(page.locator("#link-text")).to_contain_text("copy of")
    page.locator("#tree li.lit a").first.click()
    expect(page.locator("#detail .diff .added").first).to_be_visible()
    family = page.evaluate("document.fonts.check('15px Inter')")
    assert family
    assert visitor.hosts == {""}


def test_it_fits_a_phone(visitor: Visitor, live: LiveScene) -> None:
    page = visitor.open(live.url, width=360, height=740)
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0
    page.locator("#tree li.lit a").first.click()
    expect(page.locator("#detail .diff")).to_be_visible()
    assert page.evaluate("document.querySelector('#detail').getBoundingClientRect().width") <= 360


HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def test_hostile_text_is_shown_as_text(visitor: Visitor, tmp_path: Path) -> None:
    served = LiveScene(tmp_path / "blobs", hypotheses=6, seed=6)
    scene = served.scene
    merge_one(scene)
    bad_code = (
        "# \u202e }if admin begin\u2066 \x00\x1b[31m\n"
        f"x = '{HOSTILE}'\n" + "y = '" + "A" * 64_000 + "'\n</script><!--\n"
    )
    body = served.scene.propose(
        key(2), title=HOSTILE, rationale=f"{HOSTILE}\n{{{{7*7}}}}", change=HOSTILE
    )
    path = scene.blobs.path(body.body.source)  # type: ignore[union-attr]
    real = scene.blobs.read
    scene.blobs.read = (  # type: ignore[method-assign]
        lambda digest: bad_code.encode() if scene.blobs.path(digest) == path else real(digest)
    )
    served.start()
    try:
        page = visitor.open(f"{served.url}#/hypothesis/{body.id.hex()}")
        drawer = page.locator("#detail")
        expect(drawer.locator("h2")).to_have_text(HOSTILE)
        expect(drawer).to_contain_text("{{7*7}}")
        expect(drawer.locator(".diff")).to_contain_text("‹U+202E› }if admin begin‹U+2066›")
        expect(drawer.locator(".diff")).to_contain_text("‹U+0000›‹U+001B›[31m")
        expect(drawer.locator(".diff")).to_contain_text("more characters)")
        expect(drawer.locator(".diff")).to_contain_text("</script><!--")
        assert page.locator("img").count() == 0
        assert page.evaluate("document.scripts.length") == 1
    finally:
        visitor.close()
        served.stop()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1366, 390])
def test_it_is_accessible(
    visitor: Visitor, live: LiveScene, axe: str, scheme: str, width: int
) -> None:
    # The checker is put into the page from outside, which the page's own policy would refuse.
    page = visitor.open(live.url, width=width, color_scheme=scheme, bypass_csp=True)
    page.evaluate(axe)
    assert violations(page) == []
    page.locator("#tree li.lit a").first.click()
    expect(page.locator("#detail .diff")).to_be_visible()
    assert violations(page) == []


def violations(page: Page) -> list[str]:
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
    result = page.evaluate("rules => axe.run(document, {runOnly: rules})", rules)
    return [
        f"{found['id']}: {node['target']} {node['failureSummary']}"
        for found in result["violations"]
        for node in found["nodes"]
    ]


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
