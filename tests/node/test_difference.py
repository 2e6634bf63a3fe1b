"""What a script changes, shown in bounded time."""

import difflib
import string
import time

from hypothesis import given
from hypothesis import strategies as st

from node.difference import source_lines, unified_lines

LINES = st.lists(st.sampled_from(["a", "b", "c", "d = 1", ""]), max_size=40)


@given(LINES, LINES)
def test_it_can_be_applied(before: list[str], after: list[str]) -> None:
    assert apply(before, unified_lines(before, after)) == after


def test_lines_end_where_python_ends_them() -> None:
    code = "a = 1  # \x0cb = 2\u2028c = 3\x85d = 4\r\ne = 5\rf = 6\n"
    assert source_lines(code) == ["a = 1  # \x0cb = 2\u2028c = 3\x85d = 4", "e = 5", "f = 6"]
    assert source_lines("") == []
    assert source_lines("a\n\nb") == ["a", "", "b"]


@given(LINES)
def test_what_is_equal_has_no_difference(lines: list[str]) -> None:
    assert unified_lines(lines, lines) == []


def apply(before: list[str], difference: list[str]) -> list[str]:
    """Do what a unified difference says, checking every line that it names."""
    after: list[str] = []
    at = 0
    for line in difference[2:]:
        match line[:1]:
            case "@":
                start, _, count = line.split()[1][1:].partition(",")
                upto = int(start) - (count != "0")
                after += before[at:upto]
                at = upto
            case "+":
                after.append(line[1:])
            case sign:
                assert before[at] == line[1:]
                at += 1
                if sign == " ":
                    after.append(line[1:])
    return after + before[at:]


def test_an_ordinary_change_looks_as_everywhere() -> None:
    before = [f"line {number}" for number in range(30)]
    after = before.copy()
    after[10] = "LEARNING_RATE = 0.002"
    del after[20]
    assert unified_lines(before, after) == list(
        difflib.unified_diff(before, after, "parent", "child", lineterm="")
    )


def test_lines_chosen_to_be_hard_to_match_cost_no_time() -> None:
    words = [*string.ascii_letters, *(f"{one}{other}" for one in "abcdef" for other in "ghijklmn")]
    hostile = [words[number % 100] for number in range(20_000)]
    started_s = time.process_time()
    lines = unified_lines(hostile, hostile[::-1])
    shorter = unified_lines(hostile[:400], hostile[399::-1])
    assert time.process_time() - started_s < 5
    assert apply(hostile, lines) == hostile[::-1]
    assert apply(hostile[:400], shorter) == hostile[399::-1]
