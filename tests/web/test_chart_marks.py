"""The chart's noise band and the names of merges: what is drawn against what it stands for."""

import json
import math
import statistics
import unicodedata
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import ImageChops
from playwright.sync_api import Page, Route, expect

from protocol.records import Trial
from swarm.ledger import Ledger
from tests.node.web.scenes import Scene
from tests.swarm.helpers import arm, key
from tests.web.conftest import Visitor
from tests.web.drawing import Drawing, note_texts, picture, read_drawing
from tests.web.live import LiveScene, merge_one, show_merges
from tests.web.test_hostile import UNSEEN

Row = dict[str, Any]
NEAR_PX = (14, 26)
MARKS_IN_A_ROW = 4

HOSTILE_TITLES = (
    "<img src=x onerror=alert(1)>",
    "good\u202egnp.exe\u2066 \x00\x1b[31m",
    "Z" + "\u0301\u0327\u20dd" * 30,
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd " * 6,
    "ups" + "\U0001f680" * 40,
    "tab\tand\nline\r\nbreak",
    "\uff37" * 60,
    "' OR 1=1 -- " + "W" * 180,
)


def spread_over_seeds(ledger: Ledger) -> float:
    """One run's standard deviation over seeds, from the records: pooled within hypotheses."""
    samples = [
        [
            record.body.child.metric_micro / 1e6
            for record in item.trials
            if isinstance(record.body, Trial)
            and record.body.purpose == "verify"
            and record.body.child.metric_micro is not None
        ]
        for item in ledger.hypotheses()
    ]
    free = [(len(sample) - 1, statistics.variance(sample)) for sample in samples if len(sample) > 1]
    return math.sqrt(sum(f * v for f, v in free) / sum(f for f, _ in free))


def line_steps(ledger: Ledger) -> list[tuple[int, float]]:
    """The lineage's line by order: how many hypotheses there were at each entry, and its value."""
    created = [item.created_ms for item in ledger.hypotheses()]
    steps = []
    for entry in ledger.lineage():
        assert entry.metric_micro is not None
        before = sum(at <= entry.merged_ms for at in created) if entry.hypothesis else 0
        steps.append((before, entry.metric_micro / 1e6))
    return steps


# -- the band -----------------------------------------------------------------------------------


def test_the_band_is_named_with_the_spread_that_the_records_show(
    visitor: Visitor, tmp_path: Path
) -> None:
    served = LiveScene(tmp_path, hypotheses=8, seed=5)
    ledger = served.scene.ledger
    merge_one(served.scene)

    def scatter(scene: Scene) -> None:
        hypothesis = scene.propose(key(4))
        scene.outcome(hypothesis, key(4), 0, 90_000, purpose="screen")
        for pair, metric in enumerate((2_000_000, 3_000_000)):
            scene.outcome(hypothesis, key(5), pair, 90_000, child=arm(metric))

    served.start()
    try:
        note = visitor.open(served.url).locator("#band-note")
        said = f"± {spread_over_seeds(ledger):.4f}"
        expect(note).to_contain_text(said)
        served.change(scatter)
        wider = f"± {spread_over_seeds(ledger):.4f}"
        assert wider != said
        expect(note).to_contain_text(wider)
    finally:
        visitor.close()
        served.stop()


def bare(page: Page) -> None:
    """Leave nothing on the chart but the line and its band."""
    page.wait_for_selector("#legend button")
    page.evaluate(
        """() => {
          const pressed = () => document.querySelector("#legend button[aria-pressed=true]");
          while (pressed()) pressed().click();
        }"""
    )


def show_with(visitor: Visitor, live: LiveScene, deviation: float | None, **options: Any) -> Page:
    """The page of a swarm of whose runs it hears, after it was drawn, that they scatter so."""

    def scatter(route: Route) -> None:
        route.fulfill(json={**route.fetch().json(), "seed_deviation": 0.01})

    def tell(route: Route) -> None:
        said = json.dumps({"seed_deviation": deviation})
        route.fulfill(content_type="text/event-stream", body=f"event: live\ndata: {said}\n\n")

    page = visitor.begin(**options)
    note_texts(page)
    page.route("**/api/v1/state", scatter)
    page.route("**/api/v1/events*", tell)
    visitor.show(page, live.url)
    bare(page)
    note = page.locator("#band-note")
    expect(note).to_have_text(
        f"Band: ± {deviation:.4f}, one run’s standard deviation over seeds." if deviation else ""
    )
    return page


