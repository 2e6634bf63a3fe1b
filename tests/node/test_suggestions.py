import errno
import os
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner

from node.cli.propose import _read_source, propose
from node.control import serve_control
from node.drafts import Draft, Drafts
from node.errors import NodeError, StoreFullError, UsageError
from node.home import Home
from node.suggestions import _completed
from protocol.sources import join_files, split_files
from tests.node.fakes import (
    BIG,
    GENESIS_SCRIPT,
    FakeNode,
    ListedProposer,
    fake_swarm,
    script,
    statuses,
    until,
)
from tests.virtual_time import virtually

NOTHING: list[int | str] = []


def by_title(node: FakeNode, title: str) -> str | None:
    return statuses(node).get(title)


def test_a_persons_change_is_run_before_the_agents_ideas_and_merged(tmp_path: Path) -> None:
    async def test() -> None:
        many: list[int | str] = list(range(1, 50))
        async with fake_swarm(tmp_path, [ListedProposer(many), None, None]) as nodes:
            await trio.sleep(12)
            answer = await nodes[0].researcher.suggest(script(BIG), "", "I think so\x1b[2J")
            assert answer["title"] == f"GAIN={BIG}"
            assert answer["change"] == f"GAIN={BIG}"
            begun = len(statuses(nodes[0]))
            await until(lambda: by_title(nodes[0], f"GAIN={BIG}") is not None)
            # The idea that was running then, and nothing else, came before.
            assert len(statuses(nodes[0])) <= begun + 2
            await until(lambda: all(node.intake.ledger.head.depth == 1 for node in nodes))
            head = nodes[2].intake.ledger.head
            assert head.hypothesis is not None
            body = nodes[2].intake.ledger.hypothesis(head.hypothesis).body
            assert body.origin.proposer == "person"
            assert body.rationale == "I think so [2J"

    virtually(test)


def test_what_cannot_be_tested_is_refused_with_the_reason(tmp_path: Path) -> None:
    async def test() -> None:
        async with fake_swarm(tmp_path, [None, None, None]) as nodes:
            await until(lambda: len(nodes[0].intake.ledger.members) == 3)
            suggest = nodes[0].researcher.suggest
            for source, words in (
                ("def train(:", "not valid Python"),
                (GENESIS_SCRIPT + "# only a comment\n", "head's script"),
                (script(5, "X = '" + "x" * 300 + "'\n"), "literal"),
                (script(5, "\n".join(f"x{n} = {n}" for n in range(1_000))), "grows"),
            ):
                with pytest.raises(UsageError, match=words):
                    await suggest(source, "t", "")
            await suggest(script(-BIG), "worse", "")
            with pytest.raises(UsageError, match=r"already|right now"):
                await suggest(script(-BIG, "# again\n"), "worse again", "")
            await until(lambda: by_title(nodes[1], "worse") == "screened_out")
            with pytest.raises(UsageError, match="tried on this head already"):
                await suggest(script(-BIG), "worse", "")
            nodes[0].researcher.finish()
            with pytest.raises(NodeError, match="finishing"):
                await suggest(script(7), "late", "")

    virtually(test)


def test_a_change_waits_through_a_new_head(tmp_path: Path) -> None:
    async def test() -> None:
        async with fake_swarm(tmp_path, [None, None, None, ListedProposer([BIG])]) as nodes:
            await until(lambda: len(nodes[0].intake.ledger.members) == 4)
            suggestions = nodes[0].researcher._explorer.suggestions
            view = await nodes[0].researcher._explorer.recall()
            mine = GENESIS_SCRIPT.replace("GAIN = 0\n", f"GAIN = 0\nGAIN_B = {BIG}\n")
            other = script(7)
            await suggestions.add(view, mine, "mine", "")
            await suggestions.add(view, other, "contradicts", "")
            waiting, suggestions._waiting = suggestions._waiting, type(suggestions._waiting)()
            await until(lambda: all(node.intake.ledger.head.depth == 1 for node in nodes))
            suggestions._waiting = waiting
            nodes[0].researcher.on_change()
            await until(lambda: nodes[1].intake.ledger.head.title == "mine")
            head = nodes[1].intake.ledger.head
            assert head.depth == 2
            text = await nodes[1].materials.script(head.source)
            assert f"GAIN = {BIG}\n" in text
            assert f"GAIN_B = {BIG}\n" in text
            feed = [item.text for item in nodes[0].activity.feed]
            assert any("contradicts”: the new head changes the same: GAIN" in t for t in feed)
            assert by_title(nodes[0], "contradicts") is None

    virtually(test)


