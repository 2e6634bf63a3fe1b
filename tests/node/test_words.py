"""What a reported scorer's swarm has found is told as reproduced, never as verified."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Literal

import pytest
from rich.console import Console

from node import demo_display, news, view
from node.blobs import BlobStore
from node.cli import show, status
from node.demo import DemoResult
from node.home import Home
from node.web import picture
from node.words import verdict_word
from tests.node.test_view import AUTHOR, grown
from tests.node.web.scenes import make_scene
from tests.swarm.helpers import TAU, Swarm, admitted, key, steady

if TYPE_CHECKING:
    from pathlib import Path

    from swarm.events import Event
    from swarm.ledger import Ledger


@pytest.mark.parametrize(
    ("word", "scorer", "expected"),
    [
        ("verified", "trusted", "verified"),
        ("verified", "reported", "reproduced"),
        ("refuted", "reported", "refuted"),
    ],
)
def test_the_word_follows_the_scorer(word: str, scorer: str, expected: str) -> None:
    assert verdict_word(word, scorer) == expected


@pytest.mark.parametrize(("scorer", "word"), [("trusted", "verified"), ("reported", "reproduced")])
def test_commands_say_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, scorer: str, word: str
) -> None:
    _, ledger = grown()
    value = view.status(ledger, None) | {"scorer": scorer}
    status._print(value, Home(tmp_path))
    assert f"1 {word}" in capsys.readouterr().out
    item = next(item for item in ledger.hypotheses() if item.body.title == "better")
    assert item.author == AUTHOR.public
    shown = view.show(ledger, BlobStore(tmp_path), item.id.hex())
    show._print(shown | {"scorer": scorer, "status": "verified"})
    assert f"{word}  " in capsys.readouterr().out


def reported() -> tuple[Swarm, Ledger, list[Event]]:
    """A reported task's swarm with one merge, and what its ledger told."""
    swarm = Swarm(scorer="reported")
    ledger = swarm.ledger(*swarm.members(3))
    events: list[Event] = []
    for record in swarm.merged("better", AUTHOR, [key(2), key(3)], steady(30 * TAU, 6)):
        events += admitted(ledger, record).events
    return swarm, ledger, events


def test_news_say_it() -> None:
    _, ledger, events = reported()
    lines = [line[0] for event in events if (line := news.describe(event, ledger)) is not None]
    assert any(line.startswith("reproduced “better” after") for line in lines)
    assert not any("verified" in line for line in lines)


def test_the_demo_says_it() -> None:
    _, ledger, _ = reported()
    item: dict[str, Any] = {"title": "x", "author": "ab" * 32, "screened_gain": 1.0, "pairs": 2}
    now = view.status(ledger, None)
    snapshot = {"status": now, "hypotheses": [item | {"status": "verified"}]}
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(demo_display._hypotheses_table(snapshot, {}))
    result = DemoResult(
        merges=1, enough=True, wall_s=2.0, converged=True,
        lineage=[], nodes=[now],
    )  # fmt: skip
    demo_display.print_result(console, result, {})
    shown = console.export_text()
    assert "reproduced" in shown
    assert "1 reproduced merges in 2 s" in shown
    assert "verified" not in shown


@pytest.mark.parametrize(("scorer", "word"), [("trusted", "verified"), ("reported", "reproduced")])
def test_the_picture_says_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scorer: Literal["trusted", "reported"],
    word: str,
) -> None:
    drawn: list[str] = []
    draw = picture._Canvas.text

    def text(canvas: picture._Canvas, x: float, y: float, shown: str, **options: Any) -> None:
        drawn.append(shown)
        draw(canvas, x, y, shown, **options)

    monkeypatch.setattr(picture._Canvas, "text", text)
    scene = make_scene(tmp_path, 12, scorer=scorer)
    scene.settle()
    picture.progress_png(scene.board)
    assert word.capitalize() in drawn
    assert any(f" {word} merge" in shown for shown in drawn)
