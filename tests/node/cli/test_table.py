"""Widths, cuts and colours: what is printed lines up, and nothing steers a terminal."""

import pytest

from node.cli.table import (
    Cell,
    Column,
    ago,
    colour_wanted,
    gain_text,
    paint,
    print_fields,
    print_table,
    shortened,
    value_text,
)

COLUMNS = [Column("id"), Column("gain", right=True), Column("title", flexible=True)]


def test_columns_line_up_also_under_wide_characters(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(COLUMNS, [["a", "+1", "x"], ["東京", "-22.5", "y"]])
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["id     gain  title", "a        +1  x", "東京  -22.5  y"]


def test_only_a_terminal_cuts_and_only_what_may_be_cut(capsys: pytest.CaptureFixture[str]) -> None:
    row = ["0123456789abcdef", "+1.0", "a title that is far too long for the line"]
    print_table(COLUMNS, [row])
    assert row[2] in capsys.readouterr().out, "a pipe gets everything"
    print_table(COLUMNS, [row], width=44)
    line = capsys.readouterr().out.splitlines()[1]
    assert line == "0123456789abcdef  +1.0  a title that is far…"
    print_table(COLUMNS, [row], width=10)
    line = capsys.readouterr().out.splitlines()[1]
    assert line == "0123456789abcdef  +1.0  a title tha…", "below its least width it wraps instead"


def test_spare_columns_make_way_for_what_one_looks_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    columns = [Column("id"), Column("when", spare=True), Column("by", spare=True),
               Column("title", flexible=True)]  # fmt: skip
    row = ["0123", "4 days ago", "somebody", "a title that is far too long for a line"]
    shown = {}
    for width in (80, 52, 42, 41):
        print_table(columns, [row], width=width)
        heading, line = capsys.readouterr().out.splitlines()
        shown[width] = heading.split()
        assert len(line) <= width
    assert shown == {
        80: ["id", "when", "by", "title"], 52: ["id", "when", "by", "title"],
        42: ["id", "when", "title"], 41: ["id", "title"],
    }  # fmt: skip
    print_table(columns, [row])
    assert capsys.readouterr().out.splitlines()[1].split("  ") == row, "a pipe gets everything"


def test_a_long_value_goes_on_below_itself(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    head = [
        Cell("“a title of some length”"),
        Cell("  +0.1 [+0.0, +0.2]"),
        Cell("  merged 4 days ago", "quiet"),
    ]
    fields: list[tuple[str, str | list[Cell]]] = [("head", head), ("id", "0" * 40)]
    monkeypatch.setattr("node.cli.table.terminal_width", lambda: 36)
    print_fields(fields)
    lines = capsys.readouterr().out.splitlines()
    assert [line.replace("\x1b[2m", "").replace("\x1b[0m", "") for line in lines] == [
        "head  “a title of some length”",
        "      +0.1 [+0.0, +0.2]",
        "      merged 4 days ago",
        f"id    {'0' * 40}",
    ]
    monkeypatch.setattr("node.cli.table.terminal_width", lambda: None)
    print_fields(fields)
    assert len(capsys.readouterr().out.splitlines()) == 2, "a pipe gets a line each"


def test_text_of_peers_cannot_steer_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "\x1b]0;owned\x07\x1b[2J\u202eevil\r\nforged  line\t\x9b31m"
    print_table([Column("title")], [[Cell(hostile, "bad")]])
    print_fields([("title", hostile), ("two", [Cell("a\n", "good"), Cell("\x1bb")])])
    out = capsys.readouterr().out
    assert not set(out) & {"\x1b", "\x07", "\u202e", "\r", "\t", "\x9b"}
    assert len(out.splitlines()) == 4


def test_tones_are_escapes_only_where_something_is_toned() -> None:
    assert paint("x", "plain") == "x"
    assert paint("x", "good") == "\x1b[32mx\x1b[0m"


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_no_color_is_heeded(environment: dict[str, str], wanted: bool) -> None:
    assert colour_wanted(environment) is wanted


def test_shortened_counts_cells() -> None:
    assert shortened("abc", 3) == "abc"
    assert shortened("abcd", 3) == "ab…"
    assert shortened("東京都", 5) == "東京…"
    assert shortened("東京都", 4) == "東…"


def test_numbers_are_written_alike_everywhere() -> None:
    assert value_text(None) == "–"
    assert value_text(2.80005, 3) == "2.800"
    assert gain_text(None, 0.1, 0.2) == "–"
    assert gain_text(-0.5) == "-0.5000"
    assert gain_text(0.11, 0.1, 0.12) == "+0.1100 [+0.1000, +0.1200]"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s ago"), (89, "89 s ago"), (120, "2 min ago"), (7200, "2 h ago"),
     (4 * 86400, "4 days ago"), (-5, "0 s ago")],
)  # fmt: skip
def test_how_long_ago(seconds: int, text: str) -> None:
    assert ago(1_000_000, 1_000_000 + 1000 * seconds) == text
