"""A node on a machine where no sandbox works takes part, runs nothing, and says why and what to do.

The machine is made by a system call filter that refuses Landlock, as an old kernel does, and a PATH
without bubblewrap.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from node.home import Home
from tests.e2e.peers import peer_of
from tests.e2e.processes import ROOT, NodeProcess, cli, command, environment, until

pytestmark = [pytest.mark.e2e, pytest.mark.sandbox]

BARE_MACHINE = """
import errno, os, struct, sys
sys.path.insert(0, os.getcwd())
from trainer.confinement.kernel import install_filter
from trainer.confinement.sysno import NUMBERS
number = NUMBERS[os.uname().machine]["landlock_create_ruleset"]
install_filter(b"".join(struct.pack("=HBBI", *i) for i in (
    (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | errno.ENOSYS),
    (0x06, 0, 0, 0x7FFF0000))))
os.environ["PATH"] = "/nonexistent"
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def on_bare_machine(*arguments: str) -> list[str]:
    return [sys.executable, "-c", BARE_MACHINE, *command(*arguments)[1:]]


class BareNode(NodeProcess):
    """A node on the bare machine."""

    def command(self, *arguments: str) -> list[str]:
        return on_bare_machine(*arguments)


async def test_a_node_without_a_sandbox_takes_part_and_runs_nothing(
    home: Home, tmp_path: Path
) -> None:
    node = BareNode(home)
    try:
        node.start()
        await until(lambda: bool(node.status()["sandbox_problem"]), "the finding", node)
        status = node.status()
        assert status["sandbox"] == ""
        assert status["role"] == "observer"
        for words in ("no sandbox is usable", "bubblewrap", "landlock"):
            assert words in status["sandbox_problem"]

        # It takes part: what a peer publishes is checked, kept and served.
        async with peer_of(node.address, 300, tmp_path) as author:
            identity = await author.propose(author.offer(b"raise SystemExit"), "hostile")
            await until(lambda: identity in node.stored(), "the hypothesis", node)
        # It runs nothing, not even the genesis script: there is no worker below it.
        assert node.status()["worker"]["state"] == "starting"
        assert node.status()["worker"]["busy_s"].get("verifying", 0) == 0
        children = Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text(encoding="ascii")
        assert children.split() == []

        told = cli("status", "--home", str(home.root))
        assert told.code == 5
        assert "no sandbox is usable" in told.out
        assert "Traceback" not in node.errors
        assert "swarm-node doctor" in node.errors + home.log.read_text(encoding="utf-8")
    finally:
        node.clean_up()


def test_the_doctor_gives_the_exact_remedy(tmp_path: Path) -> None:
    done = subprocess.run(
        on_bare_machine("doctor", "--home", str(tmp_path / "home"), "--json"),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 5, done.stderr
    findings = {item["subject"]: item for item in json.loads(done.stdout)}
    assert findings["sandbox bubblewrap"]["grade"] == "problem"
    assert "apt-get install bubblewrap" in findings["sandbox bubblewrap"]["remedy"]
    assert "Landlock version is none" in findings["sandbox landlock"]["text"]
    assert "Linux 6.2 or newer" in findings["sandbox landlock"]["remedy"]
    assert findings["sandbox"]["text"] == "none works, so no script of others runs here"


def test_a_run_by_hand_is_refused_too(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("print('ran')", encoding="ascii")
    done = subprocess.run(
        on_bare_machine("run-task", str(script)),
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "no sandbox is usable" in done.stderr
    assert "ran" not in done.stdout