@pytest.mark.parametrize(
    "options",
    [{"width": 1366}, {"width": 390, "device_scale_factor": 3, "color_scheme": "dark"}],
    ids=["desk", "phone"],
)
def test_the_band_is_as_high_as_the_spread_to_either_side_of_the_line(
    visitor: Visitor, live: LiveScene, options: Row
) -> None:
    deviation = 0.05
    page = show_with(visitor, live, deviation, **options)
    drawing, drawn = read_drawing(page), picture(page)
    none = show_with(visitor, live, None, **options)
    assert read_drawing(none).y == drawing.y
    band = ImageChops.difference(drawn, picture(none))
    scale = int(options.get("device_scale_factor", 1))
    steps = line_steps(live.scene.ledger)
    last = drawing.right - 3
    ends = [*(drawing.x.pixel(order) for order, _ in steps[1:]), last]
    tall = 0
    for (order, value), end in zip(steps, ends, strict=True):
        middle = round(scale * (drawing.x.pixel(order) + end) / 2)
        found = band.crop((middle, 0, middle + 1, band.height)).getbbox()
        assert found is not None, f"no band at {order}"
        wanted = [drawing.y.pixel(value + side * deviation) for side in (1, -1)]
        inside = [min(max(at, drawing.top), drawing.bottom) for at in wanted]
        assert found[1] / scale == pytest.approx(inside[0], abs=1.5)
        assert found[3] / scale == pytest.approx(inside[1], abs=1.5)
        tall += wanted == inside
    assert tall >= len(steps) - 1, "the band is seen at its whole height"
    whole = band.getbbox()
    assert whole is not None
    assert whole[0] / scale >= drawing.left - 1
    assert whole[2] / scale == pytest.approx(drawing.right, abs=1.5)
    expect(page.locator("#band-note")).to_be_visible()
    expect(none.locator("#band-note")).to_be_hidden()


# -- the names ----------------------------------------------------------------------------------


def show_named(
    visitor: Visitor, live: LiveScene, titles: tuple[str, ...], **options: Any
) -> tuple[Page, dict[str, str]]:
    """The page with a title of its own for every entry; and the titles, by entry."""
    path = [entry for entry in live.scene.ledger.lineage() if entry.hypothesis]
    named = {
        entry.id.hex(): f"{index:02d} {titles[index % len(titles)]}"
        for index, entry in enumerate(path)
    }

    def name(route: Route) -> None:
        answer = route.fetch().json()
        if "rows" in answer:
            entry, title = (answer["columns"].index(column) for column in ("entry", "title"))
            for row in answer["rows"]:
                row[title] = named.get(row[entry], row[title])
        else:
            for row in answer["entries"]:
                row["title"] = named.get(row["id"], row["title"])
        route.fulfill(json=answer)

    page = visitor.begin(**options)
    note_texts(page)
    page.route("**/api/v1/points", name)
    page.route("**/api/v1/lineage", name)
    visitor.show(page, live.url)
    page.evaluate("document.fonts.ready.then(() => true)")
    return page, named


def check_places(drawing: Drawing, steps: list[tuple[int, float]]) -> None:
    """No name leaves the plot, lies over another one, or lies across the line."""
    for label in drawing.labels:
        assert drawing.left <= label.left, label
        assert label.right <= drawing.right, label
        assert drawing.top <= label.top, label
        assert label.bottom <= drawing.bottom, label
        assert label.bottom - label.top < 20, label
    for one, other in combinations(drawing.labels, 2):
        assert (
            one.right < other.left
            or other.right < one.left
            or one.bottom < other.top
            or other.bottom < one.top
        ), (one, other)
    corners = [(drawing.x.pixel(order), drawing.y.pixel(value)) for order, value in steps]
    for label in drawing.labels:
        for (from_x, from_y), (to_x, to_y) in pairwise([*corners, (drawing.right, corners[-1][1])]):
            for x0, x1, y0, y1 in (
                (from_x, to_x, from_y, from_y), (to_x, to_x, *sorted((from_y, to_y))),
            ):  # fmt: skip
                across = x0 < label.right - 1 and x1 > label.left + 1
                assert not (across and y0 < label.bottom - 1 and y1 > label.top + 1), label


PLAIN = ("Muon for the matrices", "Rotary positions, with the base raised to fifty thousand",
         "Warm-up, then a linear decay")  # fmt: skip


