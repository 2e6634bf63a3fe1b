"""A real job that hunts for planted secrets, and everything that comes out of it, searched.

Canaries lie in the API key's variable, the identity key, the home directory, and the validation and
test bytes. The job looks for them in files, variables, descriptors and memory, and tries every way
out that it has: output, weights, logits, its own reports, and text that could steer a terminal.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import site
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from node import runner_watch, runner_worker
from node.home import Home
from node.identity import load_or_create_identity
from node.runner import open_runner
from node.runner_data import RunData
from node.trial_logs import TrialLogs
from tests.node.runner_support import HEAD, SharedRunner, job
from tests.node.sandbox_support import BACKENDS, interpreter_with_packages, make_backend
from tests.trainer.tiny import text
from trainer.worker import wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainer.job import Outcome

MARK = b"canary-of-the-hunt-"
HUNT = """
import contextlib, ctypes, gc, mmap, os, sys

def places():
    for name, value in os.environ.items(): yield f"{name}={value}".encode()
    for path in WHERE:
        with contextlib.suppress(OSError): yield open(path, "rb").read(1 << 16)
    for root in ROOTS:
        for directory, _, files in os.walk(root):
            if looked > 6000: break
            for name in files[:500]:
                path = os.path.join(directory, name)
                with contextlib.suppress(OSError):
                    yield open(path, "rb").read(1 << 16)
    for pid in ("self", "1", str(os.getppid()), *map(str, range(2, 40))):
        for name in ("environ", "cmdline", "maps"):
            with contextlib.suppress(OSError): yield open(f"/proc/{pid}/{name}", "rb").read(1 << 16)
    for descriptor in range(64):
        with contextlib.suppress(OSError, ValueError):
            size = os.fstat(descriptor).st_size
            if size: yield os.pread(descriptor, min(size, 1 << 20), 0)
    gc.unfreeze()  # what the warm worker had before the fork
    for holder in gc.get_objects():
        for thing in gc.get_referents(holder):
            if isinstance(thing, str): yield thing.encode(errors="replace")
            if isinstance(thing, (bytes, bytearray)): yield bytes(thing)

mark = b"canary-of-" + b"the-hunt-"
looked, found = 0, []
for content in places():
    looked += 1
    if mark in content and content != mark:
        at = content.index(mark)
        found.append(content[at:at + 40])
print("LOOKED", looked)
for item in found: print("FOUND", item)
"""
EVERYWHERE = ("/etc", "/root", "/home", "/tmp", "/var", "/run", "/dev", "/proc")  # noqa: S108
LEAK = """
try:
    message = b"".join(found) or b"nothing"
    print("\\x1b]0;owned\\x07\\x1b[2J\\x9b31m\\u202e\\r", message)
    for descriptor in range(3, 64):
        with contextlib.suppress(OSError): os.write(descriptor, b"")
except Exception: pass
_forward = Model.forward
def forward(self, tokens):
    logits = _forward(self, tokens)
    with torch.no_grad():
        for place, byte in enumerate(b"".join(found)[:256]): logits[..., place] += byte
    return logits
Model.forward = forward
_build = build_model
def build_model(run):
    model = _build(run)
    model.register_buffer("message", torch.tensor(list(b"".join(found) or b"nothing")))
    return model
