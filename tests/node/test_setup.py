"""Set-up: what is missing on a machine, where torch comes from, when an environment is remade."""

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
from scripts.prerequisites import Interpreter, Machine, SetupError

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent.parent
HEADERS = "/usr/include/python3.12/Python.h"


class FakeMachine(Machine):
    """A computer described by its programs; apt-get adds what it is asked to install."""

    def __init__(self, *programs: str, root: bool = False, version: tuple[int, ...] = (3, 12, 3)):
        self.platform = "linux"
        self.kernel = "6.8.0-generic"
        self.machine = "x86_64"
        self.python = "/usr/bin/python3"
        self.compiler = ""
        self.programs = {"python3", "/usr/bin/python3", *programs}
        self.root = root
        self.version = version
        self.makes_venv = True
        self.files = {HEADERS}
        self.gmp = True
        self.namespaces = True
        self.apt_works = True
        self.commands: list[list[str]] = []

    @property
    def is_root(self) -> bool:
        return self.root

    def which(self, program: str) -> str | None:
        return f"/usr/bin/{Path(program).name}" if program in self.programs else None

    def exists(self, path: str) -> bool:
        return path in self.files

    def run(self, command: list[str], stdin: str = "", limit_s: int = 1) -> tuple[int, str]:
        self.commands.append(command)
        match Path(command[0]).name:
            case "python3":
                return 0, self._told(self.version)
            case "python3.11":
                return 0, self._told((3, 11, 9))
            case "python3.12":
                return 127, "pyenv: python3.12: command not found"
            case "gcc" | "cc":
                compiler_here = "gcc" in self.programs
                return (0 if compiler_here and (self.gmp or "gmp.h" not in stdin) else 1), ""
            case "bwrap":
                return (0 if self.namespaces else 1), ""
            case "apt-get":
                return self._apt_get(command)
            case other:
                raise AssertionError(other)

    def _apt_get(self, command: list[str]) -> tuple[int, str]:
        if not self.apt_works:
            return 100, "E: Unable to fetch some archives"
        if "install" in command:
            self.programs |= {"gcc"} if "gcc" in command else set()
            self.programs |= {"bwrap"} if "bubblewrap" in command else set()
            self.gmp = self.gmp or "libgmp-dev" in command
            self.makes_venv = self.makes_venv or "python3.12-venv" in command
            self.files |= {HEADERS} if "python3.12-dev" in command else set()
        return 0, ""

    def _told(self, version: tuple[int, ...]) -> str:
        return json.dumps(
            {
                "version": list(version),
                "include": str(Path(HEADERS).parent),
                "compiler": "gcc -pthread",
                "makes_venv": self.makes_venv,
            }
        )


def complete(*, root: bool = False) -> FakeMachine:
    return FakeMachine("gcc", "bwrap", "apt-get", root=root)


def ensure(machine: FakeMachine, wanted: str | None = None) -> tuple[Interpreter, str]:
    said: list[str] = []
    interpreter = prerequisites.ensure(machine, wanted, said.append)
    return interpreter, "\n".join(said)


def bare(machine: FakeMachine) -> FakeMachine:
    """Take away everything that a slim image lacks."""
    machine.programs -= {"gcc", "bwrap"}
    machine.gmp = False
    machine.makes_venv = False
    machine.files = set()
    return machine


def test_a_complete_machine_needs_nothing() -> None:
    machine = complete(root=True)
    interpreter, said = ensure(machine)
    assert interpreter.version == (3, 12, 3)
    assert "bubblewrap is here and works" in said
    assert not any(command[0] == "apt-get" for command in machine.commands)


@pytest.mark.parametrize(
    ("take", "package"),
    [
        (lambda machine: machine.programs.discard("gcc"), "gcc libc6-dev libgmp-dev"),
        (lambda machine: setattr(machine, "gmp", False), "libgmp-dev"),
        (lambda machine: machine.files.clear(), "python3.12-dev"),
        (lambda machine: setattr(machine, "makes_venv", False), "python3.12-venv"),
    ],
)
def test_a_user_is_told_the_exact_commands(
    take: Callable[[FakeMachine], None], package: str
) -> None:
    machine = complete()
    take(machine)
    with pytest.raises(SetupError) as refused:
        ensure(machine)
    assert f"sudo apt-get update && sudo apt-get install -y {package}\n" in str(refused.value)
    assert "sudo dnf install -y " in str(refused.value)
    assert not any(command[0] == "apt-get" for command in machine.commands)


