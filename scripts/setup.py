"""Make `.venv`: check what pip cannot bring, install the pinned requirements, say each step.

Decides when an environment is current (its stamp names the Python, the place and the digest of
everything that was installed from), when it is repaired in place (it was finished, and only the
requirements changed) and when it is made anew (anything else, an interrupted set-up included: pip
takes a half-written package for an installed one). Also decides where torch comes from. Refuses to
know what the packages are for.

Standard library only, in syntax that Python 3.8 reads. Everything is said on standard error: what
runs after set-up owns standard output.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts import prerequisites
from scripts.prerequisites import SHOWN_LINES, Interpreter, Machine, SetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
#: Installed in this order: what builds packages comes before the packages that have no wheel.
PINNED = ("build.txt", "base.txt", "train.txt", "dev.txt")
#: PyTorch's own index of builds without CUDA: a tenth of the default one's size.
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
#: A reachable index answers well within this; an unreachable one must not hold set-up.
CPU_INDEX_LIMIT_S = 6
#: The index page of one project is about 200 KB; a captive portal's answer is cut here.
CPU_INDEX_LIMIT_BYTES = 8 << 20


def say(line: str) -> None:
    """Tell the person one step, on standard error."""
    sys.stderr.write(f"setup: {line}\n")
    sys.stderr.flush()


def fetch(url: str) -> str:
    """Return the text of a web page, bounded in time and size; OSError when there is none."""
    with urllib.request.urlopen(url, timeout=CPU_INDEX_LIMIT_S) as response:  # noqa: S310
        page: bytes = response.read(CPU_INDEX_LIMIT_BYTES)
    return page.decode("utf-8", errors="replace")


def cpu_index_offers(version: str, minor: str, machine: str, get: Callable[[str], str]) -> bool:
    """Tell whether PyTorch's CPU index answers and holds a build for this Python and machine."""
    try:
        page = get(f"{CPU_INDEX}/torch/")
    except (OSError, ValueError):
        return False
    tag = "cp" + minor.replace(".", "")
    wheel = f"torch-{version}+cpu-{tag}-{tag}-"
    lines = page.replace("%2B", "+").split("\n")
    return any(wheel in line and machine in line for line in lines)


