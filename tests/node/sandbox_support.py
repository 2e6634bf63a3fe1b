"""Interpreters, users and programs for the sandbox tests, whoever runs them."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from node.sandbox import Sandbox, SandboxLimits, SandboxSpec, kill_tree, minimal_environment
from node.sandbox.bubblewrap import Bubblewrap
from node.sandbox.interpreter import Interpreter
from node.sandbox.landlock import Landlock, obstacle_for_others

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 60
BACKENDS = ("bubblewrap", "landlock")
ORDINARY_UID = 54_321
LEFT_OUT = shutil.ignore_patterns(
    "site-packages", "test", "tests", "__pycache__", "idlelib", "tkinter", "lib2to3", "config-*"
)


def as_root() -> bool:
    return os.geteuid() == 0


def interpreter_for_all(directory: Path) -> Interpreter:
    """Return an interpreter that every user can run, a copy if this one is root's own."""
    current = Interpreter.current()
    real = current.executable.resolve()
    if not as_root() or obstacle_for_others(real) is None:
        return Interpreter(real, current.base_prefix, current.base_prefix, ())
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    prefix = directory / "python"
    (prefix / "bin").mkdir(parents=True)
    shutil.copy(real, prefix / "bin" / version)
    shutil.copytree(
        current.base_prefix / "lib" / version, prefix / "lib" / version, ignore=LEFT_OUT
    )
    for library in (current.base_prefix / "lib").glob("libpython*.so*"):
        shutil.copy(library, prefix / "lib")
    return Interpreter(prefix / "bin" / version, prefix, prefix, ())


def interpreter_with_packages(directory: Path, backend: str) -> Interpreter:
    """Return an interpreter with torch for a backend: under Landlock, one that every user can run.

    Bubblewrap mounts what it shows, and Landlock only allows it. Root becomes another user before
    it opens anything, and may have its Python where nobody else can go: then it gets a copy, of
    links as far as they reach.
    """
    current = Interpreter.current()
    closed = (current.executable.resolve(), *current.search_path)
    if backend != "landlock" or not as_root() or not any(map(obstacle_for_others, closed)):
        return current
    copied = interpreter_for_all(directory)
    packages = []
    for number, path in enumerate(current.search_path):
        if obstacle_for_others(path) is not None:
            target = directory / f"packages-{number}"
            shutil.copytree(path, target, copy_function=_link, symlinks=True)
            path = target  # noqa: PLW2901
        packages.append(path)
    return Interpreter(copied.executable, copied.prefix, copied.prefix, tuple(packages))


def _link(source: str, target: str) -> None:
    """Give a file a second name, or copy it where that cannot be."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def copy_for_all(directory: Path) -> Path:
    """Return a directory with the sandbox's own code that every user can read."""
    for package in ("node", "trainer"):
        (directory / package).mkdir()
        (directory / package / "__init__.py").touch()
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("node/sandbox", "trainer/confinement"):
        shutil.copytree(ROOT / name, directory / name, ignore=ignore)
    return directory


def make_backend(name: str, interpreter: Interpreter) -> Sandbox:
    """Build a backend; bubblewrap shows this interpreter even when only root can reach it."""
    return Bubblewrap() if name == "bubblewrap" else Landlock(interpreter)


@dataclass(frozen=True)
class Inside:
    """A backend with the interpreter that it shows.

    Attributes:
        sandbox: the backend.
        executable: the Python to run inside.
    """

    sandbox: Sandbox
    executable: Path

    def spec(self, code: str, **changes: object) -> SandboxSpec:
        """Describe a program of ``code``, with a gibibyte of memory."""
        fields: dict[str, object] = {
            "argv": (str(self.executable), "-I", "-S", "-c", code),
            "limits": SandboxLimits(memory_bytes=1 << 30, processes=32),
            "env": minimal_environment(),
        }
        return SandboxSpec(**(fields | changes))  # type: ignore[arg-type]

    def run(self, code: str, **changes: object) -> tuple[int, str]:
        """Run ``code`` to its end; return its status and what it printed on both streams."""
        reading, writing = os.pipe()
        try:
            spec = self.spec(code, stdout_fd=writing, stderr_fd=writing, **changes)
            process = self.sandbox.popen(spec)
        finally:
            os.close(writing)
        with os.fdopen(reading, encoding="utf-8") as output, ended(process):
            text = output.read()
            return process.wait(LIMIT_S), text

    @contextlib.contextmanager
    def running(
        self, code: str, **changes: object
    ) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], str]]]:
        """Run ``code`` and read its lines while it runs; it is killed at the end."""
        reading, writing = os.pipe()
        try:
            spec = self.spec(code, stdout_fd=writing, stderr_fd=writing, **changes)
            process = self.sandbox.popen(spec)
        finally:
            os.close(writing)
        with os.fdopen(reading, encoding="utf-8") as output, ended(process):
            yield process, lambda: output.readline().strip()


@contextlib.contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """See to it that a sandbox is gone, whatever the test did."""
    try:
        yield
    finally:
        kill_tree(process)


def run_as_ordinary_user(
    executable: Path, code: str, directory: Path
) -> subprocess.CompletedProcess[str]:
    """Run the sandbox's code as an ordinary user: another one when this is root."""
    identity: dict[str, object] = {}
    if as_root():
        identity = {"user": ORDINARY_UID, "group": ORDINARY_UID, "extra_groups": ()}
    command: Sequence[str] = [str(executable), "-I", "-B", "-c", code]
    return subprocess.run(  # type: ignore[call-overload]
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
        cwd=directory,
        env={"PATH": os.defpath},
        **identity,
    )
