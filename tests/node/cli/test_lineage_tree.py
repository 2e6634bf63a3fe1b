"""The drawing of the lineage: a trunk, what branches off it, and numbers beside each entry."""

from typing import Any

from node.cli.lineage_tree import tree_columns, tree_rows


def entry(name: str, *parents: str, on_path: bool = True, **changes: Any) -> dict[str, Any]:
    return {
        "id": name * 64,
        "parents": [parent * 64 for parent in parents],
        "on_path": on_path,
        "title": f"title of {name}",
        "val_bpb": 2.5,
        "gain": 0.1,
        "gain_low": 0.05,
        "gain_high": 0.15,
        "trials": 5,
        "verifiers": ["v1", "v2"],
        "self_verified": False,
        "author": "f" * 64,
        "merged_ms": 1_000,
        **changes,
    }


def drawn(*entries: dict[str, Any]) -> list[str]:
    return [f"{row[0].text} {row[1].text[0]}" for row in tree_rows(entries, 61_000)]


def test_a_straight_line() -> None:
    assert drawn(entry("a"), entry("b", "a"), entry("c", "b")) == ["● a", "● b", "◉ c"]


def test_side_branches_hang_where_they_left_the_trunk() -> None:
    aside = {"on_path": False}
    assert drawn(
        entry("a"),
        entry("b", "a"),
        entry("x", "a", **aside),
        entry("y", "a", **aside),
        entry("c", "b"),
        entry("z", "x", **aside),
        entry("w", "x", **aside),
        entry("u", "c", **aside),
    ) == ["● a", "├─○ x", "│ ├─○ z", "│ └─○ w", "├─○ y", "● b", "◉ c", "└─○ u"]  # fmt: skip


def test_a_long_side_branch_neither_recurses_nor_leaves_the_screen() -> None:
    names = [f"{number:064x}" for number in range(2_000)]
    entries = [entry("a")]
    for number, name in enumerate(names):
        parent = names[number - 1] if number else "a" * 64
        entries.append(entry("b", on_path=False, id=name, parents=[parent]))
    rows = tree_rows(entries, 0)
    assert len(rows) == 2_001
    assert max(len(row[0].text) for row in rows) < 60


def test_numbers_and_further_parents_are_told() -> None:
    rows = tree_rows([entry("a", gain=None), entry("c", "a", "b")], 61_000)
    root, merged = ([cell.text for cell in row] for row in rows)
    assert len(root) == len(merged) == len(tree_columns("val_bpb"))
    assert root[2:6] == ["2.5000", "", "", ""]
    assert root[-1] == "the genesis"
    assert merged[2:] == [
        "2.5000", "+0.1000 [+0.0500, +0.1500]", "5", "2", "ffffffff", "60 s ago",
        "title of c + bbbbbbbb",
    ]  # fmt: skip


def test_the_path_is_lit() -> None:
    trunk, aside = tree_rows([entry("a"), entry("x", "a", on_path=False)], 0)
    assert {cell.tone for cell in aside} == {"quiet"}
    assert "quiet" not in {trunk[0].tone, trunk[1].tone, trunk[-1].tone}


def test_what_only_its_author_verified_says_so() -> None:
    rows = tree_rows([entry("g"), entry("a", "g", self_verified=True)], 0)
    assert rows[1][-1].text == "title of a (self-verified)"
