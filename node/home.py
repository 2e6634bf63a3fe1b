"""Where a node keeps its things: one directory, and what is in it.

The directory is `--home`, else `SWARM_HOME`, else `swarm-node` under the XDG data directory.
"""

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.errors import NodeError

_SOCKET_PATH_BYTES_MAX: Final = 100
"""Unix socket paths end at 108 bytes on Linux and 104 on macOS."""


@dataclass(frozen=True, slots=True)
class Home:
    """The paths of one node. Nothing is created by looking at them."""

    root: Path

    @property
    def key(self) -> Path:
        """The identity key, mode 0600."""
        return self.root / "identity.pem"

    @property
    def database(self) -> Path:
        """The SQLite file with every record."""
        return self.root / "records.sqlite"

    @property
    def blobs(self) -> Path:
        """Scripts, task bundles and data, named by their SHA-256."""
        return self.root / "blobs"

    @property
    def config(self) -> Path:
        """Settings that flags and environment variables override."""
        return self.root / "config.toml"

    @property
    def program(self) -> Path:
        """The owner's own research programme, read instead of the task's."""
        return self.root / "program.md"

    @property
    def agent_usage(self) -> Path:
        """What the language model has cost so far."""
        return self.root / "agent-usage.json"

    @property
    def agent_costs(self) -> Path:
        """What each hypothesis of this node has cost to think of."""
        return self.root / "agent-costs.jsonl"

    @property
    def log(self) -> Path:
        """The node's log file."""
        return self.root / "node.log"

    @property
    def trial_logs(self) -> Path:
        """What sandboxed runs printed, for their owner's eyes only."""
        return self.root / "trial-logs"

    @property
    def drafts(self) -> Path:
        """Changes that a person put in and that were not run yet."""
        return self.root / "drafts"

    @property
    def worker_code(self) -> Path:
        """The trainer's code as the sandbox sees it: copied here, named by its hash."""
        return self.root / "worker"

    @property
    def address(self) -> Path:
        """The addresses of the running node, one a line, for others to bootstrap from."""
        return self.root / "address"

    @property
    def lock(self) -> Path:
        """Held by the running node, so that a second one does not start on the same home."""
        return self.root / "lock"

    @property
    def control(self) -> Path:
        """The Unix socket through which the command line asks the running node."""
        path = self.root / "control.sock"
        if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES_MAX:
            return path
        name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"swarm-node-{os.getuid()}" / f"{name}.sock"

    @property
    def transfers(self) -> Path:
        """What replays of the lineage at other scales have measured so far."""
        return self.root / "transfers"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the home's lock, so that nobody else writes its records.

        Raises:
            NodeError: A node, or another command, holds it; or the home cannot be made.
        """
        self.create()
        with self.lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise NodeError(f"a node is already running on {self.root}") from error
            yield

    def create(self) -> None:
        """Make the directory, readable by its owner alone.

        Raises:
            NodeError: It cannot be made.
        """
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.blobs.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise NodeError(f"cannot create {self.root}: {error.strerror}") from error


def find_home(option: Path | None) -> Home:
    """Choose the home directory: the flag, else `SWARM_HOME`, else the XDG place."""
    if option is not None:
        return Home(option.expanduser().absolute())
    if configured := os.environ.get("SWARM_HOME"):
        return Home(Path(configured).expanduser().absolute())
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Home((Path(data) / "swarm-node").expanduser().absolute())