def test_a_change_that_waits_outlives_the_node(tmp_path: Path) -> None:
    async def test() -> None:
        async with fake_swarm(tmp_path, [None]) as nodes:
            await until(lambda: len(nodes[0].intake.ledger.members) == 1)
            nodes[0].researcher.rest("person", "paused by hand")
            await nodes[0].researcher.suggest(script(BIG), "mine", "because")
            await nodes[0].researcher.suggest(script(7), "second", "")
            drafts = nodes[0].path / "drafts"
            assert len(list(drafts.iterdir())) == 2
        # A file that somebody has spoilt keeps nothing else from coming back.
        (drafts / "0.json").write_text("{")
        async with fake_swarm(tmp_path, [None]) as nodes:
            await until(lambda: by_title(nodes[0], "mine") is not None)
            await until(lambda: by_title(nodes[0], "second") is not None)
            rationales = {
                item.body.title: item.body.rationale for item in nodes[0].intake.ledger.hypotheses()
            }
            assert rationales["mine"] == "because"

    virtually(test)


def test_a_change_that_was_run_or_dropped_is_not_kept(tmp_path: Path) -> None:
    async def test() -> None:
        async with fake_swarm(tmp_path, [None, None, None]) as nodes:
            await until(lambda: len(nodes[0].intake.ledger.members) == 3)
            await nodes[0].researcher.suggest(script(BIG), "mine", "")
            await until(lambda: by_title(nodes[0], "mine") is not None)
            await trio.sleep(30)
            assert list((nodes[0].path / "drafts").iterdir()) == []

    virtually(test)


def test_a_change_whose_result_the_disk_refuses_is_run_again(tmp_path: Path) -> None:
    async def test() -> None:
        async with fake_swarm(tmp_path, [None, None, None]) as nodes:
            node = nodes[0]
            await until(lambda: len(node.intake.ledger.members) == 3)
            node.store._database.execute("PRAGMA max_page_count=1")
            rationale = "x" * 2_000
            for number in range(12):
                await node.researcher.suggest(script(-number - 1), f"number {number}", rationale)
            await trio.sleep(120)
            assert any("trouble: cannot write" in item.text for item in node.activity.feed)
            node.store._database.execute("PRAGMA max_page_count=1000000")
            await until(
                lambda: all(by_title(nodes[1], f"number {n}") is not None for n in range(12))
            )
            assert not any("dropped" in item.text for item in node.activity.feed)
            assert list((node.path / "drafts").iterdir()) == []

    virtually(test)


async def test_a_change_that_cannot_be_kept_is_not_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafts = Drafts(tmp_path / "drafts")
    draft = Draft("base", "source", "title", "", "change")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFullError, match="No space left"):
        drafts.keep(draft)
    monkeypatch.undo()
    assert list(drafts) == []
    assert list((tmp_path / "drafts").iterdir()) == []


async def test_the_command_asks_the_running_node(tmp_path: Path) -> None:
    home = Home(tmp_path)
    asked: list[object] = []

    async def answer(params: object) -> object:
        asked.append(params)
        return {"title": "R=1\x1b", "change": "R=1", "parent": "ab" * 32}

    file = tmp_path / "mine.py"
    file.write_text("é" * 10_000 + "\x01" * 30_000)
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_control, home.control, {"propose": answer})
        result = await trio.to_thread.run_sync(
            lambda: CliRunner().invoke(
                propose,
                ["--home", str(tmp_path), str(file), "--title", "T", "--rationale", "R"],
                standalone_mode=False,
            )
        )
        nursery.cancel_scope.cancel()
    assert result.exception is None
    assert asked == [{"source": file.read_text(), "title": "T", "rationale": "R"}]
    assert result.output.startswith("“R=1 ” waits for the next free worker")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_bytes(b"\xff\xfe")
    result = CliRunner().invoke(
        propose, ["--home", str(tmp_path), str(file)], standalone_mode=False
    )
    assert isinstance(result.exception, UsageError)


def test_several_files_are_one_change_and_those_left_alone_are_the_heads(tmp_path: Path) -> None:
    page, note = tmp_path / "page.toml", tmp_path / "note.md"
    page.write_bytes(b"x = 2\r\n")
    note.write_text("Hello")
    head = join_files({"note.md": "Hi\n", "page.toml": "x = 1\n"})
    assert split_files(_completed(head, _read_source((page,)))) == {
        "note.md": "Hi\n", "page.toml": "x = 2\n",
    }  # fmt: skip
    assert split_files(_completed(head, _read_source((page, note)))) == {
        "note.md": "Hello\n", "page.toml": "x = 2\n",
    }  # fmt: skip
    # One script is taken as it is, whatever its file is called.
    script = tmp_path / "mine.txt"
    script.write_text("RATE = 1\n")
    assert _completed("RATE = 2\n", _read_source((script,))) == "RATE = 1\n"
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "note.md").write_text("")
    with pytest.raises(UsageError, match="same name"):
        _read_source((note, tmp_path / "more" / "note.md"))
    page.write_text("=== note.md ===\n")
    with pytest.raises(UsageError, match="begin another file"):
        _read_source((page, note))
