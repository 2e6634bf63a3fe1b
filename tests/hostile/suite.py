"""Runs the hostile suite: a control without a sandbox, then each backend, then compares.

A column of the table is one way to run the attacks. The control has to succeed with every attack,
or the attack proves nothing; in every other column each one has to fail, and nothing may have
reached the node by then, whatever the attacks say about themselves.
"""

import contextlib
import json
import os
import secrets
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from node.sandbox import (
    Sandbox,
    SandboxLimits,
    SandboxSpec,
    kill_tree,
    minimal_environment,
    stage,
)
from node.sandbox.bubblewrap import Bubblewrap
from node.sandbox.interpreter import Interpreter
from node.sandbox.landlock import Landlock
from node.sandbox.starting import CONFINEMENT
from tests.hostile import driver
from tests.hostile.world import ATTACKS, World
from tests.node.sandbox_support import interpreter_for_all

MEMORY_BYTES = 192 << 20
PROCESSES = 48
OPEN_FILES = 128
COLUMN_LIMIT_S = 300
DEATH_LIMIT_S = 5.0
SANDBOXES = ("bubblewrap", "landlock", "landlock-3")
OLDER_LANDLOCK = """

_newest = version


def version() -> int:
    return min(MINIMUM_VERSION, _newest())
"""
PRESENT = ("HOME", "PATH")


@dataclass(frozen=True)
class Result:
    """How one attack went.

    Attributes:
        got: what it got; empty when it was stopped.
        how: what stopped it.
    """

    got: str
    how: str


@dataclass(frozen=True)
class Column:
    """How all attacks went in one place.

    Attributes:
        name: ``control``, or a sandbox.
        results: by the attack's name.
        reached: what reached the node or was left behind, seen from outside.
        seconds: how long it took.
    """

    name: str
    results: dict[str, Result]
    reached: tuple[str, ...]
    seconds: float


class Suite:
    """The planted world, and ways to run attacks in it; use ``open_suite``."""

    def __init__(self, directory: Path, node: subprocess.Popen[str], canary: str) -> None:
        self._directory = directory
        self._node = node
        self._interpreter = interpreter_for_all(directory)
        self._older = older_confinement(directory / "older")
        assert node.stdout is not None
        where = json.loads(node.stdout.readline())
        self._leaked_fd = os.open(directory / "canary", os.O_RDONLY)
        # Inheritable on purpose: that it does not get in is up to the sandbox.
        os.set_inheritable(self._leaked_fd, True)
        self.world = World(
            canary=canary,
            canary_file=str(directory / "canary"),
            key_file=str(directory / "home" / "identity.key"),
            home_file=str(directory / "home" / ".netrc"),
            data_file=str(directory / "home" / "validation.bin"),
            secret_name="HOSTILE_SECRET",
            public=str(directory / "public"),
            memory_bytes=MEMORY_BYTES,
            processes=PROCESSES,
            open_files=OPEN_FILES,
            witness_fd=-1,
            **where,
        )

    def close(self) -> None:
        """Close what the suite holds open."""
        os.close(self._leaked_fd)

    def run(self, name: str, mode: str, attacks: list[str] | None = None) -> Column:
        """Run attacks in one column.

        Args:
            name: ``control``, or one of ``SANDBOXES``.
            mode: the driver's mode.
            attacks: names; all if left out.
        """
        start_s = time.monotonic()
        names = sorted(ATTACKS) if attacks is None else attacks
        confinement = self._older if name == "landlock-3" else CONFINEMENT
        staged = stage(staged_files(confinement), self._directory / "stage")
        reading, writing = os.pipe()
        witness, held = os.pipe()
        world = replace(self.world, witness_fd=held)
        inside = Interpreter.current() if name == "bubblewrap" else self._interpreter
        argv = (
            *(str(inside.executable), "-I", "-S", "-B", str(staged / "driver.py")),
            *(str(writing), mode, world.to_text(), json.dumps(names)),
        )
        start: Callable[[], subprocess.Popen[bytes]] = (
            (lambda: self._start_bare(argv, (writing, held)))
            if name == "control"
            else (lambda: self._start_confined(name, argv, (writing, held), staged))
        )
        try:
            process = start()
        finally:
            os.close(writing)
            os.close(held)
        try:
            results = collect(reading, process, names)
        finally:
            if name != "control":
                kill_tree(process)
            elif process.poll() is None:
                process.kill()
            process.wait()
            os.close(reading)
        try:
            reached = self._effects(witness, patient=name != "control")
        finally:
            os.close(witness)
        end_survivors(results)
        return Column(name, results, tuple(reached), time.monotonic() - start_s)

    def _start_bare(self, argv: tuple[str, ...], fds: tuple[int, ...]) -> subprocess.Popen[bytes]:
        """Start with all the rights of the suite itself."""
        environment = {k: v for k, v in os.environ.items() if k in PRESENT}
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(*fds, self._leaked_fd),
            start_new_session=True,
            env=environment | {self.world.secret_name: self.world.canary},
        )

    def _start_confined(
        self, name: str, argv: tuple[str, ...], fds: tuple[int, ...], staged: Path
    ) -> subprocess.Popen[bytes]:
        spec = SandboxSpec(
            argv=argv,
            limits=SandboxLimits(
                memory_bytes=MEMORY_BYTES, processes=PROCESSES, open_files=OPEN_FILES
            ),
            env=minimal_environment(),
            read_only=(staged,),
            pass_fds=fds,
            ends_with_thread=True,
        )
        return self._backend(name).popen(spec)

    def _backend(self, name: str) -> Sandbox:
        if name == "bubblewrap":
            return Bubblewrap()
        return Landlock(self._interpreter, self._older if name == "landlock-3" else CONFINEMENT)

    def _effects(self, witness: int, *, patient: bool) -> list[str]:
        """Ask the node and look around, instead of believing the attacks."""
        assert self._node.stdin is not None
        assert self._node.stdout is not None
        self._node.stdin.write("\n")
        self._node.stdin.flush()
        found = list(json.loads(self._node.stdout.readline()))
        poll = select.poll()
        poll.register(witness, 0)
        if not poll.poll(1000 * (DEATH_LIMIT_S if patient else 0.2)):
            found.append("survivor")
        public = Path(self.world.public)
        if {p.name for p in public.iterdir()} != {"target", "start.sh"}:
            found.append("files")
        if (public / "start.sh").read_text(encoding="ascii") != START_SCRIPT:
            found.append("program")
        if (public / "target").stat().st_size:
            found.append("size")
        plant_public(public)
        return sorted(found)


