"""Completion: the scripts of the shells, and what they are answered, from bash itself."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.node.cli.helpers import run

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(shell: str) -> None:
    done = run("completion", shell)
    assert done.exception is None
    assert f"_SWARM_NODE_COMPLETE={shell}_complete" in done.stdout
    assert "%(" not in done.stdout


def test_another_shell_is_refused() -> None:
    assert run("completion", "tcsh").exception is not None


def test_bash_completes_commands_options_and_values(tmp_path: Path) -> None:
    program = tmp_path / "swarm-node"
    program.write_text(f'#!/bin/sh\ncd "{ROOT}" && exec "{sys.executable}" -m node "$@"\n')
    program.chmod(0o755)
    script = run("completion", "bash").stdout
    asking = """
ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
  _swarm_node_completion swarm-node 2>/dev/null; echo "${COMPREPLY[*]}"; }
ask swarm-node lin
ask swarm-node completion ""
ask swarm-node status --js
ask swarm-node service inst
ask swarm-node join --agent off
"""
    done = subprocess.run(
        ["/bin/bash", "--norc", "-c", f"{script}\n{asking}"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "lineage", "bash fish zsh", "--json", "install", "offline",
    ]  # fmt: skip


def test_completing_a_command_imports_none() -> None:
    code = (
        "import sys; from node.cli.main import cli, main\n"
        "import os; os.environ['_SWARM_NODE_COMPLETE'] = 'bash_complete'\n"
        "os.environ['COMP_WORDS'] = 'swarm-node s'; os.environ['COMP_CWORD'] = '1'\n"
        "try:\n    main([])\nexcept SystemExit:\n    pass\n"
        "print(sorted(n for n in sys.modules if n.startswith('node.cli.')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    words = done.stdout.split()
    assert "plain,status" in words
    assert done.stdout.splitlines()[-1] == "['node.cli.main']"
