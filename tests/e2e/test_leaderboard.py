"""The read-only peer beside a working node: it shows the same and signs only its presence."""

import json
import signal
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from node.founding import load_genesis
from node.home import Home
from node.identity import load_or_create_identity
from node.store import RecordStore
from protocol.envelope import open_envelope
from tests.e2e.processes import ROOT, STOP_TIMEOUT_S, cli, command, environment, running, until

pytestmark = pytest.mark.e2e

EVERYWHERE = "0.0.0.0"  # noqa: S104 - the flag that the warning is about


def open_url(url: str) -> Any:
    return urllib.request.urlopen(url, timeout=10)  # noqa: S310 - our own address


def get(url: str) -> Any:
    with open_url(url) as answer:
        return json.load(answer)


class LeaderboardProcess:
    """`swarm-node leaderboard`, once it has said where its page is."""

    def __init__(self, *arguments: str, directory: Path) -> None:
        self.process = subprocess.Popen(
            command("leaderboard", "--web-port", "0", *arguments),
            cwd=ROOT,
            env={**environment(), "TMPDIR": str(directory)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = ""
        for line in self.process.stdout:
            if line.startswith("http://"):
                self.url = line.strip()
                break
        assert self.url, self.process.communicate()[1]

    def state(self) -> Any:
        return get(f"{self.url}api/v1/state")

    def clean_up(self) -> None:
        """Leave nothing running or open, whatever the test did."""
        self.process.kill()
        with self.process:
            pass

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=STOP_TIMEOUT_S)
        return self.process.returncode


async def test_a_leaderboard_shows_what_the_swarm_knows_and_adds_nothing_to_it(
    home: Home, tmp_path: Path
) -> None:
    watching = Home(tmp_path / "watching")
    with running(home, "--web", "--web-port", "0") as founder:
        board = LeaderboardProcess(
            "--bootstrap", f"@{home.address}", "--home", str(watching.root), directory=tmp_path
        )
        try:
            await until(lambda: founder.status()["hypotheses"]["proposed"] >= 2, "work", founder)
            founder.finish()
            await until(lambda: founder.status()["worker"]["state"] == "finished", "rest", founder)
            await until(
                lambda: board.state()["records"] == founder.status()["records"], "all records"
            )
            await until(
                lambda: (
                    board.state()["counts"]["proposed"]
                    == founder.status()["hypotheses"]["proposed"]
                ),
                "all hypotheses",
            )
            state = board.state()
            assert state["head"]["id"] == founder.status()["head"]["id"]
            assert state["node"]["role"] == "observer"
            await until(lambda: any(peer["device"] for peer in board.state()["peers"]), "a peer")
            assert founder.status()["members"] == 1, "an observer asks for no membership"
            newest = get(f"{board.url}api/v1/hypotheses?limit=1")["items"][0]["id"]
            await until(
                lambda: get(f"{board.url}api/v1/entries/{newest}/diff")["available"], "a diff"
            )
            maps = Path(f"/proc/{board.process.pid}/maps").read_text(encoding="utf-8")
            assert "torch" not in maps

            with open_url(f"{board.url}api/v1/events"):
                assert board.end() == 0, "a follower must not hold it up"
        finally:
            board.clean_up()
    own = load_or_create_identity(watching.key).public
    store = RecordStore(watching.database, read_only=True)
    genesis = load_genesis(store)
    assert genesis is not None
    authors = {open_envelope(item, swarm=genesis.id).author for item in store if item}
    store.close()
    assert own not in authors


def test_without_a_home_it_leaves_nothing_behind(home: Home, tmp_path: Path) -> None:
    directory = tmp_path / "temporary"
    directory.mkdir()
    with running(home, "--agent", "none") as founder:
        board = LeaderboardProcess("--bootstrap", founder.address, directory=directory)
        try:
            assert list(directory.glob("swarm-leaderboard-*"))
            assert board.end() == 0
        finally:
            board.clean_up()
    assert list(directory.glob("swarm-leaderboard-*")) == []


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    cli("leaderboard").refuses(2, "--bootstrap ADDRESS")
    arguments = ("leaderboard", "--bootstrap", "/ip4/127.0.0.1/tcp/1/p2p/x")
    cli(*arguments, "--web-host", "example.org").refuses(2, "--web-host", "not an IP address")
    public = cli(*arguments, "--web-host", EVERYWHERE)
    assert f"everyone who reaches {EVERYWHERE}" in public.err
    assert list(tmp_path.iterdir()) == []