@pytest.mark.parametrize(
    ("titles", "options", "least"),
    [
        (PLAIN, {"width": 1366}, 5),
        (HOSTILE_TITLES, {"width": 1366, "device_scale_factor": 2}, 4),
        (HOSTILE_TITLES, {"width": 360, "height": 740, "device_scale_factor": 3}, 2),
    ],
    ids=["desk", "hostile at a desk", "hostile on a phone"],
)
def test_a_merge_is_named_beside_its_point_by_its_title(
    visitor: Visitor, live: LiveScene, titles: tuple[str, ...], options: Row, least: int
) -> None:
    page, named = show_named(visitor, live, titles, **options)
    ledger = live.scene.ledger
    drawing = read_drawing(page)
    assert len(drawing.labels) >= least
    spots = {
        entry.id.hex(): (drawing.x.pixel(order), drawing.y.pixel(value))
        for entry, (order, value) in zip(ledger.lineage(), line_steps(ledger), strict=True)
    }
    seen = set()
    for label in drawing.labels:
        entry = next(entry for entry, title in named.items() if title[:2] == label.text[:2])
        seen.add(entry)
        check_text(label.text, named[entry])
        assert label.whole, "no character is cut in two"
        x, y = spots[entry]
        assert min(abs(label.left - x), abs(label.right - x)) < NEAR_PX[0], label
        assert abs((label.top + label.bottom) / 2 - y) < NEAR_PX[1], label
    assert len(seen) == len(drawing.labels), "each merge is named once"
    check_places(drawing, line_steps(ledger))
    page.locator("#legend button[data-status=merged]").click()
    assert read_drawing(page).labels == (), "what is hidden has no name"


@pytest.mark.parametrize("width", [1366, 390])
def test_names_of_crowded_merges_keep_out_of_each_others_way(
    visitor: Visitor, live: LiveScene, width: int
) -> None:
    """A long descent with a few setbacks: more merges than there is room for names."""
    values = [3.59 - 1.2 * (1 - math.exp(-step / 9)) + (step % 5 == 4) * 0.12 for step in range(45)]
    page = visitor.begin(width=width, device_scale_factor=2)
    note_texts(page)
    show_merges(page, live, [(f"{step:02d} {PLAIN[step % 3]}", v) for step, v in enumerate(values)])
    visitor.show(page, live.url)
    page.evaluate("document.fonts.ready.then(() => true)")
    drawing = read_drawing(page)
    root = live.scene.ledger.root.metric_micro
    assert root is not None
    check_places(drawing, [(0, root / 1e6), *enumerate(values, 1)])
    assert len(drawing.labels) >= (8 if width > 1000 else 2)


def check_text(text: str, title: str) -> None:
    """A label is a title, or its beginning and an ellipsis, with nothing that hides or reorders."""
    assert not UNSEEN.search(text.replace("\n", " ")), text
    piles = "".join("m" if unicodedata.category(c).startswith("M") else " " for c in text)
    assert max(map(len, piles.split()), default=0) <= MARKS_IN_A_ROW, "marks do not pile up"
    start = text.removesuffix("…").partition("‹")[0].rstrip()
    assert len(start) > 2
    assert " ".join(title.split()).startswith(" ".join(start.split())), (text, title)
    if not text.endswith("…") and "‹" not in text:
        assert " ".join(text.split()) == " ".join(title.split())


def test_names_find_their_places_again_when_a_phone_is_turned_and_zoomed(
    visitor: Visitor, live: LiveScene
) -> None:
    page, _ = show_named(visitor, live, PLAIN, width=390, height=844, device_scale_factor=2)
    upright = read_drawing(page)
    page.set_viewport_size({"width": 844, "height": 390})
    page.wait_for_function("document.querySelector('#chart canvas').clientWidth > 500")
    turned = read_drawing(page)
    assert len(turned.labels) > len(upright.labels)
    check_places(turned, line_steps(live.scene.ledger))


def test_close_ticks_do_not_read_alike(visitor: Visitor, live: LiveScene) -> None:
    page = visitor.begin()
    note_texts(page)
    visitor.show(page, live.url)
    before = read_drawing(page)
    area = page.locator("#chart .u-over").bounding_box()
    assert area is not None
    _, value = line_steps(live.scene.ledger)[-1]
    y = area["y"] + before.y.pixel(value) - before.top
    for _ in range(2):
        page.mouse.move(area["x"] + 200, y - 26)
        page.mouse.down()
        page.mouse.move(area["x"] + 700, y + 26, steps=4)
        page.mouse.up()
        y = area["y"] + area["height"] / 2
    drawing = read_drawing(page)
    assert abs(drawing.y.slope) > 20 * abs(before.y.slope)
    assert len(set(drawing.ticks)) == len(drawing.ticks), drawing.ticks
