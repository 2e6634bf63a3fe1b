"""The self-test: attack a backend for real, and say for each promise whether it was kept.

This file decides the list of promises and how the probe is run. It refuses to know what to do
about the outcome; ``selection`` chooses and ``remedies`` advises. Failing closed: an attack that
could not be tried counts as a broken promise.
"""

import contextlib
import json
import os
import selectors
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

from node.sandbox import probe_attacks
from node.sandbox.interpreter import OWN_PACKAGES, Interpreter
from node.sandbox.model import (
    BackendReport,
    Promise,
    PromiseResult,
    Sandbox,
    SandboxError,
    SandboxLimits,
    SandboxSpec,
    minimal_environment,
)
from node.sandbox.staging import stage
from node.sandbox.starting import CONFINEMENT
from node.sandbox.supervision import kill_tree

PROMISES: Final = tuple(
    Promise(key, text)
    for key, text in (
        ("network", "no socket of any kind can be made"),
        ("files", "no file can be read but the interpreter's and those handed over"),
        ("own-data", "the validation and test bytes cannot be read"),
        ("processes", "no other process's memory or environment can be read"),
        ("read-only", "nothing can be written anywhere"),
        ("unprivileged", "it runs as an ordinary user without capabilities"),
        ("signals", "the node cannot be signalled"),
        ("kernel", "io_uring, keys, BPF, tracing and new namespaces are refused"),
        ("memory", "memory is limited"),
        ("descriptors", "no descriptor leaks in"),
        ("environment", "no environment variable leaks in"),
        ("job-processes", "a job starts no process and no program"),
        ("job-writing", "a job opens no file for writing"),
        ("job-memory", "a job maps no uncounted memory"),
        ("job-signals", "a job signals neither its parent nor another job"),
        ("job-channels", "a job receives no descriptors"),
        ("job-network", "a job makes no socket"),
        ("job-descriptors", "a job has only the descriptors of its own"),
        ("job-threads", "a job can still use threads"),
    )
)
WEAKER_PROMISES: Final = (
    Promise("use-network", "nothing is bound, connected or sent over any network"),
    *(
        promise
        for promise in PROMISES
        if promise.key
        in ("files", "own-data", "read-only", "signals", "descriptors", "environment")
    ),
    Promise("one-process", "a job starts no other process"),
)
"""All that is promised on macOS, whose sandbox has no second wall: hence the consent."""
TEST_MEMORY_BYTES: Final = 1 << 30
TEST_LIMIT_S: Final = 20.0
"""Generous, for a loaded machine; it takes about a quarter of a second on an idle one."""
MAXIMUM_ANSWER_BYTES: Final = 1 << 16
OWN_DATA_FILES: Final = 8


def examine_backend(
    make: Callable[[], Sandbox], name: str, interpreter: Interpreter | None = None
) -> BackendReport:
    """Start a backend's sandbox around the probe and report on every promise.

    Args:
        make: builds the backend.
        name: the backend's name, for the report when it cannot be built.
        interpreter: the Python that the backend exposes, this one if left out.

    Returns:
        The report, without a remedy.
    """
    start_s = time.monotonic()
    try:
        sandbox = make()
        found = run_probe(sandbox, interpreter or Interpreter.current())
        promises = promises_of(sandbox)
    except SandboxError as error:
        return BackendReport(name, problem=str(error), seconds=time.monotonic() - start_s)
    results = tuple(_result(promise, found) for promise in promises)
    return BackendReport(name, results=results, seconds=time.monotonic() - start_s)


def promises_of(sandbox: Sandbox) -> tuple[Promise, ...]:
    """Return what a backend must keep to be used."""
    return PROMISES if sandbox.second_wall else WEAKER_PROMISES


def _result(promise: Promise, found: Mapping[str, object]) -> PromiseResult:
    if promise.key not in found:
        return PromiseResult(promise, kept=False, detail="could not be tested")
    got = found[promise.key]
    if not isinstance(got, list):
        return PromiseResult(promise, kept=False, detail="the test answered nonsense")
    return PromiseResult(promise, kept=not got, detail="; ".join(map(str, got)))


