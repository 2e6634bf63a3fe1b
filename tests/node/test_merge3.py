import os
from pathlib import Path

import pytest

from node.merge3 import Conflict, Merged, MergeUnavailableError, describe_script, merge_scripts
from swarm.source import SourceError

BASE = """\
RATE = 0.1  # how fast
WIDTH = 64
DEPTH = 2
NAMES = ("a", "b")


def build_model(run):
    return WIDTH


def helper(x):
    return x + 1


def train(run, model):
    for _ in range(DEPTH):
        pass
"""


def merged(ours: str, theirs: str, base: str = BASE) -> str:
    result = merge_scripts(base, ours, theirs)
    assert isinstance(result, Merged), result
    return result.source


def clashes(ours: str, theirs: str, base: str = BASE) -> list[tuple[str, str, str]]:
    result = merge_scripts(base, ours, theirs)
    assert isinstance(result, Conflict), result
    return [(clash.where, clash.ours, clash.theirs) for clash in result.clashes]


def test_neighbouring_constants_do_not_contradict_each_other() -> None:
    ours = BASE.replace("RATE = 0.1", "RATE = 0.2")
    theirs = BASE.replace("WIDTH = 64", "WIDTH = 128").replace("DEPTH = 2", "DEPTH = (\n    3\n)")
    both = ours.replace("WIDTH = 64", "WIDTH = 128").replace("DEPTH = 2", "DEPTH = (\n    3\n)")
    # The parentheses are no part of the value's own text.
    assert merged(ours, theirs).replace("(\n    3\n)", "3") == both.replace("(\n    3\n)", "3")
    assert "RATE = 0.2  # how fast" in merged(ours, theirs)


def test_one_constant_changed_in_two_ways_is_a_conflict_with_both_sides() -> None:
    ours = BASE.replace("WIDTH = 64", "WIDTH = 96")
    theirs = BASE.replace("WIDTH = 64", "WIDTH = 128")
    assert clashes(ours, theirs) == [("WIDTH", "96", "128")]
    # The same value in another spelling is no contradiction.
    assert merged(ours, BASE.replace("WIDTH = 64", "WIDTH = 0x60")) == ours


def test_a_constant_and_code_are_merged_together() -> None:
    ours = BASE.replace('NAMES = ("a", "b")', 'NAMES = ("é", "b")')
    theirs = BASE.replace("x + 1", "x + 2").replace("DEPTH = 2", "DEPTH = 5")
    text = merged(ours, theirs)
    assert 'NAMES = ("é", "b")' in text
    assert "x + 2" in text
    assert "DEPTH = 5" in text
    assert merged(theirs, ours) == text


def test_lines_changed_in_two_ways_are_a_conflict_with_both_sides() -> None:
    ours = BASE.replace("x + 1", "x + 2")
    theirs = BASE.replace("x + 1", "x * 3\n    # =======")
    assert clashes(ours, theirs) == [
        ("lines", "    return x + 2", "    return x * 3\n    # =======")
    ]


def test_markers_inside_a_script_fake_nothing() -> None:
    hostile = '"""\n<<<<<<< ours\n=======\n>>>>>>> theirs\n"""\n'
    ours = BASE.replace("x + 1", "x + 2") + hostile
    assert merged(ours, BASE.replace("0.1", "0.3")) == ours.replace("0.1", "0.3")
    assert len(clashes(ours, BASE.replace("x + 1", "x + 4"))) == 1


def test_a_name_that_both_add_at_different_places_is_a_conflict() -> None:
    ours = "NEW = 1\n" + BASE
    theirs = BASE + "\n\nNEW = 2\n"
    assert [clash[0] for clash in clashes(ours, theirs)] == ["NEW"]
    ours = BASE.replace("def helper", "def extra():\n    pass\n\n\ndef helper")
    theirs = BASE + "\n\ndef extra():\n    return 1\n"
    assert [clash[0] for clash in clashes(ours, theirs)] == ["extra"]


def test_constants_that_both_add_at_one_place_are_merged_by_name() -> None:
    last = 'NAMES = ("a", "b")\n'
    ours = BASE.replace(last, f"{last}ROPE = 10.0  # slowest\n")
    theirs = BASE.replace(last, f"{last}MUON = 0.02  # step\nSTEPS = (\n    5\n)\n").replace(
        "x + 1", "x + STEPS"
    )
    expected = BASE.replace(
        last, f"{last}MUON = 0.02  # step\nSTEPS = (\n    5\n)\nROPE = 10.0  # slowest\n"
    ).replace("x + 1", "x + STEPS")
    assert merged(ours, theirs) == expected
    # The same name with two values is still a conflict, and so is code beside it.
    assert clashes(ours, BASE.replace(last, f"{last}ROPE = 20.0\n"))
    assert clashes(ours.replace("x + 1", "x + 7"), theirs)
    # A statement that shares its line stays where it is.
    assert clashes(ours, BASE.replace(last, f"{last}MUON = 1; OTHER = [2]\n"))


def test_a_change_that_is_there_already_adds_nothing() -> None:
    ours = BASE.replace("RATE = 0.1", "RATE = 0.2").replace("x + 1", "x + 2")
    assert merged(ours, BASE.replace("x + 1", "x + 2")) == ours
    assert merged(BASE, BASE) == BASE


def test_windows_line_ends_contradict_nothing() -> None:
    theirs = BASE.replace("WIDTH = 64", "WIDTH = 8").replace("\n", "\r\n")
    assert merged(BASE.replace("x + 1", "x + 9"), theirs) == BASE.replace("x + 1", "x + 9").replace(
        "WIDTH = 64", "WIDTH = 8"
    )


def test_scripts_beyond_the_limits_are_refused() -> None:
    for bad in ("not python (", BASE + "y = " + "-" * 5_000 + "1\n"):
        with pytest.raises(SourceError):
            merge_scripts(BASE, BASE, bad)


def test_git_reads_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".gitconfig").write_text("[merge]\n\tconflictStyle = nonsense\nbroken")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    assert merged(BASE, BASE.replace("x + 1", "x + 9")) == BASE.replace("x + 1", "x + 9")


def test_without_git_nothing_is_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert os.environ["PATH"] == str(tmp_path)
    with pytest.raises(MergeUnavailableError, match="not installed"):
        merge_scripts(BASE, BASE, BASE)


def test_a_change_in_words() -> None:
    assert describe_script(BASE, BASE.replace("0.1", "0.5").replace("64", "32")) == (
        "RATE=0.5, WIDTH=32"
    )
    assert describe_script(BASE, BASE.replace("x + 1", "x +\\\n    2")) == (
        "2 lines added, 1 removed"
    )
