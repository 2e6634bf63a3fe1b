"""Several files as one text: one form only, and nothing else is read."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.sources import FILES_MAX, SourcesError, holds_files, join_files, split_files

GOLDEN = "=== email.md ===\nHello\n\n=== not a mark\n=== variants.toml ===\nx = 1\n"
FILES = {"variants.toml": "x = 1\n", "email.md": "Hello\n\n=== not a mark\n"}

names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
contents = st.text(st.sampled_from("ab=\n\r \x0b\u2028é"), max_size=40)


def test_the_form_is_pinned() -> None:
    assert join_files(FILES) == GOLDEN
    assert split_files(GOLDEN) == FILES
    assert list(split_files(GOLDEN)) == sorted(FILES)


@given(st.dictionaries(names, contents, min_size=1, max_size=4))
def test_files_come_back_as_they_were(files: dict[str, str]) -> None:
    text = join_files(files)
    assert holds_files(text)
    back = split_files(text)
    for name, content in files.items():
        assert back[name] == content or back[name] == content + "\n"
    assert join_files(back) == text


@given(st.lists(st.sampled_from(["=== a ===", "=== b.toml ===", "x", "", "=== a ==="]), max_size=8))
def test_what_is_read_is_written_again(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        files = split_files(text)
    except SourcesError:
        return
    assert join_files(files) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x = 1\n",
        "before\n=== a ===\n",
        "=== b ===\n=== a ===\n",
        "=== a ===\n=== a ===\n",
        "=== a ===\nno line feed at the end",
        "=== ../a ===\nx\n",
        "=== a ===\r\nx\r\n",
        "".join(f"=== f{i:02} ===\n" for i in range(FILES_MAX + 1)),
    ],
)
def test_no_other_form_is_read(text: str) -> None:
    with pytest.raises(SourcesError):
        split_files(text)


@pytest.mark.parametrize(
    "files", [{}, {"a/b": ""}, {"": ""}, {".a": ""}, {"a": "=== b ===\n"}, {"a\n": "x"}]
)
def test_what_cannot_be_told_apart_is_not_written(files: dict[str, str]) -> None:
    with pytest.raises(SourcesError):
        join_files(files)


def test_no_python_file_is_taken_for_several() -> None:
    with pytest.raises(SyntaxError):
        ast.parse("=== a ===\n")
    assert not holds_files("A = 1\n=== a ===\n")