class Environment:
    """One virtual environment and the stamp that says what it was made from."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / ".venv"
        self.python = self.path / "bin" / "python"
        self.log = self.path / "setup.log"
        self.stamp = self.path / "setup-stamp.json"

    def wanted_stamp(self, minor: str) -> dict[str, str]:
        """Return the stamp of an environment that is finished and current."""
        digest = hashlib.sha256()
        sources = sorted((self.root / "requirements").glob("*.txt"))
        for source in [*sources, self.root / "pyproject.toml", self.root / "scripts" / "setup.py"]:
            digest.update(f"{source.name}\n".encode() + source.read_bytes() + b"\0")
        # A moved checkout takes its environment along, with paths that lead to the old place.
        return {"python": minor, "root": str(self.root), "sources": digest.hexdigest()}

    def read_stamp(self) -> dict[str, str]:
        """Return the stamp of the last finished set-up; empty where there is none."""
        try:
            stamp = json.loads(self.stamp.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return stamp if isinstance(stamp, dict) else {}

    def write_stamp(self, stamp: dict[str, str]) -> None:
        """Record a finished set-up, whole or not at all."""
        draft = self.stamp.with_suffix(".new")
        draft.write_text(json.dumps(stamp) + "\n", encoding="utf-8")
        draft.replace(self.stamp)

    def minor(self) -> str | None:
        """Return the Python version that the environment runs now; None when it does not run."""
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        try:
            told = subprocess.run(
                [str(self.python), "-c", code],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="utf-8",
                timeout=prerequisites.PROBE_LIMIT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return told.stdout.strip() or None

    def is_current(self, wanted_minor: str | None) -> bool:
        """Tell whether nothing has to be done."""
        stamp = self.read_stamp()
        if not stamp or not (self.path / "bin" / "swarm-node").exists():
            return False
        minor = self.minor()
        if minor is None or (wanted_minor or minor) != minor:
            return False
        return stamp == self.wanted_stamp(minor)

    def can_be_updated(self, minor: str) -> bool:
        """Tell whether a finished environment only lacks the latest requirements."""
        stamp = self.read_stamp()
        wanted = self.wanted_stamp(minor)
        same_place = all(stamp.get(key) == wanted[key] for key in ("python", "root"))
        return same_place and self.minor() == minor

    def create(self, interpreter: Interpreter) -> None:
        """Make an empty environment in place of whatever is there.

        Raises:
            SetupError: When it cannot be removed or made.
        """
        try:
            if self.path.is_symlink():
                self.path.unlink()
            elif self.path.exists():
                shutil.rmtree(self.path)
        except OSError as error:
            raise SetupError(f"cannot remove the old {self.path}: {error}") from error
        made = subprocess.run(
            [interpreter.path, "-m", "venv", str(self.path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if made.returncode != 0:
            raise SetupError(f"cannot make {self.path}:\n{_last_lines(made.stdout)}")

    def pip(self, *arguments: str, shown: bool = False) -> bool:
        """Run pip in the environment; its output goes to the log, or to the terminal if `shown`."""
        # Settings that would make pip install somewhere else than in the environment.
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in {"PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX"}
        }
        environment.update(PIP_USER="0", PIP_NO_INPUT="1", PIP_DISABLE_PIP_VERSION_CHECK="1")
        command = [str(self.python), "-m", "pip", *arguments]
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"$ pip {' '.join(arguments)}\n")
            log.flush()
            output = sys.stderr if shown else log
            done = subprocess.run(
                command, stdout=output, stderr=output, cwd=self.root, env=environment, check=False
            )
        return done.returncode == 0

    def must_pip(self, *arguments: str) -> None:
        """Run pip; SetupError with its last lines when it fails."""
        if not self.pip(*arguments):
            text = self.log.read_text(encoding="utf-8", errors="replace")
            raise SetupError(f"pip failed; the whole log is {self.log}\n{_last_lines(text)}")

    def torch_version(self) -> str | None:
        """Return the installed torch's version, build label included, without importing it."""
        for found in self.path.glob("lib/python*/site-packages/torch-*.dist-info/METADATA"):
            for line in found.read_text(encoding="utf-8", errors="replace").split("\n"):
                if line.startswith("Version: "):
                    return line[len("Version: ") :].strip()
        return None

    def has_torch(self, version: str) -> bool:
        """Tell whether the pinned torch is installed, whatever its build label."""
        have = self.torch_version()
        return have is not None and have.split("+")[0] == version


def _last_lines(text: str) -> str:
    lines = [line for line in text.strip().split("\n") if "is ignored: it is neither" not in line]
    return "\n".join(lines[-SHOWN_LINES:])


def install_pinned(environment: Environment) -> None:
    """Install every pin but torch, then the checkout itself, editable."""
    started_s = time.monotonic()
    files = [environment.root / "requirements" / name for name in PINNED]
    texts = [file.read_text(encoding="utf-8").split("\n") for file in files]
    count = sum("==" in line for text in texts for line in text)
    say(f"installing {count} pinned packages (about a minute)")
    # The three packages without a wheel are built by the pinned setuptools, not by the newest one.
    build, *others = [str(file) for file in files]
    environment.must_pip("install", "-r", build)
    listed = [part for file in others for part in ("-r", file)]
    environment.must_pip("install", "--no-build-isolation", *listed)
    say(f"installed them in {time.monotonic() - started_s:.0f} s")


