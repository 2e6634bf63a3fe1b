from pathlib import Path

import pytest

from node.config import Config, expand_bootstrap, make_config, read_config
from node.errors import ConfigError, NodeError
from node.home import Home, find_home


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('workers = 3\nlisten = "/ip4/0.0.0.0/tcp/4001"\nbootstrap = ["a", "b"]\n')
    config = make_config(path, {"workers": 2, "listen": None, "bootstrap": ()})
    assert config == Config(workers=2, listen="/ip4/0.0.0.0/tcp/4001", bootstrap=("a", "b"))
    assert make_config(tmp_path / "none.toml", {}) == Config()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("wrokers = 2", "unknown setting 'wrokers'"),
        ("workers = 0", "between 1 and"),
        ("workers = true", "whole number"),
        ('workers = "2"', "whole number"),
        ('bootstrap = "x"', "list of addresses"),
        ('sandbox = "none"', "one of auto"),
        ("listen = 3", "must be text"),
        ("workers =", "config.toml"),
        ("\x00", "config.toml"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_config(path)


def test_bootstrap_addresses_can_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "address"
    path.write_text("/ip4/127.0.0.1/tcp/1/p2p/x\n/ip4/127.0.0.1/tcp/2/p2p/y\n")
    assert expand_bootstrap(("a", f"@{path}")) == (
        "a", "/ip4/127.0.0.1/tcp/1/p2p/x", "/ip4/127.0.0.1/tcp/2/p2p/y",
    )  # fmt: skip
    path.write_text("")
    with pytest.raises(ConfigError, match="no address yet"):
        expand_bootstrap((f"@{path}",))
    with pytest.raises(ConfigError, match="cannot read"):
        expand_bootstrap((f"@{tmp_path / 'none'}",))


def test_the_home_is_the_flag_then_the_environment_then_xdg(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "env"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert find_home(tmp_path / "flag").root == tmp_path / "flag"
    assert find_home(None).root == tmp_path / "env"
    monkeypatch.delenv("SWARM_HOME")
    assert find_home(None).root == tmp_path / "xdg" / "swarm-node"


def test_a_home_too_deep_for_a_socket_gets_a_short_one(tmp_path: Path) -> None:
    deep = Home(tmp_path / ("x" * 120))
    assert len(str(deep.control)) < 100
    assert Home(Path("/h")).control == Path("/h/control.sock")


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NodeError, match="cannot create"):
        Home(tmp_path / "file" / "home").create()
