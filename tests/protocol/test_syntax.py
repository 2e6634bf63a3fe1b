"""Parsing: only the named errors leave the parser, from however many threads."""

import ast
from concurrent.futures import ThreadPoolExecutor

import pytest

from protocol.syntax import REFUSALS, parse_tree


@pytest.mark.parametrize(
    "code",
    [
        "(" * 40_000,
        "-" * 40_000 + "1",
        "x" + ".a" * 20_000,
        "1" + "+1" * 20_000,
        "not " * 12_000 + "1",
        "lambda:" * 6_000 + "1",
        "if a:\n pass\n" + "elif a:\n pass\n" * 3_000,
        "9" * 40_000,
        "x = '\ud800'",
        "\0",
    ],
)
def test_a_hostile_text_gives_a_named_error(code: str) -> None:
    with pytest.raises(REFUSALS):
        parse_tree(code)


def test_threads_may_parse_at_once() -> None:
    codes = [f"x = {'(' * depth}1{')' * depth}" for depth in range(1, 60)] * 4
    with ThreadPoolExecutor(8) as threads:
        trees = list(threads.map(parse_tree, codes))
    assert [ast.dump(tree) for tree in trees] == [ast.dump(ast.parse(code)) for code in codes]
