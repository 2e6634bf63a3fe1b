import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import FieldError
from protocol.schema import Text, printable
from tests.protocol.strategies import SETTINGS

LINE = Text(1_000)
LINES = Text(1_000, lines=True)

REFUSED_RANGES = [
    ("0000", "001F"),
    ("007F", "009F"),
    ("061C", "061C"),
    ("200E", "200F"),
    ("2028", "202E"),
    ("2066", "206F"),
    ("D800", "DFFF"),
    ("FEFF", "FEFF"),
    ("FFF9", "FFFB"),
    ("E0000", "E0FFF"),
]
"""First and last code point of every run that text fields refuse."""

anything = st.text(alphabet=st.characters(exclude_categories=[]), max_size=60)


def refused(character: str) -> bool:
    try:
        LINE.encode(character)
    except FieldError:
        return True
    return False


def test_exactly_these_characters_are_refused() -> None:
    """The list is frozen: a newer Unicode version must not change what a node accepts."""
    ranges: list[tuple[int, int]] = []
    for point in range(0x110000):
        if not refused(chr(point)):
            continue
        if ranges and ranges[-1][1] == point - 1:
            ranges[-1] = (ranges[-1][0], point)
        else:
            ranges.append((point, point))
    assert [(f"{low:04X}", f"{high:04X}") for low, high in ranges] == REFUSED_RANGES


def test_every_control_and_every_bidirectional_control_is_among_them() -> None:
    for point in range(0x110000):
        character = chr(point)
        controls = unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}
        turns = unicodedata.bidirectional(character) in {
            "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI",
        }  # fmt: skip
        if controls or turns:
            assert refused(character), f"U+{point:04X}"


@pytest.mark.parametrize(
    "text", ["", "a b", "é", "日本語", "עברית", "👩‍🔬", "a\u00a0b", "<b>&amp;"]
)
def test_ordinary_text_is_accepted(text: str) -> None:
    assert LINE.encode(text) == text
    assert LINE.decode(text) == text


def test_a_newline_is_allowed_only_where_lines_are() -> None:
    assert LINES.encode("a\nb") == "a\nb"
    for text in ("a\r\nb", "a\tb", "a\u2028b"):
        with pytest.raises(FieldError, match="not allowed"):
            LINES.encode(text)
    with pytest.raises(FieldError, match="U\\+000A"):
        LINE.encode("a\nb")


def test_length_is_counted_in_bytes() -> None:
    assert Text(4).encode("éé") == "éé"
    with pytest.raises(FieldError, match="over 4 bytes"):
        Text(4).encode("ééx")


@pytest.mark.parametrize("value", [None, 1, True, b"text", ["text"]])
def test_only_text_is_text(value: object) -> None:
    with pytest.raises(FieldError, match="must be text"):
        LINE.encode(value)


@SETTINGS
@given(text=anything, bytes_max=st.integers(0, 80), lines=st.booleans())
def test_printable_text_is_always_acceptable(text: str, bytes_max: int, lines: bool) -> None:
    spec = Text(bytes_max, lines=lines)
    made = printable(text, bytes_max, lines=lines)
    assert spec.encode(made) == made
    assert printable(made, bytes_max, lines=lines) == made


@SETTINGS
@given(text=anything, lines=st.booleans())
def test_printable_keeps_what_is_already_acceptable(text: str, lines: bool) -> None:
    try:
        Text(400, lines=lines).encode(text)
    except FieldError:
        return
    assert printable(text, 400, lines=lines) == text


def test_printable_cuts_between_characters_and_keeps_words_apart() -> None:
    assert printable("éé", 3) == "é"
    assert printable("a\tb\nc", 10) == "a b c"
    assert printable("a\tb\nc", 10, lines=True) == "a b\nc"
    assert printable("\ud800", 10) == " "
    assert printable("😀", 3) == ""
