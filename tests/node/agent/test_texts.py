"""Edits of files that are not Python: what is offered, and what the name of a change finds."""

from __future__ import annotations

import random

import pytest

from node.agent.catalogue import (
    Files,
    NotApplicableError,
    apply_edits,
    bundle_change,
    find_edits,
    read_document,
    structural_edits,
    value_edits,
)
from node.agent.catalogue.texts import text_hash
from node.agent.offline import OfflineProposer
from node.agent.proposal import Experience, ResearchView
from protocol.sources import join_files, split_files
from swarm.source import source_digest

PAGE = """\
[page]
# one of: "Hello"
# one of: "Good day # sir"
title = "Hello"   # first
fields = 4
ratio = 0.5
zero = 0
wide = true
"""
NOTE = "Dear reader,\n\nfirst words\nsecond line\n<!-- one of: other words -->\n\nlast\n"
SCRIPT = "import math\n\nRATE = 2**4\n\n\ndef f():\n    return RATE\n"
SOURCE = join_files({"page.toml": PAGE, "note.md": NOTE, "tool.py": SCRIPT})
FIRST, OTHER, LAST = (text_hash(t) for t in ("first words second line", "other words", "last"))


def changes(width: int = 0) -> list[str]:
    return [edit.change for edit in value_edits(read_document(SOURCE), width)]


def after(change: str, source: str = SOURCE) -> dict[str, str]:
    return split_files(apply_edits(read_document(source), find_edits(change)).code)


def test_values_wordings_and_paragraphs_are_offered() -> None:
    offered = changes()
    assert f"page.toml:page.title={text_hash('Good day # sir')}" in offered
    assert {"page.toml:page.fields=8", "page.toml:page.fields=2"} <= set(offered)
    assert {"page.toml:page.ratio=1.0", "page.toml:page.ratio=0.25"} <= set(offered)
    assert "page.toml:page.zero=2" in offered
    assert "page.toml:page.wide=false" in offered
    assert f"note.md:{FIRST}={OTHER}" in offered
    assert f"note.md:-{FIRST}" in offered
    assert f"note.md:{LAST}<{FIRST}" in offered
    assert {"tool.py:RATE=32", "tool.py:RATE=8"} <= set(offered)
    assert len(set(offered)) == len(offered)
    assert set(offered) < set(changes(3))


def test_every_offer_can_be_found_by_its_name_and_changes_what_it_says() -> None:
    document = read_document(SOURCE)
    for edit in [*value_edits(document, 3)]:
        (found,) = find_edits(edit.change)
        assert found.change == edit.change
        assert found.apply(document).code == edit.apply(document).code
        assert source_digest(edit.apply(document).code) != source_digest(SOURCE)
        with pytest.raises(NotApplicableError):
            found.apply(edit.apply(document))


def test_all_else_stays_as_it_is() -> None:
    assert after("page.toml:page.wide=false")["page.toml"] == PAGE.replace("true", "false")
    title = f"page.toml:page.title={text_hash('Good day # sir')}"
    assert after(title)["page.toml"] == PAGE.replace('= "Hello"', '= "Good day # sir"')
    assert after(f"note.md:{FIRST}={OTHER}")["note.md"] == NOTE.replace(
        "first words\nsecond line", "other words"
    )
    assert after(f"note.md:-{FIRST}")["note.md"] == "Dear reader,\n\nlast\n"
    moved = after(f"note.md:{LAST}<{FIRST}")["note.md"]
    assert moved.startswith("Dear reader,\n\nlast\n\nfirst words\n")
    assert after("tool.py:RATE=32")["tool.py"] == SCRIPT.replace("2**4", "32")


def test_bundles_reach_several_files() -> None:
    edits = find_edits(f"note.md:-{LAST} + page.toml:page.fields=3")
    assert bundle_change(edits) == f"note.md:-{LAST} + page.toml:page.fields=3"
    files = split_files(apply_edits(read_document(SOURCE), edits).code)
    assert "fields = 3" in files["page.toml"]
    assert "last" not in files["note.md"]


@pytest.mark.parametrize(
    "change",
    [
        "page.toml:page.fields=1;import os",
        'page.toml:page.title="free text"',
        "page.toml:page.fields=1\nx = 2",
        f"note.md:{FIRST}=free text",
        "note.md:RATE=3",
        "page.html:page.fields=3",
        "tool.py:page.toml:page.fields=3",
        "tool.py:",
        f"note.md:-{FIRST} + what",
    ],
)
def test_a_name_of_a_change_brings_no_text_of_its_own(change: str) -> None:
    assert find_edits(change) == ()


@pytest.mark.parametrize(
    "change",
    [
        "page.toml:page.fields=true",
        "page.toml:page.title=3",
        "page.toml:page.wide=3",
        "page.toml:page.none=3",
        "page.toml:page.fields=4",
        "page.toml:page.fields=1.2.3",
        "page.toml:page.title=~00000000",
        "note.md:-~00000000",
        "other.toml:page.fields=3",
        "RATE=3",
        "optimizer:muon",
        "tool.py:optimizer:muon",
    ],
)
def test_what_has_no_place_is_not_applied(change: str) -> None:
    edits = find_edits(change)
    assert len(edits) == 1
    with pytest.raises(NotApplicableError):
        apply_edits(read_document(SOURCE), edits)
    with pytest.raises(NotApplicableError):
        apply_edits(read_document("A = 1\n"), edits)


def test_structural_edits_reach_the_scripts_among_the_files() -> None:
    document = read_document(SOURCE)
    assert isinstance(document, Files)
    assert {edit.change.partition(":")[0] for edit in structural_edits(document)} == {"tool.py"}


def test_the_search_goes_on_until_nothing_is_left_and_never_repeats_itself() -> None:
    proposer = OfflineProposer()
    tried: set[bytes] = set()
    source = join_files({"page.toml": "[page]\nfields = 4\nwide = true\n"})
    while True:
        view = ResearchView(bytes(32), source, frozenset(tried), frozenset(), ())
        proposal = proposer.search(view, random.Random(len(tried)))
        if proposal is None:
            break
        digest = source_digest(proposal.source)
        assert digest not in tried
        tried.add(digest)
    assert len(tried) > 10


def test_what_did_well_on_an_older_head_is_due_again() -> None:
    change = f"note.md:-{FIRST}"
    good = Experience("paragraphs", change, b"1" * 32, False, "verified", 90_000, 1_000)
    view = ResearchView(bytes(32), SOURCE, frozenset(), frozenset(), [good])
    proposer = OfflineProposer()
    found = [proposer.search(view, random.Random(seed)) for seed in range(12)]
    assert sum(item is not None and item.change == change for item in found) >= 6
    # What is in the head already is not.
    done = join_files(after(change))
    view = ResearchView(bytes(32), done, frozenset(), frozenset(), [good])
    found = [proposer.search(view, random.Random(seed)) for seed in range(12)]
    assert all(item is not None and item.change != change for item in found)
