"""Merging and describing changes of several files, and finding the values of a TOML file."""

import pytest

from node.merge3 import Conflict, Merged
from node.merge_sources import describe_change, merge_sources
from node.toml_text import places, with_value, written
from protocol.sources import join_files, split_files
from swarm.source import SourceError

PAGE = """\
# A page.
name = "x"  # one of: "x", "y"

[page]
title = "Hello # you"   # shown first
fields = 3
wide = true
text = \"\"\"
fields = 99
\"\"\"
"""
EMAIL = "Hi\n\nfirst\n\nsecond\n\nthird\n"


def pack(page: str = PAGE, email: str = EMAIL) -> str:
    return join_files({"variants.toml": page, "email.md": email, "tool.py": "A = 1\nB = 2\n"})


def test_values_have_places() -> None:
    found = places(PAGE)
    assert {name: place.value for name, place in found.items()} == {
        "name": "x", "page.title": "Hello # you", "page.fields": 3, "page.wide": True,
    }  # fmt: skip
    assert found["name"].comment == 'one of: "x", "y"'
    assert found["page.title"].text == '"Hello # you"'
    changed = with_value(PAGE, found["page.title"], written('a "b" \\ é\n'))
    assert places(changed)["page.title"].value == 'a "b" \\ é\n'
    assert changed.replace(places(changed)["page.title"].text, '"Hello # you"') == PAGE


@pytest.mark.parametrize("text", ["a = ", "a = 1\na = 2", "[" * 3000, '"a b" = 1', "a.b = 1"])
def test_what_has_no_plain_place_has_none(text: str) -> None:
    assert places(text) == {}


def test_arrays_of_tables_have_no_places() -> None:
    assert list(places("[[a]]\nx = 1\n[b]\nx = 2\n")) == ["b.x"]


def test_changes_of_neighbouring_values_and_of_files_come_together() -> None:
    ours = pack(PAGE.replace("fields = 3", "fields = 2"), EMAIL.replace("first", "1st"))
    theirs = pack(PAGE.replace("wide = true", "wide = false"), EMAIL.replace("third", "3rd"))
    theirs = theirs.replace("B = 2", "B = 3")
    merged = merge_sources(pack(), ours, theirs)
    assert isinstance(merged, Merged), merged
    files = split_files(merged.source)
    assert files["variants.toml"] == PAGE.replace(
        "fields = 3\nwide = true", "fields = 2\nwide = false"
    )
    assert files["email.md"] == EMAIL.replace("first", "1st").replace("third", "3rd")
    assert files["tool.py"] == "A = 1\nB = 3\n"


def test_what_both_set_otherwise_is_a_conflict_with_its_place() -> None:
    ours = pack(PAGE.replace("fields = 3", "fields = 2"), EMAIL.replace("first", "1st"))
    theirs = pack(PAGE.replace("fields = 3", "fields = 4"), EMAIL.replace("first", "one"))
    merged = merge_sources(pack(), ours, theirs)
    assert isinstance(merged, Conflict)
    assert [(clash.where, clash.ours, clash.theirs) for clash in merged.clashes] == [
        ("email.md: lines", "1st", "one"),
        ("variants.toml: page.fields", "2", "4"),
    ]


def test_other_files_are_a_conflict() -> None:
    merged = merge_sources(pack(), pack(), join_files({"email.md": EMAIL}))
    assert isinstance(merged, Conflict)


def test_one_script_is_merged_as_ever() -> None:
    merged = merge_sources("A = 1\nB = 2\n", "A = 3\nB = 2\n", "A = 1\nB = 4\n")
    assert merged == Merged("A = 3\nB = 4\n")


def test_a_change_is_described_by_its_values_or_lines() -> None:
    child = pack(PAGE.replace("3", "2").replace("true", "false"), EMAIL.replace("second\n\n", ""))
    assert describe_change(pack(), child) == (
        "email.md: 0 lines added, 1 removed; variants.toml: page.fields=2, page.wide=false"
    )
    assert describe_change("A = 1\n", "A = 2\n") == "A=2"
    with pytest.raises(SourceError, match="must keep the files"):
        describe_change(pack(), "A = 1\n")
