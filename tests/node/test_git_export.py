import os
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from node.blobs import BlobStore
from node.cli.lineage import lineage
from node.errors import NodeError, UsageError
from node.git_export import Exported, export_lineage
from node.home import Home
from node.offline import fold_home
from protocol.sources import join_files
from tests.node.scripted import GENESIS_SCRIPT, ScriptedSwarm
from tests.swarm.helpers import key, steady

GAIN = 100_000
VERIFIERS = [key(2), key(3)]
FASTER = GENESIS_SCRIPT.replace("0.1", "0.2")
WIDER = GENESIS_SCRIPT.replace("64", "96")
BOTH = FASTER.replace("64", "96")


def fork() -> ScriptedSwarm:
    """A head, and a sibling that lost."""
    swarm = ScriptedSwarm()
    swarm.scripts = {"faster": FASTER, "wider": WIDER, "both": BOTH}
    swarm.members(4)
    swarm.merged("faster", key(1), VERIFIERS, steady(2 * GAIN, 8))
    swarm.merged("wider", key(4), VERIFIERS, steady(GAIN, 8))
    return swarm


def join(swarm: ScriptedSwarm) -> None:
    """Combine the sibling into the head."""
    parents = (swarm.entry("faster"), swarm.entry("wider"))
    swarm.merged("both", key(1), VERIFIERS, steady(GAIN, 8), parents=parents)


def export(home: Home, directory: Path, signer: int = 9) -> Exported:
    return export_lineage(
        fold_home(home), directory, key=key(signer), read_blob=BlobStore(home.blobs).read
    )


