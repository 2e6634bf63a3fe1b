"""A page that others than this machine's users can read: only on request, and never unnoticed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from node.cli.options import warn_of_public_page
from node.config import Config, make_config
from node.errors import UsageError
from node.home import Home
from node.web.service import WebConfig, listen
from tests.node.cli.helpers import run


def told(capsys: pytest.CaptureFixture[str], home: Path, **flags: object) -> str:
    warn_of_public_page(make_config(Home(home).config, {"web": True, **flags}))
    captured = capsys.readouterr()
    assert not captured.out
    return captured.err


def test_only_an_address_beyond_loopback_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for host in ("127.0.0.1", "127.0.0.7", "::1"):
        assert told(capsys, tmp_path, web_host=host) == ""
    for host in ("0.0.0.0", "::", "192.0.2.7"):  # noqa: S104 - what the warning is for
        warning = told(capsys, tmp_path, web_host=host, web_port=8421)
        assert warning.startswith(f"warning: everyone who reaches {host} port 8421 can read")
        assert "there is no login" in warning
    assert told(capsys, tmp_path, web=False, web_host="192.0.2.7") == ""
    with pytest.raises(UsageError, match="not an IP address"):
        told(capsys, tmp_path, web_host="localhost")


def test_nobody_else_reaches_the_page_unless_asked(tmp_path: Path) -> None:
    config = make_config(Home(tmp_path).config, {"web": True})
    assert config.web_host == "127.0.0.1"
    with listen(WebConfig(port=0)) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize("command", ["join", "leaderboard"])
def test_the_commands_warn_before_they_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    started: list[str] = []

    def start(_home: Home, config: Config, *, announce: Callable[[str], None]) -> None:
        announce("a node")
        started.append(config.web_host)

    monkeypatch.setattr("node.main.run_until_signalled", start)
    monkeypatch.setattr("node.logs.set_up_logging", lambda _path: None)
    done = run(command, "--home", str(tmp_path), "--web-host", "192.0.2.7",
               *(["--web"] if command == "join" else []))  # fmt: skip
    assert "192.0.2.7 port 8420" in done.stderr
    assert started == ["192.0.2.7"]