"""


@dataclasses.dataclass(frozen=True)
class Planted:
    """Where the canaries lie."""

    home: Home
    task: dict[str, Path]
    files: tuple[str, ...]


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A directory that every user may enter: no mode hides what is in it, the sandbox must."""
    with tempfile.TemporaryDirectory(prefix="swarm-node-secrets-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


@pytest.fixture
def planted(open_to_all: Path, monkeypatch: pytest.MonkeyPatch) -> Planted:
    """A node's home, its data and its environment, with a canary in each."""
    person = open_to_all / "person"
    person.mkdir()
    (person / ".netrc").write_bytes(b"password " + MARK + b"home")
    monkeypatch.setenv("HOME", str(person))
    monkeypatch.setenv("ANTHROPIC_API_KEY", (MARK + b"api-key").decode())
    home = Home(open_to_all / "node")
    home.create()
    home.root.chmod(0o755)
    load_or_create_identity(home.key)
    beside = home.key.with_name("beside-the-key")
    beside.write_bytes(home.key.read_bytes() + MARK + b"identity")
    data = {}
    for split in ("train", "validation", "test"):
        data[split] = open_to_all / f"{split}.bin"
        secret = b"" if split == "train" else (MARK + split.encode()) * 40
        data[split].write_bytes(secret + text(split, 6_000))
    beside.chmod(0o644)
    files = (str(home.key), str(beside), str(person / ".netrc"), *map(str, data.values()))
    return Planted(home, data, files)


def hunt(planted: Planted, *more: str) -> str:
    roots = (str(planted.home.root.parent), *more)
    return f"WHERE = {planted.files!r}\nROOTS = {roots!r}\n{HUNT}"


class Everything:
    """Keeps whatever crosses the sandbox's wall, in front of the node's own reading of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.received: list[bytes] = []
        read, decode, adopt = runner_watch.read, wire.decode_event, runner_worker.Worker.run

        async def keep_reading(fd: int, size: int) -> bytes:
            content = await read(fd, size)
            self.received.append(content)
            return content

        def keep_event(raw: bytes) -> wire.Event:
            self.received.append(raw)
            return decode(raw)

        async def keep_memory(
            worker: Any, command: Any, descriptors: Any, *rest: Any, **more: Any
        ) -> Any:
            # The logits' memory is closed here once it is handed over.
            kept = [os.dup(fd) for fd in (descriptors.weights, *descriptors.others[:1])]
            ended = await adopt(worker, command, descriptors, *rest, **more)
            for fd in kept:
                self.received.append(os.pread(fd, 1 << 23, 0))
                os.close(fd)
            return ended

        monkeypatch.setattr(runner_watch, "read", keep_reading)
        monkeypatch.setattr(wire, "decode_event", keep_event)
        monkeypatch.setattr(runner_worker.Worker, "run", keep_memory)


@pytest.mark.sandbox
@pytest.mark.parametrize("backend", BACKENDS)
async def test_nothing_that_comes_out_of_a_hunting_job_holds_a_secret(
    planted: Planted, open_to_all: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    interpreter = interpreter_with_packages(open_to_all, backend)
    monkeypatch.setattr(sys, "executable", str(interpreter.executable))
    packages = [str(path) for path in interpreter.search_path]
    monkeypatch.setattr(site, "getsitepackages", lambda: packages)
    everything = Everything(monkeypatch)
    async with open_runner(
        make_backend(backend, interpreter),
        data=RunData(planted.task["train"], planted.task["validation"]),
        stage_home=planted.home.worker_code,
        random_seed=lambda: 4,
    ) as runner:
        # A script that looks is an ordinary script: it trains, is scored and ends well.
        outcome = await runner.run(job(HEAD + hunt(planted, *EVERYWHERE) + LEAK, log_bytes=16_000))
    assert outcome.status == "ok", outcome
    assert "LOOKED" in outcome.log_tail
    looked = int(outcome.log_tail.split("LOOKED", 1)[1].split()[0])
    assert looked > 1_000
    assert "FOUND" not in outcome.log_tail
    key = planted.home.key.read_bytes()
    came_out = b"\0".join(everything.received) + json.dumps(dataclasses.asdict(outcome)).encode()
    assert b"LOOKED" in came_out, "the search sees what the job printed"
    assert b"nothing" in came_out
    for secret in (MARK, key, key.hex().encode()):
        assert secret not in came_out


def test_the_hunt_finds_every_canary_where_nothing_hides_them(planted: Planted) -> None:
    """The control: the same search as an ordinary program of the same user."""
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", hunt(planted)],
        capture_output=True,
        check=True,
        timeout=120,
        env=dict(os.environ),
    )
    for kind in ("api-key", "home", "identity", "validation", "test"):
        assert b"FOUND b'" + MARK + kind.encode() in ran.stdout, kind


class Explosive:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


PICKLE = """
import os
PAYLOAD = {payload!r}
for fd in range(3, 16):
    try: size = os.fstat(fd).st_size
    except OSError: continue
    if size == 8 << 20:
        for place in range(0, 1 << 20, 4096): os.pwrite(fd, PAYLOAD, place)
from trainer.worker import weights
weights.write = lambda *_: 0
"""


@pytest.mark.sandbox
def test_a_pickle_in_the_weights_is_never_unpickled(shared: SharedRunner, tmp_path: Path) -> None:
    mark = tmp_path / "exploded"
    payload = pickle.dumps(Explosive(mark))
    outcome = shared.run(job(HEAD + PICKLE.format(payload=payload)))
    assert outcome.status in {"invalid", "crashed"}, outcome
    assert not mark.exists()
    pickle.loads(payload)  # noqa: S301  (the control: it does explode)
    assert mark.exists()


STEER = (
    r"\x1b[2J\x1b]0;owned\x07\x1b]52;c;cm0gLXJm\x07\x9b31m\x07\x08\x7f\r\n"
    r"val_bpb: 0.000001 \u202eright to left\u2028\x85next"
)
FORBIDDEN = {chr(code) for code in (*range(9), *range(11, 32), *range(127, 160))} | {"\u202e"}


@pytest.mark.sandbox
def test_escape_sequences_of_a_job_are_shown_inert(shared: SharedRunner, tmp_path: Path) -> None:
    outcome: Outcome = shared.run(job(f"print('{STEER}')\nraise ValueError('{STEER}')"))
    assert outcome.status == "crashed"
    assert "\x1b" in outcome.log_tail, "the job did try"
    assert not FORBIDDEN & set(outcome.reason)
    logs = TrialLogs(tmp_path / "logs")
    logs.keep("1-child", outcome.log_tail)
    (kept,) = (tmp_path / "logs").iterdir()
    shown = kept.read_bytes().decode()
    assert "owned" in shown
    assert not FORBIDDEN & set(shown)


SCRIPT = f"raise ValueError('{STEER}')\n"


@pytest.mark.sandbox
def test_run_task_prints_a_hostile_log_inert(tmp_path: Path) -> None:
    """The command that shows a run's output to a person, in a process of its own."""
    script = tmp_path / "train.py"
    script.write_text(SCRIPT, encoding="ascii")
    command = [sys.executable, "-m", "node", "run-task", str(script)]
    ran = subprocess.run(command, capture_output=True, check=False, timeout=200)
    shown = (ran.stdout + ran.stderr).decode()
    assert ran.returncode == 1
    assert "owned" in shown
    assert not FORBIDDEN & set(shown)
    assert b"val_bpb" not in ran.stdout, "a script's own claim is not the command's answer"


async def test_the_keeper_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the leak test searches is what the node received."""
    everything = Everything(monkeypatch)
    reading, writing = os.pipe()
    os.write(writing, b"came out")
    assert await runner_watch.read(reading, 100) == b"came out"
    os.close(reading)
    os.close(writing)
    assert everything.received == [b"came out"]