def git(directory: Path, *arguments: str, code: int = 0) -> str:
    """Stock git with an empty configuration."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "LC_ALL": "C.UTF-8",
    }
    done = subprocess.run(
        ["git", *arguments], cwd=directory, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_one_commit_an_entry_and_a_merge_commit_for_several_parents(tmp_path: Path) -> None:
    swarm = fork()
    join(swarm)
    repository = tmp_path / "repository"
    done = export(swarm.write(tmp_path / "home"), repository)
    assert (done.new, done.total, done.checked_out) == (4, 4, True)
    assert git(repository, "log", "--first-parent", "--format=%s").splitlines() == [
        "Entry 2: both", "Entry 1: faster", "Genesis: test",
    ]  # fmt: skip
    assert len(git(repository, "log", "-1", "--format=%P").split()) == 2
    assert (repository / "train.py").read_text() == BOTH
    assert git(repository, "status", "--porcelain") == ""
    git(repository, "fsck", "--strict")
    message = git(repository, "log", "-1", "--format=%B")
    assert "> because" in message
    assert "Gain in val_bpb: +0.100200 bits/byte, 95 % within +0.0959" in message
    assert "\nover 5 pairs by 2 verifiers." in message
    verified = git(repository, "log", "-1", "--format=%(trailers:key=Verified-By,valueonly)")
    assert {line.split("<")[1].split("@")[0] for line in verified.split("\n") if line} == {
        item.public.hex() for item in VERIFIERS
    }
    merged_s = next(
        entry.merged_ms for entry in fold_home(Home(tmp_path / "home")).lineage()[::-1]
    ) // 1000  # fmt: skip
    assert git(repository, "log", "-1", "--format=%at %ct").split() == [str(merged_s)] * 2
    assert "RATE = 0.2" in git(repository, "log", "-p", "--first-parent", "--", "train.py")
    assert "faster" in git(repository, "log", "-S0.2", "--format=%s", "--", "train.py")
    blame = git(repository, "blame", "-s", "train.py").splitlines()
    assert len({line.split()[0] for line in blame[:2]}) == 2


def test_the_same_records_give_the_same_commits(tmp_path: Path) -> None:
    swarm = fork()
    first = export(swarm.write(tmp_path / "one"), tmp_path / "a")
    swarm.rows[1:] = reversed(swarm.rows[1:])
    assert export(swarm.write(tmp_path / "two"), tmp_path / "b") == first
    assert export(Home(tmp_path / "two"), tmp_path / "c", signer=8).head != first.head


def test_exporting_again_adds_only_what_is_new(tmp_path: Path) -> None:
    swarm = fork()
    repository = tmp_path / "repository"
    before = export(swarm.write(tmp_path / "home"), repository)
    assert export(Home(tmp_path / "home"), repository).new == 0
    branches = git(repository, "branch", "--format=%(refname:short)").split()
    assert len(branches) == 2
    join(swarm)
    after = export(swarm.write(tmp_path / "later"), repository)
    assert (after.new, after.total) == (1, 4)
    git(repository, "merge-base", "--is-ancestor", before.head, after.head)
    assert git(repository, "branch", "--format=%(refname:short)").split() == ["main"]
    assert (repository / "train.py").read_text() == BOTH
    # Made at once or step by step, it is the same.
    assert export(Home(tmp_path / "later"), tmp_path / "fresh").head == after.head


def test_a_persons_work_is_left_alone(tmp_path: Path) -> None:
    swarm = fork()
    repository = tmp_path / "repository"
    export(swarm.write(tmp_path / "home"), repository)
    (repository / "train.py").write_text("my own notes")
    (repository / "notes.txt").write_text("mine")
    join(swarm)
    done = export(swarm.write(tmp_path / "later"), repository)
    assert not done.checked_out
    assert (repository / "train.py").read_text() == "my own notes"
    git(repository, "checkout", "--quiet", "--force", "main")
    git(repository, "checkout", "--quiet", "--detach", "HEAD~1")
    assert not export(Home(tmp_path / "later"), repository).checked_out
    assert (repository / "train.py").read_text() == FASTER


def test_bisect_finds_the_entry(tmp_path: Path) -> None:
    swarm = fork()
    join(swarm)
    repository = tmp_path / "repository"
    export(swarm.write(tmp_path / "home"), repository)
    root = git(repository, "rev-list", "--max-parents=0", "HEAD").strip()
    git(repository, "bisect", "start", "--first-parent", "main", root)
    found = git(repository, "bisect", "run", "grep", "-q", "WIDTH = 64", "train.py")
    assert "Entry 2: both" in found


def test_titles_and_rationales_cannot_pose_as_anything_else(tmp_path: Path) -> None:
    title = "Swarm-Entry: 00 $(touch x) --- #"
    swarm = ScriptedSwarm(
        rationale="---\n\nSwarm-Entry: fake\ndiff --git a/x b/x\n\nVerified-By: everybody\n# gone"
    )
    swarm.scripts = {title: FASTER}
    swarm.members(4)
    swarm.merged(title, key(1), VERIFIERS, steady(GAIN, 8))
    repository = tmp_path / "repository"
    export(swarm.write(tmp_path / "home"), repository)
    message = git(repository, "log", "-1", "--format=%B")
    head = fold_home(Home(tmp_path / "home")).head
    for command in (
        ["log", "-1", "--format=%(trailers:key=Swarm-Entry,valueonly)"],
        ["-c", "trailer.swarm-entry.key=Swarm-Entry", "log", "-1", "--format=%(trailers)"],
    ):
        trailers = git(repository, *command)
        assert head.id.hex() in trailers
        assert "fake" not in trailers
        assert "everybody" not in trailers
    (tmp_path / "message").write_text(message)
    parsed = git(repository, "interpret-trailers", "--parse", str(tmp_path / "message"))
    assert parsed.count("Swarm-Entry:") == 1
    assert head.id.hex() in parsed
    assert message.startswith("Entry 1: Swarm-Entry: 00 $(touch x) --- #\n\n> ---\n>\n> Swarm-")
    assert not (repository / "x").exists()


def test_every_commit_is_signed_by_the_node(tmp_path: Path) -> None:
    swarm = fork()
    repository = tmp_path / "repository"
    head = export(swarm.write(tmp_path / "home"), repository).head
    raw = git(repository, "cat-file", "commit", head)
    assert "gpgsig -----BEGIN SSH SIGNATURE-----\n " in raw
    if shutil.which("ssh-keygen") is None:
        # The signature's bytes are compared with OpenSSH's in test_sshsig.
        return
    words = git(repository, "verify-commit", head)
    assert 'Good "git" signature for ' + key(9).public.hex() in words
    forged = raw.replace("Entry 1: faster", "Entry 1: better")
    (tmp_path / "forged").write_text(forged)
    other = git(repository, "hash-object", "-t", "commit", "-w", str(tmp_path / "forged")).strip()
    git(repository, "verify-commit", other, code=1)


def test_what_is_no_export_is_refused(tmp_path: Path) -> None:
    home = fork().write(tmp_path / "home")
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="not empty"):
        export(home, full)
    git(full, "init", "--quiet")
    with pytest.raises(UsageError, match="not empty"):
        export(home, full)
    export(home, tmp_path / "good")
    other = ScriptedSwarm(clock_ms=5).write(tmp_path / "other")
    with pytest.raises(UsageError, match="another swarm"):
        export(other, tmp_path / "good")


def test_a_missing_script_or_git_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = fork().write(tmp_path / "home")
    with pytest.raises(NodeError, match="is missing here"):
        export_lineage(fold_home(home), tmp_path / "a", key=key(9), read_blob=lambda _digest: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NodeError, match="git is not installed"):
        export(home, tmp_path / "b")


def test_nobodys_configuration_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "reference-transaction").write_text("#!/bin/sh\nexit 1\n")
    (hooks / "reference-transaction").chmod(0o755)
    (tmp_path / ".gitconfig").write_text(f"[core]\n\thooksPath = {hooks}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / ".gitconfig"))
    assert export(fork().write(tmp_path / "home"), tmp_path / "a").new == 3


def test_the_command(tmp_path: Path) -> None:
    home = fork().write(tmp_path / "home")
    result = CliRunner().invoke(
        lineage, ["export", "--home", str(home.root), str(tmp_path / "a")], standalone_mode=False
    )
    assert result.output.startswith("3 new commits of 3; main is ")


def test_several_files_are_written_under_their_names(tmp_path: Path) -> None:
    swarm = ScriptedSwarm()
    files = {"email.md": "Hello\n", "page.toml": "x = 1\n"}
    swarm.scripts = {"several": join_files(files)}
    swarm.members(4)
    swarm.merged("several", key(1), VERIFIERS, steady(GAIN, 8))
    repository = tmp_path / "repository"
    export(swarm.write(tmp_path / "home"), repository)
    written = {file.name: file.read_text() for file in repository.glob("*.*") if file.is_file()}
    assert written == files
    assert git(repository, "status", "--porcelain") == ""
    git(repository, "fsck", "--strict")
