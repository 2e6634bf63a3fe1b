"""What the commands say beside a running node, beside a stopped one, and where there is none."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from node.home import Home
from tests.e2e.processes import ROOT, Answer, NodeProcess, cli, environment, found

pytestmark = pytest.mark.e2e

HEAVY = ("libp2p", "torch", "anthropic", "trio", "rich")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, tiny_task: Path) -> Home:
    """A founded swarm on which no node runs."""
    return found(Home(tmp_path_factory.mktemp("stopped") / "home"), tiny_task)


def parsed(answer: Answer, code: int = 0) -> Any:
    assert (answer.code, answer.err) == (code, "")
    return json.loads(answer.out)


def test_status(founder: NodeProcess, stopped: Home, tmp_path: Path) -> None:
    at = ("status", "--home", str(founder.home.root))
    value = parsed(cli(*at, "--json"))
    assert value["worker"]["state"] != "stopped"
    assert len(value["node_id"]) == 64
    assert value["sandbox_problem"] == ""
    text = cli(*at)
    assert text.code == 0
    assert value["swarm_id"] in text.out
    assert value["node_id"] in text.out

    at = ("status", "--home", str(stopped.root))
    value = parsed(cli(*at, "--json"), 3)
    assert (value["worker"]["state"], value["records"], value["merges"]) == ("stopped", 1, 0)
    text = cli(*at)
    assert text.code == 3
    assert "stopped" in text.out

    cli("status", "--home", str(tmp_path / "none")).refuses(3, "belongs to no swarm", "init")
    assert not (tmp_path / "none").exists(), "looking has made something"


def test_lineage(founder: NodeProcess, stopped: Home, tmp_path: Path) -> None:
    for home in (founder.home, stopped):
        (genesis,) = parsed(cli("lineage", "--json", "--home", str(home.root)))
        assert (genesis["title"], genesis["parents"], genesis["gain"]) == ("genesis", [], None)
        text = cli("lineage", "--home", str(home.root))
        assert text.code == 0
        assert genesis["id"][:8] in text.out
    cli("lineage", "--home", str(tmp_path / "none")).refuses(3, "belongs to no swarm")


def test_show(founder: NodeProcess, stopped: Home, tmp_path: Path) -> None:
    for home in (founder.home, stopped):
        (genesis,) = parsed(cli("lineage", "--json", "--home", str(home.root)))
        at = ("--home", str(home.root))
        value = parsed(cli("show", genesis["id"][:12], "--json", *at))
        assert (value["kind"], value["id"]) == ("genesis", genesis["id"])
        text = cli("show", genesis["id"][:12], *at)
        assert text.code == 0
        assert genesis["id"] in text.out
        cli("show", "0123456789", *at).refuses(1, "0123456789")
        cli("show", "01", *at).refuses(1, "at least")
    cli("show", "0123456789", "--home", str(tmp_path / "none")).refuses(3, "belongs to no swarm")


def test_who_is_there_and_what_happens(founder: NodeProcess, stopped: Home) -> None:
    at = ("--home", str(founder.home.root))
    assert parsed(cli("peers", "--json", *at)) == []
    assert "swarm-node invite" in cli("peers", *at).out
    told = parsed(cli("top", "--json", *at))
    assert told["snapshot"]["status"]["node_id"] == founder.status()["node_id"]
    screen = cli("top", "--once", *at)
    assert (screen.code, "this node" in screen.out) == (0, True)
    invitation = cli("invite", *at)
    assert invitation.out.startswith(f"swarm-node join --bootstrap={founder.address}")
    assert "this machine alone" in invitation.err
    log = cli("logs", *at)
    assert (log.code, log.err) == (0, "")
    assert f"listening on {founder.address}" in log.out
    tree = cli("lineage", *at)
    assert "◉" in tree.out
    assert "\x1b" not in tree.out + screen.out + log.out
    for command in ("peers", "top", "invite"):
        cli(command, "--home", str(stopped.root)).refuses(3, "no node is running", "status")


def test_paths(founder: NodeProcess, stopped: Home, tmp_path: Path) -> None:
    for home in (founder.home, stopped, Home(tmp_path / "none")):
        value = parsed(cli("paths", "--json", "--home", str(home.root)))
        assert value["home"] == str(home.root)
        assert value["records"] == str(home.database)
        text = cli("paths", "--home", str(home.root))
        assert text.code == 0
        assert all(path in text.out for path in value.values())
        assert ("not there yet" in text.out) == (home is not founder.home or "trial" in text.out)
    assert not (tmp_path / "none").exists()


def test_doctor(founder: NodeProcess, stopped: Home, tmp_path: Path) -> None:
    for home in (founder.home, Home(tmp_path / "none")):
        findings = parsed(cli("doctor", "--json", "--home", str(home.root)))
        assert {finding["grade"] for finding in findings} <= {"ok", "warning"}
        assert {"platform", "sandbox bubblewrap", "records"} <= {
            finding["subject"] for finding in findings
        }
    blob = next(path for path in stopped.blobs.glob("??/*") if path.is_file())
    content = blob.read_bytes()
    blob.write_bytes(content + b"!")
    text = cli("doctor", "--home", str(stopped.root))
    blob.write_bytes(content)
    assert text.code == 5
    assert f"rm {blob}" in text.out


def test_help_imports_nothing_heavy() -> None:
    program = f"""
import sys
from node.cli.main import _COMMANDS, cli
for arguments in [["--help"], *([name, "--help"] for name in _COMMANDS), ["--version"]]:
    assert cli.main(args=arguments, standalone_mode=False) in {{None, 0}}
    heavy = [name for name in {HEAVY!r} if name in sys.modules]
    assert not heavy, (arguments, heavy)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for command in ("init", "join", "demo", "status", "lineage", "show", "doctor"):
        assert f"swarm-node {command}" in done.stdout or f"\n  {command}" in done.stdout


def test_usage_errors() -> None:
    for arguments in (["nonsense"], ["join", "--nonsense"], ["show"], ["init", "--task", "none"]):
        answer = cli(*arguments)
        assert answer.code == 2
        assert "Traceback" not in answer.err
