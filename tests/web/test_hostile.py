"""Text that peers wrote, in every place where the page shows it: inert whatever it holds."""

import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, Route, expect

from tests.swarm.helpers import key
from tests.web.conftest import Visitor
from tests.web.live import LiveScene, merge_one

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


UNSEEN = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\U000e0000-\\U000e0fff]"
)
SHORT = f"{HOSTILE}\u202egnp.exe\u2066\x00\x1b[31m\u2028\U000e0041\r\n\t' OR 1=1 -- {'A' * 900}"
LONG = f"{SHORT}{'A' * 64_000}"
WRITTEN_BY_PEERS = frozenset({
    "name", "task", "tier", "unit", "title", "device", "version", "sandbox", "role", "category",
    "proposer", "model", "change", "rationale", "reason", "state", "lines",
})  # fmt: skip


def poisoned(value: Any, *, name: str = "") -> Any:
    """An answer of the API in which every text that a peer can write is hostile."""
    match value:
        case {"columns": columns, "rows": rows}:
            named = [
                [
                    SHORT if column in WRITTEN_BY_PEERS else cell
                    for column, cell in zip(columns, row, strict=True)
                ]
                for row in rows
            ]
            return {**value, "rows": named}
        case dict():
            return {field: poisoned(inner, name=field) for field, inner in value.items()}
        case list():
            return [poisoned(inner, name=name) for inner in value]
        case str() if name in WRITTEN_BY_PEERS:
            return (
                f"+{LONG}" if name == "lines" else LONG if name in {"device", "reason"} else SHORT
            )
        case _:
            return value


def all_text(page: Page) -> str:
    """Everything that is shown or read out: text and attributes."""
    said: str = page.evaluate(
        "[...document.querySelectorAll('body, body *')].flatMap((one) => "
        "[...one.attributes].map((it) => it.value)).join(' ') + document.title"
        " + document.body.textContent"
    )
    return said


def test_every_text_of_a_peer_is_inert_and_bounded(visitor: Visitor, live: LiveScene) -> None:
    def poison(route: Route) -> None:
        route.fulfill(json=poisoned(route.fetch().json()))

    page = visitor.begin(width=390)
    for asked in ("state", "points", "lineage", "hypotheses/*", "entries/*/diff"):
        page.route(f"**/api/v1/{asked}", poison)
    visitor.show(page, live.url)
    head = live.scene.ledger.head
    assert head.hypothesis is not None
    page.locator("#chart").focus()
    page.keyboard.press("ArrowLeft")
    for place in ("", f"#/entry/{head.id.hex()}", f"#/peer/{key(1).public.hex()}"):
        if place:
            page.goto(f"{live.url}{place}")
            expect(page.locator("#detail h2")).not_to_have_text("Loading…")
            expect(page.locator("#detail")).to_contain_text("‹U+202E›gnp.exe‹U+2066›")
        said = all_text(page)
        assert "<script>alert(2)</script>" in said
        assert not UNSEEN.search(said), UNSEEN.search(said)
        assert "A" * 2_000 not in said, "no text is shown at its whole length"
        assert page.locator("img, iframe, object, embed, form").count() == 0
        assert page.evaluate("document.scripts.length") == 1
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.unroute_all(behavior="wait")
