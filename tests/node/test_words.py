"""What a reported scorer's swarm has found is told as reproduced, never as verified."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from node import view
from node.blobs import BlobStore
from node.cli import show, status
from node.home import Home
from node.words import verdict_word
from tests.node.test_view import AUTHOR, grown

if TYPE_CHECKING:
    from pathlib import Path


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
