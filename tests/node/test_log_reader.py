"""Reading a log: bounded, through rotations, and whatever is in it."""

import logging
from pathlib import Path

import pytest

from node import log_reader
from node.log_reader import LogFollower, at_least, last_complaint
from node.logs import set_up_logging

LINE = "2026-11-24 12:00:{second:02d},123 {level:<7} node.intake: {text}\n"


def line(text: str, level: str = "INFO", second: int = 0) -> str:
    return LINE.format(text=text, level=level, second=second)


def texts(lines: list[log_reader.LogLine]) -> list[str]:
    return [item.text for item in lines]


def test_what_the_node_writes_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        set_up_logging(path)
        logging.getLogger("node.door").info("one\x1b[31m line\nforged")
        try:
            raise ValueError("what went wrong")
        except ValueError:
            logging.getLogger("node.door").exception("two")
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers[:], root.level = before, level
    first, second, *trace = LogFollower(path).tail()
    assert (first.level, first.name, first.text) == ("info", "node.door", "one [31m line forged")
    assert (second.level, second.text) == ("error", "two")
    assert {item.level for item in trace} == {"error"}, "a traceback belongs to its line"
    assert {item.at for item in trace} == {""}
    assert trace[-1].text == "ValueError: what went wrong"


def test_following_goes_on_through_rotation_and_waits_for_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    follower = LogFollower(path)
    assert follower.tail() == [] == follower.added(), "it need not be there yet"
    path.write_text(line("a") + "2026-11-24 12:00")
    assert texts(follower.added()) == ["a"]
    with path.open("a") as file:
        file.write(":01,000 WARNING node.x: b\n")
    (found,) = follower.added()
    assert (found.at, found.level, found.text) == ("2026-11-24 12:00:01", "warning", "b")
    path.rename(tmp_path / "node.log.1")
    path.write_text(line("c"))
    assert texts(follower.added()) == ["c"]
    path.write_text(line("d")[:-10] + "\n")
    assert len(follower.added()) == 1, "emptied and begun again"
    assert follower.added() == []


def test_only_the_end_of_a_long_log_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_reader, "TAIL_BYTES_MAX", 300)
    monkeypatch.setattr(log_reader, "STEP_BYTES_MAX", 200)
    path = tmp_path / "node.log"
    path.write_text("".join(line(f"number {number}") for number in range(100)))
    follower = LogFollower(path)
    shown = follower.tail()
    assert 0 < len(shown) <= 6
    assert shown[-1].text == "number 99"
    assert all(item.at for item in shown), "a line that was cut is left out"
    with path.open("a") as file:
        file.write("".join(line(f"later {number}") for number in range(100)))
    first, *rest = follower.added()
    assert "bytes are not shown" in first.text
    assert rest[-1].text == "later 99"
    assert len(rest) <= 5
    with path.open("ab") as file:
        file.write(b"\xff" * 250)
    assert sum(len(item.text) for item in follower.added()) < 1_000


def test_levels_and_the_last_complaint(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    assert last_complaint(path) == ""
    path.write_text(line("fine") + line("odd", "WARNING", 3) + "  more of it\n" + line("fine"))
    lines = LogFollower(path).tail()
    assert texts(at_least(lines, "warning")) == ["odd", "  more of it"]
    assert texts(at_least(lines, "error")) == []
    assert last_complaint(path) == "2026-11-24 12:00:03 odd"
    path.write_text(line("fine") + line("a level of its own", "SILLY"))
    assert last_complaint(path) == ""
    assert last_complaint(tmp_path) == "", "what cannot be read complains of nothing"
