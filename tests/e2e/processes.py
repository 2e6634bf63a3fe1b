"""Real node processes and the command line, as a user has them."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import trio

from node.control import ask
from node.errors import NodeError, NotRunningError
from node.home import Home
from node.store import RecordStore
from protocol.envelope import peek_id

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 60
POLL_S = 0.05
STOP_TIMEOUT_S = 10
"""A node that is told to stop has ended within this time."""


def environment() -> dict[str, str]:
    """This process's environment without anything else that would set a node up."""
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SWARM_", "ANTHROPIC_"))
    }
    # Several nodes share the machine, so one worker each.
    return own | {"SWARM_WORKERS": "1"}


@dataclass(frozen=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    def refuses(self, code: int, *words: str) -> None:
        """Check for a failure told in one line that holds some words, and no traceback."""
        lines = self.err.strip().splitlines()
        assert self.code == code, (self.code, self.err)
        assert "Traceback" not in self.err
        assert lines, "nothing was said"
        for word in words:
            assert word in lines[-1], (word, self.err)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "node", *arguments]


def cli(*arguments: str, timeout_s: float = 60) -> Answer:
    """Run one command to its end."""
    done = subprocess.run(
        command(*arguments),
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def found(home: Home, task: Path) -> Home:
    """Found a swarm on a task, under the demo's policy."""
    done = cli("init", "--home", str(home.root), "--task", str(task), "--policy", "demo")
    assert done.code == 0, done.err
    return home


class NodeProcess:
    """`swarm-node join` on one home; its stderr is kept outside of it."""

    def __init__(self, home: Home, *arguments: str, errors: Path | None = None) -> None:
        self.home = home
        self.arguments = arguments
        self._errors = errors or home.root.with_name(home.root.name + ".stderr")
        self._process: subprocess.Popen[bytes] | None = None

    def command(self, *arguments: str) -> list[str]:
        """The program that this node is."""
        return command(*arguments)

    def launch(self) -> Self:
        """Start the process without waiting for anything."""
        with self._errors.open("ab") as errors:
            self._process = subprocess.Popen(
                self.command("join", "--home", str(self.home.root), *self.arguments),
                cwd=ROOT,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        return self

    def start(self) -> Self:
        """Start the process and wait until it listens and answers."""
        self.launch()
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            assert self.alive, self.errors
            assert time.monotonic() < deadline_s, "the node did not start in time"
            time.sleep(POLL_S)
        return self

    def _answers(self) -> bool:
        """Whether it answers; the address file may be that of a node that was killed."""
        try:
            self.status()
        except NotRunningError:
            return False
        return self.home.address.exists()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        assert self._process is not None
        return self._process.poll() is None

    @property
    def address(self) -> str:
        return self.home.address.read_text().split()[0]

    @property
    def errors(self) -> str:
        """Everything said on stderr so far."""
        return self._errors.read_text(errors="replace")

    def status(self) -> dict[str, Any]:
        """What `status --json` prints, asked directly."""
        value = ask(self.home.control, "status")
        assert isinstance(value, dict)
        return value

    def finish(self) -> None:
        """Have it begin nothing new."""
        ask(self.home.control, "finish")

    def stored(self) -> dict[bytes, bytes]:
        """What is durable in its home: every envelope by its record id."""
        store = RecordStore(self.home.database, read_only=True)
        try:
            return {peek_id(envelope): envelope for envelope in store}
        finally:
            store.close()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(STOP_TIMEOUT_S)

    def clean_up(self) -> None:
        """Leave nothing running, whatever the test did."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def running(home: Home, *arguments: str, errors: Path | None = None) -> Iterator[NodeProcess]:
    """A node that runs for the length of the block."""
    node = NodeProcess(home, *arguments, errors=errors)
    try:
        yield node.start()
    finally:
        node.clean_up()


async def until(
    holds: Callable[[], bool], what: str, node: NodeProcess | None = None, timeout_s: float = 40
) -> None:
    """Wait until something holds; nodes that do not answer, or do not know, count as not yet."""
    with trio.move_on_after(timeout_s):
        while True:
            assert node is None or node.alive, node.errors
            with contextlib.suppress(NodeError):
                if holds():
                    return
            await trio.sleep(POLL_S)
    raise AssertionError(f"{what} did not come about: {'' if node is None else node.errors}")


def descendants(pid: int) -> dict[int, str]:
    """Processes below a process, with their start times, which tell a reused id apart."""
    parents: dict[int, int] = {}
    starts: dict[int, str] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            parents[int(path.parent.name)] = int(fields[1])
            starts[int(path.parent.name)] = fields[19]
    below: dict[int, str] = {}
    fresh = {pid}
    while fresh:
        fresh = {child for child, parent in parents.items() if parent in fresh}
        below |= {child: starts[child] for child in fresh}
    return below


def still_there(processes: dict[int, str]) -> set[int]:
    """Those processes that have not ended; one that only waits to be collected has."""
    alive = set()
    for pid, start in processes.items():
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if fields[19] == start and fields[0] != "Z":
                alive.add(pid)
    return alive
