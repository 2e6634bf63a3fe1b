"""The chart and the tree: what is drawn, what a pointer and the keyboard do with it."""

import re

import pytest
from playwright.sync_api import Route, expect

from tests.web.conftest import Visitor
from tests.web.live import LiveScene, show_merges


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
    page.wait_for_url(lambda url: "#" not in url)

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
    pictures = {}
    for mode in ("Time", "Compute", "Order"):
        button = page.get_by_role("button", name=mode, exact=True)
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
        pictures[mode] = page.locator("#chart canvas").screenshot()
    assert len(set(pictures.values())) == 3, "each axis puts the points elsewhere"
    whole = pictures["Order"]
    toggle = page.locator("#legend [data-status=screened_out]").first
    toggle.click()
    expect(page.locator("#legend button[data-status=screened_out]")).to_have_attribute(
        "aria-pressed", "false"
    )
    assert page.locator("#chart canvas").screenshot() != whole


def test_crowded_merges_stay_visible(visitor: Visitor, live: LiveScene) -> None:
    """Hundreds of merges on a phone: their rims must not wipe out each other and the line."""
    page = visitor.begin(width=390)
    show_merges(page, live, [("Muon", 3.5 - step / 400) for step in range(400)])
    visitor.show(page, live.url)
    expect(page.locator("#tree li.lit")).to_have_count(401)
    coloured = page.evaluate(
        """() => {
          const canvas = document.querySelector("#chart canvas");
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          let coloured = 0;
          for (let at = 0; at < data.length; at += 4) coloured += data[at + 2] - data[at] > 120;
          return coloured;
        }"""
    )
    chart = page.locator("#chart .u-over").bounding_box()
    assert chart is not None
    assert coloured > 6 * chart["width"], "a band of marks goes all the way"


def test_the_axis_counts_as_people_do(visitor: Visitor, live: LiveScene) -> None:
    page = visitor.open(live.url)
    said = page.evaluate(
        """async () => {
          const { INCREMENTS, tickText } = await import("./axis.js");
          const ticks = [["order", 12000, 2000], ["time", 0, 600], ["time", 30, 10],
            ["time", 90, 10], ["time", 600, 600], ["time", 4200, 600], ["time", 7200, 3600],
            ["time", 172800, 86400],
            ["compute", 5400, 1800], ["compute", 36000000, 3600000]];
          const sorted = Object.values(INCREMENTS).every((steps) => steps.every((step, index) =>
            Number.isInteger(step) && (index === 0 || step > steps[index - 1])));
          return [sorted, ...ticks.map((tick) => tickText(...tick))];
        }"""
    )
    assert said == [
        True, "12\u202f000", "0", "30 s", "1:30", "10 min", "1 h 10", "2 h", "2 d", "1 h 30",
        "10\u202f000 h",
    ]  # fmt: skip


def test_a_combination_is_joined_to_everything_it_was_made_of(
    visitor: Visitor, live: LiveScene
) -> None:
    head = live.scene.ledger.head.id.hex()
    aside: list[str] = []

    def combine(route: Route) -> None:
        answer = route.fetch().json()
        aside.extend(entry["id"] for entry in answer["entries"] if not entry["on_path"])
        for entry in answer["entries"]:
            if entry["id"] == head:
                entry["parents"].append(aside[0])
        route.fulfill(json=answer)

    page = visitor.begin()
    page.route("**/api/v1/lineage", combine)
    visitor.show(page, live.url)
    expect(page.locator("#tree .tree-edge.further")).to_have_count(1)
    expect(page.locator("#tree .tree-edge.lit")).to_have_count(live.scene.ledger.head.depth)
    expect(page.locator(f"#tree [data-entry='{aside[0]}']")).not_to_have_class("lit")
