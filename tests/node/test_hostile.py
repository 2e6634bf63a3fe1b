"""The short form of the hostile suite: every attack, its control, and both walls of a sandbox."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile import report
from tests.hostile.suite import SANDBOXES, Column, Result, Suite, open_suite
from tests.hostile.world import ATTACKS, Attack

ROOT = Path(__file__).resolve().parents[2]
ATTACKS_WANTED = 50


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    with open_suite() as suite:
        yield suite


@pytest.fixture(scope="module")
def control(suite: Suite) -> Column:
    return suite.run("control", "control")


@pytest.mark.sandbox
def test_every_attack_works_where_nothing_stops_it(control: Column) -> None:
    root = os.geteuid() == 0
    words = {
        name: report.control_word(attack, control.results[name], root=root)
        for name, attack in ATTACKS.items()
    }
    allowed = {report.WORKS, report.ABSENT, report.NEEDS_RIGHTS}
    assert {name: word for name, word in words.items() if word not in allowed} == {}
    assert list(words.values()).count(report.WORKS) >= ATTACKS_WANTED
    # What is seen from outside agrees, so that looking from outside means something below.
    assert set(report.EFFECTS_OF_CONTROL) <= set(control.reached)


@pytest.mark.sandbox
@pytest.mark.parametrize("name", SANDBOXES)
def test_every_attack_by_a_job_is_stopped(suite: Suite, name: str) -> None:
    column = suite.run(name, "job")
    got = {n: r for n, r in column.results.items() if r.got or r.how == "was not tried"}
    assert got == {}
    assert column.results.keys() == ATTACKS.keys()
    assert column.reached == ()


@pytest.mark.sandbox
@pytest.mark.parametrize("name", SANDBOXES)
def test_nothing_reaches_the_node_past_the_outer_wall_alone(suite: Suite, name: str) -> None:
    column = suite.run(name, "outer")
    assert column.reached == ()
    # What the outer wall leaves to the second one stays inside of the sandbox.
    for group in ("secrets", "sockets", "namespaces", "privileges", "kernel", "traces", "outputs"):
        names = [n for n, a in ATTACKS.items() if a.group == group and n != "unix-pair"]
        assert {n: column.results[n].got for n in names if column.results[n].got} == {}


def test_the_docs_list_every_attack_with_its_results() -> None:
    text = (ROOT / "docs" / "attacks.md").read_text(encoding="utf-8")
    listed = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 7 and cells[1].startswith("`"):
            listed[cells[1].strip("`")] = cells
    assert sorted(listed) == sorted(ATTACKS)
    for name, attack in ATTACKS.items():
        group, _, described, proven, *results = listed[name]
        assert (group, described) == (attack.group, attack.text)
        assert proven in {report.WORKS, report.ABSENT}
        assert set(results) <= {report.STOPPED, report.MARK_OF_JOB}
    assert "## What the sandbox does not protect against" in text.replace("###", "##")


ATTACK = Attack("a", "g", "t", lambda _: "")


@pytest.mark.parametrize(
    ("result", "root", "word"),
    [
        (Result("the secret", "got nothing"), True, "works"),
        (Result("", "bpf: Function not implemented"), True, "not in this kernel"),
        (Result("", "Operation not permitted"), True, "needs more rights"),
        (Result("", "got nothing"), True, "DOES NOT WORK (got nothing)"),
        (Result("unforeseen ValueError()", ""), True, "unforeseen ValueError()"),
    ],
)
def test_a_control_must_prove_its_attack(result: Result, root: bool, word: str) -> None:
    assert report.control_word(ATTACK, result, root=root) == word


def test_only_a_tried_and_empty_attack_counts_as_stopped() -> None:
    stopped, got = Result("", "Permission denied"), Result("the secret", "")
    assert report.sandbox_word(stopped, stopped) == "stopped"
    assert report.sandbox_word(stopped, got) == "stopped by the job"
    assert report.sandbox_word(got, got).startswith("BROKEN")
    assert report.sandbox_word(Result("", "was not tried"), None).startswith("BROKEN")


def test_problems_are_found_in_every_cell() -> None:
    fine = Column("control", {}, report.EFFECTS_OF_CONTROL, 0.0)
    confined = Column("bubblewrap", {}, (), 0.0)
    good = [["a", "works", "stopped"], ["b", "not in this kernel", "stopped"]]
    assert report.problems(good, [fine, confined]) == []
    assert len(report.problems([["a", "DOES NOT WORK (x)", "stopped"]], [fine, confined])) == 1
    assert len(report.problems([["a", "unforeseen x", "stopped"]], [fine, confined])) == 1
    assert len(report.problems([["a", "works", "BROKEN (x)"]], [fine, confined])) == 1
    blind = Column("control", {}, (), 0.0)
    assert len(report.problems(good, [blind])) == len(report.EFFECTS_OF_CONTROL)
    reached = Column("bubblewrap", {}, ("tcp",), 0.0)
    assert report.problems(good, [fine, reached]) == ["bubblewrap: reached the node: tcp"]