def run_probe(sandbox: Sandbox, interpreter: Interpreter) -> dict[str, object]:
    """Run the probe in a sandbox and return what each attack got.

    Raises:
        SandboxError: when the sandbox did not start or the probe did not answer.
    """
    # Open to every user on purpose: the sandbox has to hide the canary, not the file's mode.
    with tempfile.TemporaryDirectory(prefix="swarm-node-selftest-") as directory:
        home = Path(directory)
        home.chmod(0o755)
        canary = home / "canary"
        canary.write_bytes(b"readable by all users, but not from a sandbox")
        canary.chmod(0o644)
        staged = stage(probe_files(), home / "stage")
        return _run_staged(sandbox, interpreter, staged, canary)


def probe_files() -> dict[str, Path]:
    """Return the files to stage for the probe, by their place in the copy."""
    files = {f"confinement/{path.name}": path for path in CONFINEMENT.glob("*.py")}
    here = Path(__file__).parent
    return {name: here / name for name in ("probe.py", "probe_attacks.py")} | files


def own_data_files() -> tuple[str, ...]:
    """Return some of our installed files, data first, that a sandbox must not show."""
    root = Path(__file__).resolve().parents[2]
    data = [p for p in sorted((root / "trainer" / "tasks").rglob("*")) if p.is_file()]
    modules = [root / name / "__init__.py" for name in OWN_PACKAGES]
    existing = [str(p) for p in (*data[:OWN_DATA_FILES], *modules) if p.is_file()]
    return tuple(existing)


def _run_staged(
    sandbox: Sandbox, interpreter: Interpreter, staged: Path, canary: Path
) -> dict[str, object]:
    environment = minimal_environment()
    reading, writing = os.pipe()
    log_reading, log_writing = os.pipe()
    parameters = probe_attacks.Parameters(
        canary=str(canary),
        own_data=own_data_files(),
        node_pid=os.getpid(),
        inherited=(writing,),
        environment=tuple(environment),
        memory_bytes=TEST_MEMORY_BYTES,
        weaker=not sandbox.second_wall,
    )
    spec = SandboxSpec(
        argv=(
            *(str(interpreter.executable), "-I", "-S", "-B"),
            *(str(staged / "probe.py"), str(writing), json.dumps(asdict(parameters))),
        ),
        limits=SandboxLimits(memory_bytes=TEST_MEMORY_BYTES, processes=64),
        env=environment,
        read_only=(staged,),
        pass_fds=(writing,),
        stderr_fd=log_writing,
        ends_with_thread=True,
    )
    try:
        process = sandbox.popen(spec)
    except SandboxError:
        os.close(reading)
        os.close(log_reading)
        raise
    finally:
        os.close(writing)
        os.close(log_writing)
    try:
        answer, log = _collect(reading, log_reading, time.monotonic() + TEST_LIMIT_S)
    finally:
        kill_tree(process)
        os.close(reading)
        os.close(log_reading)
    return _decoded(answer, log, process.returncode)


def _collect(answer_fd: int, log_fd: int, deadline_s: float) -> tuple[bytes, bytes]:
    """Read both pipes to their ends, or up to a size and a time."""
    received = {answer_fd: b"", log_fd: b""}
    with selectors.DefaultSelector() as selector:
        for descriptor in received:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map() and time.monotonic() < deadline_s:
            for key, _ in selector.select(timeout=deadline_s - time.monotonic()):
                part = os.read(key.fd, MAXIMUM_ANSWER_BYTES)
                received[key.fd] = (received[key.fd] + part)[:MAXIMUM_ANSWER_BYTES]
                if not part:
                    selector.unregister(key.fd)
    return received[answer_fd], received[log_fd]


def _decoded(answer: bytes, log: bytes, status: int) -> dict[str, object]:
    with contextlib.suppress(ValueError):
        found = json.loads(answer)
        if isinstance(found, dict):
            return found
    last_lines = " / ".join(log.decode(errors="replace").strip().splitlines()[-3:])
    raise SandboxError(f"the test program did not run (status {status}): {last_lines or 'silent'}")
