"""`docs/protocol.md` says what the code does: every kind, field, form, tag and limit."""

import re
from pathlib import Path
from typing import Any

import pytest

from protocol import ids, limits, signed
from protocol.notices import NOTICE_TYPES
from protocol.records import BODY_TYPES
from tests.protocol.annotate import annotate
from tests.protocol.describe import describe, number, rows, with_nested
from tests.protocol.samples import ADMIT
from tests.protocol.test_schema import REFUSED_RANGES

FOLDER = Path(__file__).parents[2] / "docs"
TEXT = (FOLDER / "protocol.md").read_text(encoding="utf-8")

STRUCTS = with_nested([*BODY_TYPES.values(), *NOTICE_TYPES.values()])


def section(heading: str) -> str:
    """The text under a heading, up to the next heading of any level."""
    found = re.search(
        rf"^##+ {re.escape(heading)}\n(.*?)(?=^##+ |\Z)", TEXT, re.MULTILINE | re.DOTALL
    )
    assert found, f"no section {heading!r}"
    return found[1]


def table(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its head."""
    lines = re.search(r"(?:^\|.*\n)+", section(heading), re.MULTILINE)
    assert lines, f"no table under {heading!r}"
    return [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in lines[0].splitlines()[2:]
    ]


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_every_field_of_every_struct_is_documented_with_its_form(struct: type[Any]) -> None:
    documented = table(struct.__name__)
    assert [(name, form) for name, form, _ in documented] == rows(struct)
    assert all(meaning for _, _, meaning in documented)


@pytest.mark.parametrize(
    ("heading", "types"), [("Records", BODY_TYPES), ("Notices", NOTICE_TYPES)], ids=str
)
def test_every_kind_is_documented(heading: str, types: dict[str, type[Any]]) -> None:
    listed = re.findall(r"`(\w+)`\s+\[(\w+)\]\(#(\w+)\)", section(heading))
    expected = [(kind, s.__name__, s.__name__.lower()) for kind, s in types.items()]
    assert listed == expected


def test_the_header_is_documented() -> None:
    documented = {name: form for name, form, _ in table("Statements")}
    expected = {f"`{name}`": describe(spec) for name, spec in signed._HEADER.items()}
    assert documented == {**expected, "`body`": "map"}
    for kind in [*BODY_TYPES, *NOTICE_TYPES]:
        assert f"`{kind}`" in section("Statements")


def test_every_tag_is_documented() -> None:
    tags = [value for name, value in vars(ids).items() if name.endswith("_TAG")]
    shown = re.findall(r"^\| `(swarm-node/[^`]+)` \|", section("Primitives"), re.MULTILINE)
    assert [tag.replace("\\0", "\0").encode() for tag in shown] == tags


def test_every_limit_is_documented() -> None:
    expected = [
        (f"`{name}`", number(value)) for name, value in vars(limits).items() if name.isupper()
    ]
    documented = table("Limits")
    assert [(name, value) for name, value, _ in documented] == expected
    assert all(why for _, _, why in documented)


def test_the_refused_characters_are_documented() -> None:
    listed = re.findall(r"U\+([0-9A-F]{4,5})(?:–([0-9A-F]{4,5}))?", section("Field forms"))
    points = {
        point
        for low, high in listed
        if (low, high) != ("000A", "")
        for point in range(int(low, 16), int(high or low, 16) + 1)
    }
    expected = {
        point for low, high in REFUSED_RANGES for point in range(int(low, 16), int(high, 16) + 1)
    }
    assert points == expected


def test_the_worked_example_is_the_vector() -> None:
    example, identity = re.findall(r"```\n(.*?)\n```", section("Worked example"), re.DOTALL)
    assert example == annotate(ADMIT.envelope)
    data = "".join(re.findall(r"^[0-9a-f]+", example, re.MULTILINE))
    assert bytes.fromhex(data) == ADMIT.envelope
    assert bytes.fromhex(identity) == ADMIT.id


def test_every_link_inside_the_page_leads_somewhere() -> None:
    headings = re.findall(r"^##+ (.+)$", TEXT, re.MULTILINE)
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors
