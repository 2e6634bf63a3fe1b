"""The lineage as a git repository: one signed commit an entry, for stock tools to read.

Every commit is written as its exact bytes (`git hash-object`), so that the same records give the
same commit ids on every machine. The author of a commit is the hypothesis's author, its date the
merge's; committer and signature are this node's. `main` is the path to the head; the tips of other
branches are `branch/ID`; `refs/swarm/entry/ID` finds the commit of an entry, and an entry that was
exported before keeps its commit, whatever evidence came later.

Titles and rationales come from peers. The title stands behind a prefix of ours and the rationale
is quoted line by line, so that neither can pose as a trailer, a patch or a comment; text fields
hold no control characters (`protocol.schema`). git runs without anybody's configuration, hooks or
filters.
"""

import contextlib
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.errors import NodeError, UsageError
from node.merge3 import git_environment
from node.sshsig import allowed_signer, sign_ssh
from protocol.keys import SigningKey
from protocol.records import Hypothesis
from protocol.sources import SourcesError, holds_files, split_files
from swarm.hypotheses import HypothesisView
from swarm.ledger import Ledger
from swarm.lineage import Entry

SIGNERS_FILE: Final = ".swarm/allowed_signers"
"""In every commit's tree, and named by the repository's configuration."""

SCRIPT_FILE: Final = "train.py"

_MARK: Final = "swarm.id"
"""The repository's setting that binds it to one swarm."""

_GIT_TIMEOUT_S: Final = 60.0
_VERSION_MIN: Final = (2, 34)
"""git verifies SSH signatures since this version."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did.

    Attributes:
        new: Commits that were written now.
        total: Entries that have a commit.
        head: The commit of the head.
        checked_out: Whether the working tree shows the head; it is left alone when a person has
            changed it or looks at another commit.
    """

    new: int
    total: int
    head: str
    checked_out: bool


def export_lineage(
    ledger: Ledger,
    directory: Path,
    *,
    key: SigningKey,
    read_blob: Callable[[bytes], bytes | None],
) -> Exported:
    """Write the lineage into a repository, or add to one what is new.

    Args:
        ledger: The state.
        directory: A new or empty directory, or an earlier export of this swarm.
        key: Signs the commits.
        read_blob: The bytes of a script, None when it is missing here.

    Raises:
        UsageError: The directory holds something else.
        NodeError: A script is missing, or git is missing or failed.
    """
    git = _Git(directory)
    _prepare(git, ledger.swarm)
    known = git.refs("refs/swarm/entry/")
    clean = git.is_untouched()
    signers = git.write_blob(allowed_signer(_email(key.public), key.public).encode())
    views = {item.id: item for item in ledger.hypotheses()}
    new = 0
    for entry in _parents_first(ledger.entries):
        if entry.id.hex() in known:
            continue
        data = read_blob(entry.source)
        if data is None:
            raise NodeError(f"the script of entry {entry.id.hex()[:16]} is missing here")
        view = None if entry.hypothesis is None else views[entry.hypothesis]
        parents = [known[parent.hex()] for parent in entry.parents]
        tree = git.write_tree(data, signers)
        commit = git.write_commit(_commit(tree, parents, entry, view, ledger=ledger, key=key))
        git.run("update-ref", f"refs/swarm/entry/{entry.id.hex()}", commit)
        known[entry.id.hex()] = commit
        new += 1
    head = known[ledger.head.id.hex()]
    _point_branches(git, ledger, known)
    if clean:
        git.run("read-tree", "--reset", "-u", head)
    return Exported(new, len(ledger.entries), head, checked_out=clean)


def _prepare(git: "_Git", swarm: bytes) -> None:
    """Make the repository, or see that it is an earlier export of this swarm."""
    directory = git.directory
    git.require_version()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        empty = not any(directory.iterdir())
    except OSError as error:
        raise UsageError(f"cannot write {directory}: {error.strerror}") from error
    if empty:
        git.run("init", "--quiet", "--initial-branch=main", "--template=", ".")
        for name, value in (
            (_MARK, swarm.hex()),
            ("gpg.ssh.allowedSignersFile", SIGNERS_FILE),
            ("gpg.format", "ssh"),
        ):
            git.run("config", name, value)
        return
    if not (directory / ".git").is_dir() or git.config(_MARK) is None:
        raise UsageError(f"{directory} is not empty and no earlier export; choose another one")
    if git.config(_MARK) != swarm.hex():
        raise UsageError(f"{directory} is an export of another swarm; choose another one")


def _parents_first(entries: Mapping[bytes, Entry]) -> list[Entry]:
    """All entries, each after all of its parents."""
    placed: dict[bytes, Entry] = {}
    waiting = sorted(entries.values(), key=lambda entry: (entry.depth, entry.id))
    while waiting:
        ready = [item for item in waiting if all(parent in placed for parent in item.parents)]
        assert ready, "entries hang together with the root"
        placed.update((item.id, item) for item in ready)
        waiting = [item for item in waiting if item.id not in placed]
    return list(placed.values())


def _point_branches(git: "_Git", ledger: Ledger, known: Mapping[str, str]) -> None:
    """`main` to the head, one branch to every other tip, and none to what is no tip any more."""
    inner = {parent for entry in ledger.entries.values() for parent in entry.parents}
    tips = set(ledger.entries) - inner - {ledger.head.id}
    wanted = {f"branch/{identity.hex()[:16]}": known[identity.hex()] for identity in tips}
    for name in git.refs("refs/heads/branch/"):
        if f"branch/{name}" not in wanted:
            git.run("update-ref", "-d", f"refs/heads/branch/{name}")
    for name, commit in sorted(wanted.items()):
        git.run("update-ref", f"refs/heads/{name}", commit)
    git.run("update-ref", "refs/heads/main", known[ledger.head.id.hex()])


# -- the bytes of a commit ----------------------------------------------------------------------


def _commit(
    tree: str,
    parents: Sequence[str],
    entry: Entry,
    view: HypothesisView | None,
    *,
    ledger: Ledger,
    key: SigningKey,
) -> bytes:
    """A commit object, signed."""
    seconds = entry.merged_ms // 1000
    headers = [
        f"tree {tree}",
        *(f"parent {parent}" for parent in parents),
        f"author {_person(entry.author)} {seconds} +0000",
        f"committer {_person(key.public)} {seconds} +0000",
    ]
    message = _message(entry, view, ledger)
    unsigned = "\n".join([*headers, "", message])
    signature = sign_ssh(key, unsigned.encode()).rstrip("\n").replace("\n", "\n ")
    return "\n".join([*headers, f"gpgsig {signature}", "", message]).encode()


def _person(public: bytes) -> str:
    return f"node {public.hex()[:8]} <{_email(public)}>"


def _email(public: bytes) -> str:
    return f"{public.hex()}@swarm-node.invalid"


def _message(entry: Entry, view: HypothesisView | None, ledger: Ledger) -> str:
    """Subject, quoted rationale, evidence in words, and trailers."""
    if view is None:
        paragraphs = [
            f"Genesis: {ledger.genesis_body.name}",
            f"Task {ledger.genesis_body.task.name}, tier {ledger.genesis_body.tier}.",
        ]
        trailers = [("Swarm-Entry", entry.id.hex()), ("Swarm-Id", ledger.swarm.hex())]
    else:
        paragraphs = [
            f"Entry {entry.depth}: {entry.title}",
            "\n".join(f"> {line}".rstrip() for line in view.body.rationale.split("\n")),
            _evidence(entry, ledger),
        ]
        trailers = _trailers(entry, view.body, ledger)
    block = "\n".join(f"{name}: {value}" for name, value in trailers)
    return "\n\n".join([*(item for item in paragraphs if item.strip("> \n")), block]) + "\n"


def _evidence(entry: Entry, ledger: Ledger) -> str:
    """The measured gain with its interval, as it stood when the commit was written."""
    metric = ledger.metric
    if entry.gain_micro is None:
        return "Nothing was measured."
    low, high = entry.low_micro, entry.high_micro
    interval = (
        ""
        if low is None or high is None
        else f", 95 % within {low / 1e6:+.6f} .. {high / 1e6:+.6f}"
    )
    by = "its author alone" if entry.self_verified else f"{len(entry.verifiers)} verifiers"
    return (
        f"Gain in {metric.name}: {entry.gain_micro / 1e6:+.6f} {metric.unit}{interval},"
        f"\nover {entry.trials} pairs by {by}."
    )


