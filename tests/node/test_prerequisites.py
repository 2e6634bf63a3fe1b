"""What set-up finds missing on a machine, and the exact commands that bring it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scripts import prerequisites
from scripts.prerequisites import Interpreter, Machine, SetupError

if TYPE_CHECKING:
    from collections.abc import Callable

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
