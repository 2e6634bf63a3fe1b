"""Set-up: where torch comes from, and when an environment is remade."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scripts import prerequisites, setup
from scripts.prerequisites import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent.parent


def page(*wheels: str) -> Callable[[str], str]:
    text = "\n".join(f'<a href="/whl/cpu/{name}">{name}</a>' for name in wheels)
    return {f"{setup.CPU_INDEX}/torch/": text}.__getitem__


def silent(url: str) -> str:
    raise TimeoutError(url)


def test_the_cpu_index_counts_only_with_a_build_for_this_python_and_machine() -> None:
    wheel = "torch-2.13.0%2Bcpu-cp312-cp312-manylinux_2_28_x86_64.whl"
    offers = setup.cpu_index_offers
    assert offers("2.13.0", "3.12", "x86_64", page("torch-2.12.0", wheel))
    assert not offers("2.13.0", "3.12", "aarch64", page(wheel))
    assert not offers("2.13.0", "3.13", "x86_64", page(wheel))
    assert not offers("2.13.1", "3.12", "x86_64", page(wheel))
    assert not offers("2.13.0", "3.12", "x86_64", page("please log in to this hotel"))
    assert not offers("2.13.0", "3.12", "x86_64", silent)


class RecordingEnvironment(setup.Environment):
    """Takes the calls of pip; an installed torch appears as it would on disk."""

    def __init__(self, root: Path, brings: dict[str, str]) -> None:
        super().__init__(root)
        self.brings = brings
        self.calls: list[tuple[str, ...]] = []
        self.path.mkdir()

    def pip(self, *arguments: str, shown: bool = False) -> bool:
        self.calls.append(arguments)
        source = "cpu" if setup.CPU_INDEX in arguments else "default"
        if source not in self.brings:
            self.log.write_text("ERROR: No matching distribution found\n")
            return False
        info = self.path / "lib/python3.12/site-packages/torch-2.13.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Name: torch\nVersion: {self.brings[source]}\n")
        return True


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "torch.txt").write_text("# Why.\ntorch==2.13.0\n")
    (tmp_path / "requirements" / "base.txt").write_text("msgpack==1.2.4\n")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "setup.py").write_text("")
    return tmp_path


OFFERED = page("torch-2.13.0%2Bcpu-cp312-cp312-manylinux_2_28_x86_64.whl")


def install_torch(environment: setup.Environment, get: Callable[[str], str]) -> None:
    setup.install_torch(environment, "3.12", "x86_64", get)


def test_torch_comes_from_the_cpu_index_when_it_answers(checkout: Path) -> None:
    environment = RecordingEnvironment(checkout, {"cpu": "2.13.0+cpu", "default": "2.13.0"})
    install_torch(environment, OFFERED)
    assert environment.torch_version() == "2.13.0+cpu"
    assert len(environment.calls) == 1


@pytest.mark.parametrize("get", [silent, OFFERED])
def test_torch_falls_back_to_plain_pip_with_the_size_said_first(
    checkout: Path, get: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    environment = RecordingEnvironment(checkout, {"default": "2.13.0+cpu"})
    install_torch(environment, get)
    assert environment.calls[-1] == ("install", "torch==2.13.0")
    captured = capsys.readouterr()
    assert "about 3 GB" in captured.err
    assert captured.out == ""


def test_torch_is_left_alone_when_the_pin_is_there_and_replaced_when_not(checkout: Path) -> None:
    environment = RecordingEnvironment(checkout, {"default": "2.13.0"})
    install_torch(environment, silent)
    install_torch(environment, silent)
    assert len(environment.calls) == 1
    (checkout / "requirements" / "torch.txt").write_text("torch==2.14.0\n")
    environment.brings = {}
    with pytest.raises(SetupError, match="No matching distribution"):
        install_torch(environment, silent)


@pytest.fixture
def made(checkout: Path) -> setup.Environment:
    """An environment that looks finished; its interpreter is the one that runs the tests."""
    environment = setup.Environment(checkout)
    environment.python.parent.mkdir(parents=True)
    environment.python.symlink_to(sys.executable)
    (environment.path / "bin" / "swarm-node").write_text("")
    environment.write_stamp(environment.wanted_stamp(f"3.{sys.version_info.minor}"))
    return environment


def test_a_finished_environment_is_current_until_its_sources_change(
    made: setup.Environment,
) -> None:
    minor = f"3.{sys.version_info.minor}"
    assert made.is_current(None)
    assert made.is_current(minor)
    assert not made.is_current("3.99")
    (made.root / "requirements" / "base.txt").write_text("msgpack==1.2.5\n")
    assert not made.is_current(None)
    assert made.can_be_updated(minor)
    assert not made.can_be_updated("3.99")


def test_a_half_made_moved_or_broken_environment_is_made_anew(made: setup.Environment) -> None:
    minor = f"3.{sys.version_info.minor}"
    stamp = made.read_stamp()
    for damaged in ("", "[]", json.dumps({**stamp, "root": "/elsewhere"})):
        made.stamp.write_text(damaged)
        assert not made.is_current(None)
        assert not made.can_be_updated(minor)
    made.write_stamp(stamp)
    assert made.is_current(None)
    made.python.unlink()
    assert not made.is_current(None)
    assert not made.can_be_updated(minor)


def test_a_second_set_up_waits_for_the_first(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from scripts import setup\n"
    code += "with setup.hold(Path(sys.argv[1])): print('mine', flush=True)"
    with setup.hold(tmp_path):
        second = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert second.stderr is not None
        assert "waiting for it" in second.stderr.readline()
        assert second.poll() is None
    out, _ = second.communicate(timeout=60)
    assert out == "mine\n"


def test_set_up_reads_on_python_3_8() -> None:
    for name in ("setup.py", "prerequisites.py", "__init__.py"):
        ast.parse((ROOT / "scripts" / name).read_text(), feature_version=(3, 8))


def test_the_supported_versions_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ordered = sorted(prerequisites.SUPPORTED)
    assert project["requires-python"] == f">=3.{ordered[0][1]},<3.{ordered[-1][1] + 1}"


def test_every_requirement_is_pinned_exactly_and_torch_as_the_package_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["train"] == [
        setup._pin(ROOT / "requirements" / "torch.txt")
    ]
    names: list[str] = []
    for file in setup.PINNED:
        for line in (ROOT / "requirements" / file).read_text().split("\n"):
            if line and not line.startswith("#"):
                name, equals, version = line.partition("==")
                assert equals, line
                assert version, line
                names.append(name.lower().replace("_", "-"))
    assert len(names) == len(set(names))
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    direct = {requirement.split(">")[0].split("=")[0] for requirement in wanted}
    assert direct <= set(names)