def test_everything_missing_is_named_in_one_command() -> None:
    with pytest.raises(SetupError) as refused:
        ensure(bare(complete()))
    debian, fedora = str(refused.value).split("\n")[1:3]
    assert debian.endswith("python3.12-venv python3.12-dev gcc libc6-dev libgmp-dev bubblewrap")
    assert fedora.endswith("python3 python3-devel gcc glibc-devel gmp-devel bubblewrap")


def test_root_on_debian_gets_what_is_missing_installed() -> None:
    machine = bare(complete(root=True))
    _, said = ensure(machine)
    assert "installing with apt-get: python3.12-venv python3.12-dev gcc" in said
    assert "bubblewrap is here and works" in said


def test_a_failing_apt_get_is_shown_and_the_command_is_still_printed() -> None:
    machine = bare(complete(root=True))
    machine.apt_works = False
    said: list[str] = []
    with pytest.raises(SetupError, match="apt-get update && apt-get install -y"):
        prerequisites.ensure(machine, None, said.append)
    assert "Unable to fetch some archives" in "\n".join(said)


def test_a_missing_bubblewrap_warns_with_its_command() -> None:
    _, said = ensure(FakeMachine("gcc"))
    assert "bubblewrap is missing" in said
    assert "sudo apt-get install -y bubblewrap" in said
    assert "sudo dnf install -y bubblewrap" in said


def test_a_bubblewrap_that_may_not_make_namespaces_is_reported() -> None:
    machine = complete()
    machine.namespaces = False
    _, said = ensure(machine)
    assert "may not make namespaces" in said


@pytest.mark.parametrize("version", [(3, 10, 12), (3, 14, 0)])
def test_another_interpreter_is_chosen_when_python3_is_not_supported(
    version: tuple[int, ...],
) -> None:
    machine = FakeMachine("gcc", "bwrap", "python3.11", "python3.12", version=version)
    interpreter, _ = ensure(machine)
    assert interpreter.path == "/usr/bin/python3.11"


def test_without_a_supported_python_the_commands_bring_one() -> None:
    machine = FakeMachine("gcc", "bwrap", version=(3, 9, 2))
    with pytest.raises(
        SetupError, match=r"install -y python3\.11 python3\.11-venv python3\.11-dev"
    ):
        ensure(machine)


def test_a_named_interpreter_is_the_only_candidate() -> None:
    machine = FakeMachine("gcc", "bwrap", "python3.11", version=(3, 10, 1))
    with pytest.raises(SetupError, match=r"python3 is not a working Python 3\.11"):
        ensure(machine, "python3")


@pytest.mark.parametrize(
    ("platform", "kernel", "processor", "words"),
    [
        ("darwin", "19.0", "x86_64", "only for Apple's own processors"),
        ("win32", "10", "AMD64", "WSL2"),
        ("freebsd14", "14", "amd64", "not on freebsd14"),
        ("linux", "4.4.0-19041-Microsoft", "x86_64", "WSL1"),
        ("linux", "6.1.0", "armv7l", "no Linux build for armv7l"),
    ],
)
def test_other_platforms_get_one_sentence(
    platform: str, kernel: str, processor: str, words: str
) -> None:
    machine = complete()
    machine.platform, machine.kernel, machine.machine = platform, kernel, processor
    sentence = prerequisites.refusal(machine)
    assert sentence is not None
    assert words in sentence
    assert "\n" not in sentence


def test_macos_needs_nothing_but_python_and_is_told_of_its_sandbox() -> None:
    machine = complete()
    machine.platform, machine.machine, machine.gmp, machine.files = "darwin", "arm64", False, set()
    machine.programs -= {"gcc", "bwrap"}
    assert prerequisites.refusal(machine) is None
    said: list[str] = []
    assert prerequisites.ensure(machine, None, said.append).minor == "3.12"
    assert "weaker" in said[-1]
    machine.version = (3, 9, 6)
    with pytest.raises(SetupError, match="brew install python"):
        ensure(machine)


def test_wsl2_and_linux_are_not_refused() -> None:
    machine = complete()
    assert prerequisites.refusal(machine) is None
    machine.kernel = "5.15.153.1-microsoft-standard-WSL2"
    assert prerequisites.refusal(machine) is None


def test_this_machine_compiles_what_the_pins_need() -> None:
    """The real probes, on the machine that runs the tests, which set-up has passed."""
    machine = Machine()
    interpreter = prerequisites.probe(machine, sys.executable)
    assert interpreter is not None
    assert interpreter.version == sys.version_info[:3]
    missing = prerequisites.missing_pieces(machine, interpreter)
    assert [piece.name for piece in missing if piece.required] == []
    no_headers = "#include <no_such_header.h>\nint main(void) { return 0; }\n"
    assert not prerequisites._compiles(machine, interpreter, no_headers)


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