def _trailers(entry: Entry, body: Hypothesis, ledger: Ledger) -> list[tuple[str, str]]:
    assert entry.hypothesis is not None
    trailers = [
        ("Swarm-Entry", entry.id.hex()),
        ("Swarm-Hypothesis", entry.hypothesis.hex()),
        ("Swarm-Author", entry.author.hex()),
        ("Swarm-Proposer", body.origin.proposer),
        ("Swarm-Source", entry.source.hex()),
    ]
    if entry.gain_micro is not None:
        trailers.append(("Swarm-Gain", f"{entry.gain_micro / 1e6:+.6f}"))
    if entry.metric_micro is not None:
        trailers.append(("Swarm-Metric", f"{entry.metric_micro / 1e6:.6f}"))
    verified = "Self-Verified-By" if entry.self_verified else "Verified-By"
    trailers.extend((verified, _person(verifier)) for verifier in entry.verifiers)
    return [*trailers, ("Swarm-Id", ledger.swarm.hex())]


def _files_of(source: bytes) -> dict[str, bytes]:
    """The files that an entry's source stands for; a source that cannot be read is one file."""
    text = source.decode(errors="replace")
    if holds_files(text):
        with contextlib.suppress(SourcesError):
            return {name: content.encode() for name, content in split_files(text).items()}
    return {SCRIPT_FILE: source}


# -- git ----------------------------------------------------------------------------------------


class _Git:
    """Runs git in one directory, with nobody's configuration but that repository's own.

    Attributes:
        directory: The working tree.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self._environment = git_environment("/nonexistent") | {
            "GIT_DIR": str(self.directory / ".git"),
            "GIT_WORK_TREE": str(self.directory),
        }

    def run(self, *arguments: str, data: bytes = b"") -> bytes:
        """Run a git command; its output.

        Raises:
            NodeError: git is missing or failed.
        """
        code, output, problem = self._start(arguments, data)
        if code != 0:
            raise NodeError(f"git {arguments[0]} failed: {problem}")
        return output

    def _start(self, arguments: Sequence[str], data: bytes = b"") -> tuple[int, bytes, str]:
        command = ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false",
                   "-c", "core.autocrlf=false", "-c", "core.attributesFile=/dev/null",
                   *arguments]  # fmt: skip
        try:
            done = subprocess.run(
                command,
                cwd=self.directory if self.directory.is_dir() else None,
                env=self._environment,
                input=data,
                capture_output=True,
                timeout=_GIT_TIMEOUT_S,
                check=False,
            )
        except FileNotFoundError as error:
            raise NodeError("git is not installed; the lineage cannot be exported") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NodeError(f"git {arguments[0]} failed: {error}") from error
        words = " ".join(done.stderr.decode(errors="replace").split())[:300]
        return done.returncode, done.stdout, words

    def require_version(self) -> None:
        """See that git is here and knows SSH signatures."""
        words = self.run("version").decode(errors="replace").split()
        numbers = [int(part) for part in words[2].split(".")[:2] if part.isdigit()]
        if tuple(numbers) < _VERSION_MIN:
            raise NodeError(
                f"git {words[2]} is too old; {_VERSION_MIN[0]}.{_VERSION_MIN[1]} will do"
            )

    def config(self, name: str) -> str | None:
        """A setting of the repository."""
        code, output, _ = self._start(("config", "--local", "--get", name))
        return output.decode(errors="replace").strip() if code == 0 else None

    def refs(self, prefix: str) -> dict[str, str]:
        """Commits by the rest of their reference's name."""
        output = self.run("for-each-ref", "--format=%(refname) %(objectname)", prefix)
        pairs = (line.split(" ") for line in output.decode().splitlines())
        return {name.removeprefix(prefix): commit for name, commit in pairs}

    def write_blob(self, data: bytes) -> str:
        """Write a blob; its id."""
        return self.run("hash-object", "-w", "--stdin", data=data).decode().strip()

    def write_tree(self, script: bytes, signers: str) -> str:
        """Write the tree of an entry; its id."""
        name = Path(SIGNERS_FILE)
        inner = self.run("mktree", data=f"100644 blob {signers}\t{name.name}\n".encode())
        lines = (f"040000 tree {inner.decode().strip()}\t{name.parent}\n") + "".join(
            f"100644 blob {self.write_blob(content)}\t{file}\n"
            for file, content in _files_of(script).items()
        )
        return self.run("mktree", data=lines.encode()).decode().strip()

    def write_commit(self, data: bytes) -> str:
        """Write a commit object; its id."""
        return self.run("hash-object", "-t", "commit", "-w", "--stdin", data=data).decode().strip()

    def is_untouched(self) -> bool:
        """Whether the working tree shows `main` as it was exported, or nothing yet."""
        code, branch, _ = self._start(("symbolic-ref", "--quiet", "HEAD"))
        if code != 0 or branch.decode().strip() != "refs/heads/main":
            return False
        return self.run("status", "--porcelain", "--untracked-files=no") == b""
