"""Units of systemd and launchd: what they say, and that nothing is replaced or started unasked."""

import os
import plistlib
import shlex
import sys
from pathlib import Path

import click
import pytest

from node.errors import NodeError, UsageError
from node.service_unit import launchd_plist, manager_of, service_file, systemd_unit
from tests.node.cli.helpers import run

NASTY = ["/opt/my node/bin/swarm-node", "join", "--home", '/home/ü/100% $HOME "q"\\']


def unquoted(text: str) -> list[str]:
    """Words of an ExecStart line, as systemd.service(5) reads them."""
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(text)]


def test_systemd_gets_exactly_the_command() -> None:
    text = systemd_unit(NASTY, Path("/home/ü/100% swarm"))
    settings = dict(line.split("=", 1) for line in text.splitlines() if line[:1].isupper())
    assert unquoted(settings["ExecStart"]) == NASTY
    assert settings["EnvironmentFile"] == "-/home/ü/100%% swarm/environment"
    assert settings["RestartPreventExitStatus"] == "2"
    assert settings["WantedBy"] == "default.target"
    assert text.endswith("\n")


def test_launchd_gets_exactly_the_command(tmp_path: Path) -> None:
    value = plistlib.loads(launchd_plist(NASTY, tmp_path).encode())
    assert value["ProgramArguments"] == NASTY
    assert value["RunAtLoad"] is True
    assert value["Label"] == "org.swarm-node.node"
    places = (value["WorkingDirectory"], value["StandardErrorPath"], value["StandardOutPath"])
    there = (tmp_path, tmp_path / "Library/Logs")
    assert all(Path(place) in there or Path(place).parent in there for place in places), (
        "directories that exist before the node's first start"
    )


def test_each_system_has_its_place_and_its_commands(tmp_path: Path) -> None:
    assert (manager_of("linux"), manager_of("darwin"), manager_of("win32")) == (
        "systemd", "launchd", None,
    )  # fmt: skip
    for manager, ending in (("systemd", ".service"), ("launchd", ".plist")):
        file = service_file(
            "systemd" if manager == "systemd" else "launchd",
            command=["x"], home=tmp_path, user_home=tmp_path,
        )  # fmt: skip
        assert file.path.suffix == ending
        assert file.path.is_relative_to(tmp_path)
        assert file.starting
        assert file.removing
        assert not any("sudo" in line for line in (*file.starting, *file.removing))


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person who is not root, on Linux, with an empty home."""
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_it_writes_once_and_replaces_nothing_unasked(user: Path) -> None:
    unit = user / ".config/systemd/user/swarm-node.service"
    home = str(user / "swarm")
    done = run("service", "install", "--home", home, "--", "--web", "--workers", "2")
    assert done.exception is None
    assert f"wrote {unit}" in done.output
    assert "systemctl --user enable --now swarm-node.service" in done.output
    assert f"--home {home} --web --workers 2\n" in unit.read_text()
    assert list(unit.parent.iterdir()) == [unit]
    again = run("service", "install", "--home", home, "--", "--web", "--workers", "2")
    assert "says so already" in again.output

    other = run("service", "install", "--home", home)
    assert isinstance(other.exception, NodeError)
    assert "--yes replaces it" in str(other.exception)
    assert "--web" in unit.read_text()
    assert run("service", "install", "--home", home, "--yes").exception is None
    assert "--web" not in unit.read_text()
    assert not (user / "swarm").exists(), "the node's home is the node's to make"


def test_print_writes_nothing_and_serves_root_too(
    user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    shown = run("service", "install", "--print", "--manager", "launchd", "--home", str(user / "s"))
    assert plistlib.loads(shown.output.encode())["ProgramArguments"][-3:] == [
        "join", "--home", str(user / "s"),
    ]  # fmt: skip
    refused = run("service", "install")
    assert isinstance(refused.exception, UsageError)
    assert "no service of root's" in str(refused.exception)
    assert list(user.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nonsense"], "No such option"),
        (["--workers", "none"], "not a valid integer"),
        (["--home", "/x"], "--home before"),
        (["--bootstrap", "a\nExecStart=/bin/sh"], "line break"),
    ],
)
def test_what_join_would_refuse_is_refused_now(
    user: Path, arguments: list[str], words: str
) -> None:
    done = run("service", "install", "--print", "--", *arguments)
    assert isinstance(done.exception, click.UsageError | UsageError)
    message = getattr(done.exception, "message", str(done.exception))
    assert words in message


def test_another_platform_is_told(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "freebsd14")
    done = run("service", "install", "--print")
    assert isinstance(done.exception, UsageError)
    assert "--manager" in str(done.exception)
