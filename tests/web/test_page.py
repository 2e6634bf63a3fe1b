"""The page in a real browser: what is seen, what moves, what can be done with it."""

import re
import time

import pytest
from playwright.sync_api import Page, expect

from tests.node.web.scenes import Scene
from tests.web.conftest import LIMIT_MS, Visitor
from tests.web.live import LiveScene, head_value, merge_one, violations

MERGE_LIMIT_S = 2.0


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
        ["Baseline", "Hypotheses", "Merged", "Refuted", "Crashed", "Peers", "Compute",
         "Node’s cost"]
    )  # fmt: skip
    expect(tiles.last).to_have_attribute("title", re.compile("the node that serves this page"))
    expect(tiles.last).to_contain_text("no paid model here; others’ unknown")

    def choose(mode: str) -> None:
        live.change(lambda scene: scene.agent.update(mode=mode))

    choose("not chosen yet")
    expect(tiles.last).to_contain_text("–not known yet")
    choose("none")
    expect(tiles.last).to_contain_text("–no agent here; others’ unknown")
    choose("claude")
    expect(tiles.last).to_contain_text("–its book cannot be read")

    def spend(scene: Scene) -> None:
        scene.agent |= {"mode": "claude", "model": "m", "usd": 12.345, "usd_today": 0.5}

    live.change(spend)
    expect(tiles.last).to_contain_text("$12.35")
    expect(tiles.last).to_contain_text("$0.50 today here; others’ unknown")


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
    link = page.locator("#tree li.lit a").nth(3)
    address = link.get_attribute("href")
    link.focus()
    live.change(merge_one)
    began = time.monotonic()
    expect(page.locator("#head-value")).to_have_text(head_value(live), timeout=LIMIT_MS)
    took_s = time.monotonic() - began
    expect(page.locator("#feed li").first).to_contain_text("merged")
    expect(page.locator("#tree li.lit")).to_have_count(live.scene.ledger.head.depth + 1)
    assert took_s < MERGE_LIMIT_S
    assert page.evaluate("document.activeElement.getAttribute('href')") == address


def test_every_table_has_what_one_looks_for(visitor: Visitor, live: LiveScene) -> None:
    page = visitor.open(live.url)
    expect(page.locator(".bar .tag")).to_have_text("read-only")
    expect(page.locator("#link-time")).to_have_text(re.compile(r"^data as of \d\d:\d\d:\d\d$"))
    expect(page.locator("#records th")).to_have_text(
        ["#", "Change", re.compile("Gain"), "Value", "Outcome", "Agent", "Hardware", "Verifiers",
         "When"]
    )  # fmt: skip
    expect(page.locator("#agents th")).to_have_text(
        ["Agent", "Merged gain", "Merges", "Tried", "Refuted", "Pairs verified"]
    )
    peer = page.locator("#peers li").filter(has_text="verifying")
    for text in ("Test Processor 1 x3", "v0.1.0", "now"):
        expect(peer).to_contain_text(text)
    expect(peer.locator("[title^='head ']")).to_have_attribute(
        "href", re.compile(r"#/entry/[0-9a-f]{64}$")
    )


def test_the_genesis_and_a_peer_have_addresses_too(visitor: Visitor, live: LiveScene) -> None:
    page = visitor.open(f"{live.url}#/entry/{live.scene.ledger.root.id.hex()[:12]}")
    drawer = page.locator("#detail")
    expect(drawer.locator("h2")).to_have_text("Genesis script")
    expect(drawer).to_contain_text(live.scene.ledger.root.source.hex())
    drawer.locator(".person").click()
    expect(drawer.locator("h2")).to_contain_text("Peer ")
    page.goto(f"{live.url}#/peer/{live.scene.ledger.head.author.hex()}")
    expect(drawer).to_contain_text("Merged gain")
    own = drawer.locator(".plain li")
    assert own.count() > 3
    expect(own.filter(has_text="merged").first).to_contain_text("±")
    page.goto(f"{live.url}#/hypothesis/{'ab' * 32}")
    expect(drawer).to_contain_text("Nothing here has this id.")


def test_what_crashed_says_so_instead_of_waiting_for_pairs(
    visitor: Visitor, live: LiveScene
) -> None:
    crashed = next(item for item in live.scene.ledger.hypotheses() if item.status == "crashed")
    page = visitor.open(f"{live.url}#/hypothesis/{crashed.id.hex()}")
    expect(page.locator("#detail .reason")).to_contain_text("Its author's run did not end well")


def test_the_keyboard_reaches_a_detail_and_comes_back(visitor: Visitor, live: LiveScene) -> None:
    page = visitor.open(live.url)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "chart-title"
    link = page.locator("#tree li.lit .tree-title a").nth(1)
    link.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#detail .diff")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).to_be_hidden()
    assert link.evaluate("link => link === document.activeElement")


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


def test_it_fits_a_phone(visitor: Visitor, live: LiveScene) -> None:
    page = visitor.open(live.url, width=360, height=740)
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0
    for seen in (
        ".bar .tag",
        "#link-text",
        "#link-time",
        "#records td.device",
        "#records td.count",
    ):
        expect(page.locator(seen).first).to_be_visible()
    expect(page.locator("#tree li.lit .tree-meta").first).to_contain_text("±")
    for width in (360, 390):
        page.set_viewport_size({"width": width, "height": 740})
        clipped = page.locator(".tree-meta").evaluate_all(
            "lines => lines.filter((line) => line.scrollWidth > line.clientWidth).length"
        )
        assert clipped == 0, width
    page.set_viewport_size({"width": 360, "height": 740})
    agents = page.locator("#agents").evaluate("table => table.scrollWidth - table.clientWidth")
    assert agents <= 0, "no agent's number is out of sight"
    page.locator("#tree li.lit a").first.click()
    expect(page.locator("#detail .diff")).to_be_visible()
    assert page.evaluate("document.querySelector('#detail').getBoundingClientRect().width") <= 360


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