def install_torch(
    environment: Environment, minor: str, machine: str, get: Callable[[str], str]
) -> None:
    """Install the pinned torch, without CUDA wherever such a build is to be had.

    Args:
        environment: Where to install it.
        minor: The environment's Python, such as `3.12`.
        machine: The processor, as wheels name it.
        get: Fetches a web page.

    Raises:
        SetupError: When no index brings the pinned version.
    """
    pin = _pin(environment.root / "requirements" / "torch.txt")
    version = pin.split("==")[1]
    if environment.has_torch(version):
        say(f"torch {environment.torch_version()} is here")
        return
    started_s = time.monotonic()
    # Apple's processors alone are named so; their builds are on PyPI, and none has CUDA.
    on_macos = machine == "arm64"
    if on_macos:
        say(f"installing torch {version} from pip's configured index")
    elif cpu_index_offers(version, minor, machine, get):
        say(f"installing torch {version} from PyTorch's CPU index (about 200 MB)")
        if not environment.pip("install", "--no-deps", "--index-url", CPU_INDEX, pin):
            say(f"PyTorch's CPU index answered but did not deliver; see {environment.log}")
    else:
        say(f"PyTorch's CPU index does not answer with torch {version} for this machine")
    if not environment.has_torch(version):
        if not on_macos:
            say(
                f"installing torch {version} from pip's configured index; unless that holds a CPU "
                "build, this brings CUDA: about 3 GB to download and 7 GB on disk"
            )
        # A terminal shows pip's own progress bar; a log file would only fill up with it.
        if sys.stderr.isatty():
            if not environment.pip("install", pin, shown=True):
                raise SetupError("pip could not install torch; its message is above")
        else:
            environment.must_pip("install", pin)
    say(f"installed torch {environment.torch_version()} in {time.monotonic() - started_s:.0f} s")


def _pin(file: Path) -> str:
    """Return the one requirement in a file."""
    lines = file.read_text(encoding="utf-8").split("\n")
    (pin,) = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return pin


def set_up(environment: Environment, machine: Machine, wanted: str | None) -> None:
    """Bring the environment up to date, or find that it is.

    Raises:
        SetupError: With what the person has to do.
    """
    named = prerequisites.probe(machine, wanted) if wanted else None
    if wanted and named is None:
        raise SetupError(f"{wanted} does not run.")
    if environment.is_current(named.minor if named else None):
        return

    started_s = time.monotonic()
    interpreter = prerequisites.ensure(machine, wanted, say)
    if environment.can_be_updated(interpreter.minor):
        say("bringing .venv up to date")
    else:
        say("making .venv")
        environment.create(interpreter)
    # From here to the last line the environment counts as half made.
    environment.stamp.unlink(missing_ok=True)
    install_pinned(environment)
    install_torch(environment, interpreter.minor, machine.machine, fetch)
    environment.must_pip("install", "--no-deps", "--no-build-isolation", "--editable", ".")
    environment.must_pip("check")
    environment.write_stamp(environment.wanted_stamp(interpreter.minor))
    say(f"ready after {time.monotonic() - started_s:.0f} s")


@contextlib.contextmanager
def hold(root: Path) -> Iterator[None]:
    """Keep other set-ups of this checkout out; the lock is on the folder, so nothing is left."""
    import fcntl  # absent on Windows, where the sentence about WSL2 must still be said

    directory = os.open(root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("another set-up of this checkout is running; waiting for it")
            fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def main(arguments: list[str]) -> int:
    """Run set-up.

    Returns:
        The exit status: 0 ready, 1 something to do is printed, 130 interrupted.
    """
    parser = argparse.ArgumentParser(description="Make .venv with every pinned requirement.")
    parser.add_argument("--python", metavar="NAME", help="the interpreter to use, e.g. python3.12")
    options = parser.parse_args(arguments)
    # A terminated set-up must take pip along, as an interrupted one does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    machine = Machine()
    try:
        sentence = prerequisites.refusal(machine)
        if sentence is not None:
            raise SetupError(sentence)
        with hold(ROOT):
            set_up(Environment(ROOT), machine, options.python)
    except SetupError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("interrupted; run it again and it starts over with a clean .venv")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