START_SCRIPT = "#!/bin/sh\n"


def plant_public(public: Path) -> None:
    """Put the directory that everybody may write to back to how it began."""
    import shutil

    shutil.rmtree(public, ignore_errors=True)
    public.mkdir()
    public.chmod(0o777)
    for name, content in (("target", ""), ("start.sh", START_SCRIPT)):
        (public / name).write_text(content, encoding="ascii")
        (public / name).chmod(0o666)


def older_confinement(directory: Path) -> Path:
    """Return a copy of the confinement package that sees the oldest Landlock only."""
    target = directory / "confinement"
    target.mkdir(parents=True)
    for source in CONFINEMENT.glob("*.py"):
        text = source.read_text(encoding="utf-8")
        older = OLDER_LANDLOCK if source.name == "landlock.py" else ""
        (target / source.name).write_text(text + older, encoding="utf-8")
    return target


def staged_files(confinement: Path) -> dict[str, Path]:
    """Return the files of the driver, by their place in the copy."""
    here = Path(driver.__file__).parent
    files = {f"confinement/{path.name}": path for path in confinement.glob("*.py")}
    files |= {f"hostile/{path.name}": path for path in here.glob("*_attacks.py")}
    return files | {
        "driver.py": here / "driver.py",
        "hostile/__init__.py": here / "__init__.py",
        "hostile/world.py": here / "world.py",
    }


def collect(reading: int, process: subprocess.Popen[bytes], names: list[str]) -> dict[str, Result]:
    """Read the driver's lines until it is done, dead or out of time."""
    deadline_s = time.monotonic() + COLUMN_LIMIT_S
    received = b""
    while received.count(b"\n") < len(names) and time.monotonic() < deadline_s:
        if select.select([reading], [], [], 0.1)[0]:
            part = os.read(reading, 1 << 16)
            if not part:
                break
            received += part
        elif process.poll() is not None:
            break
    found = {name: Result("", "was not tried") for name in names}
    for line in received.splitlines():
        name, got, how = json.loads(line)
        found[name] = Result(got, how)
    return found


def end_survivors(results: dict[str, Result]) -> None:
    """Kill what the control's survivors left, by the process ids that they told."""
    for result in results.values():
        words = result.got.split()
        if words[:1] == ["process"] and words[-2:] == ["goes", "on"]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(words[1]), 9)


@contextlib.contextmanager
def open_suite() -> Iterator[Suite]:
    """Plant the world and start the stand-in; all of it is gone at the end."""
    with tempfile.TemporaryDirectory(prefix="swarm-node-hostile-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        canary = f"canary-{secrets.token_hex(16)}"
        (directory / "home").mkdir(mode=0o755)
        modes = {
            "canary": 0o644,
            "home/identity.key": 0o600,
            "home/.netrc": 0o644,
            "home/validation.bin": 0o644,
        }
        for path, mode in modes.items():
            (directory / path).write_text(canary, encoding="ascii")
            (directory / path).chmod(mode)
        plant_public(directory / "public")
        script = str(Path(driver.__file__).with_name("stand_in.py"))
        with subprocess.Popen(
            [sys.executable, "-I", "-S", script, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"HOSTILE_SECRET": canary, "HOME": str(directory / "home")},
        ) as node:
            suite = Suite(directory, node, canary)
            try:
                yield suite
            finally:
                suite.close()
                assert node.stdin is not None
                node.stdin.close()
