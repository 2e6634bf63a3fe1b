"""Write `requirements/*.txt`: exact versions of everything, as one fresh environment resolved it.

Decides which file a package is listed in: `build.txt` (what builds the others), `base.txt` (what a
node without training needs), `train.txt` (what torch itself needs), `dev.txt` (checks and tests),
`test-web.txt` (the page's tests in a browser), `test-parquet.txt` (tests with real Parquet files).
Refuses to know about torch: its pin stands in `torch.txt` and is changed by hand together with
`pyproject.toml`, because results are compared across nodes and a new torch moves them.

Run it with the oldest supported Python: `python3.11 scripts/pin.py`. Afterwards run the tests on
every supported version, since a dependency may ask for more on a newer one (see `EXTRA_LINES`).
"""

from __future__ import annotations

import subprocess
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"

#: Packages that only some Python versions need, so that no single environment shows them.
EXTRA_LINES = {"base.txt": ['PyYAML-ft==8.0.0; python_version == "3.13"']}

HEADER = "# {what}\n# Written by scripts/pin.py; do not edit by hand.\n"


def freeze(python: Path) -> set[str]:
    """Return the `name==version` lines of an environment, without pip's own tools."""
    listed = subprocess.run(
        [python, "-m", "pip", "freeze", "--exclude", "torch"],
        check=True,
        capture_output=True,
        text=True,
    )
    return set(listed.stdout.split("\n")) - {""}


def install(python: Path, requirements: list[str]) -> None:
    """Install the newest releases that satisfy `requirements`."""
    subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)


def write(name: str, what: str, lines: set[str]) -> None:
    """Write one requirement file, sorted, with its header."""
    ordered = sorted([*lines, *EXTRA_LINES.get(name, [])], key=str.lower)
    text = HEADER.format(what=what) + "\n".join(ordered) + "\n"
    (REQUIREMENTS / name).write_text(text, encoding="utf-8")


def main() -> None:
    """Resolve the groups of `pyproject.toml` one after the other and write what each one added."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = pyproject["project"]
    torch_pin = (REQUIREMENTS / "torch.txt").read_text(encoding="utf-8").split("\n")
    with tempfile.TemporaryDirectory() as directory:
        venv.create(directory, with_pip=True)
        python = Path(directory, "bin", "python")

        install(python, pyproject["build-system"]["requires"])
        # `pip freeze` hides setuptools on some versions, so it is asked for by name.
        shown = subprocess.run(
            [python, "-c", "import setuptools; print(setuptools.__version__)"],
            check=True,
            capture_output=True,
            text=True,
        )
        build = {f"setuptools=={shown.stdout.strip()}"}
        write("build.txt", "What builds the packages that have no wheel, and this one.", build)

        install(python, project["dependencies"])
        base = freeze(python) - build
        write("base.txt", "What a node needs, training apart.", base)

        install(python, [line for line in torch_pin if line and not line.startswith("#")])
        train = freeze(python) - build
        own = {line for line in train - base if not line.startswith(("nvidia-", "cuda-", "triton"))}
        write("train.txt", "What torch needs beside itself; torch.txt pins torch.", own)

        install(python, project["optional-dependencies"]["dev"])
        dev = freeze(python) - build - train
        write("dev.txt", "What the checks and the tests need.", dev)

        install(python, project["optional-dependencies"]["test-web"])
        browser = freeze(python) - build - train - dev
        write("test-web.txt", "What the page's tests in a browser need.", browser)

        install(python, project["optional-dependencies"]["parquet"])
        parquet = freeze(python) - build - train - dev - browser
        write("test-parquet.txt", "What the tests with real Parquet files need.", parquet)


if __name__ == "__main__":
    main()
