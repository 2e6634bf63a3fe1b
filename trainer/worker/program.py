"""Runs a program that prints its metric.

This file decides what such a program sees: the task's fixed files and data below its home
directory, read-only, its seed, and the files that are edited: Python ones as modules (or as the
program itself), all of them through `swarm_files.read(name)`. It refuses to know what the printed
number is worth: the word of an edited program is shown as *reproduced*, that of a judge, whose code
is fixed and which only reads what is edited, as *verified*. The process has given up its rights
before anything of the program is read.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import json
import linecache
import os
import pathlib
import random
import sys
import types
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

import trainer
from trainer.worker.run import derive_seed, seed_libraries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

WORKSPACE: Final = "workspace"
"""Directory beside the worker's code, in which the task's files and data lie."""


class ProgramFailedError(Exception):
    """The program ended with an exit code other than 0."""


def run(settings: dict[str, Any], script: int) -> None:
    """Runs the program until it ends.

    Args:
        settings: those of the job.
        script: descriptor of a JSON object with the edited files by name.

    Raises:
        ProgramFailedError: it ended with an exit code other than 0.
        Exception: whatever it raises.
    """
    home = pathlib.Path(trainer.__file__).parent.parent / WORKSPACE
    os.lseek(script, 0, os.SEEK_SET)
    with os.fdopen(os.dup(script), "rb") as file:
        files = {str(name): str(text) for name, text in json.loads(file.read()).items()}
    seed = int(settings["seed"])
    started, *arguments = json.loads(settings["run"])
    _set_environment(home, seed, settings)
    sys.path.insert(0, str(home))
    sys.argv = [started, *arguments]
    seed_libraries(seed)
    _mix_seeds(seed)
    _offer(files)
    code = files[started] if started in files else (home / started).read_text(encoding="utf-8")
    module = types.ModuleType("__main__")
    module.__file__ = started
    sys.modules["__main__"] = module
    _remember_lines(started, code)
    try:
        exec(compile(code, started, "exec"), module.__dict__)  # noqa: S102
    except SystemExit as end:
        if end.code not in (None, 0):
            # A text is what `sys.exit("why")` says.
            why = end.code if isinstance(end.code, str) else f"ended with exit code {end.code}"
            raise ProgramFailedError(why) from end


def _set_environment(home: pathlib.Path, seed: int, settings: dict[str, Any]) -> None:
    os.environ["HOME"] = str(home)
    os.environ["SWARM_SEED"] = str(seed)
    os.environ["SWARM_BUDGET_SECONDS"] = str(settings["budget_amount"])
    os.chdir(home)


class _Edited(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the edited Python files, which lie in no directory."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files

    def find_spec(
        self,
        fullname: str,
        _path: Sequence[str] | None,
        _target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if f"{fullname}.py" not in self._files:
            return None
        return importlib.util.spec_from_loader(fullname, self)

    def create_module(
        self,
        spec: importlib.machinery.ModuleSpec,  # noqa: ARG002 - the loader's interface has it
    ) -> types.ModuleType | None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        name = f"{module.__name__}.py"
        module.__file__ = name
        _remember_lines(name, self._files[name])
        exec(compile(self._files[name], name, "exec"), module.__dict__)  # noqa: S102


def _offer(files: Mapping[str, str]) -> None:
    """Makes the edited files importable and readable."""
    sys.meta_path.insert(0, _Edited(files))
    reader = types.ModuleType("swarm_files")
    reader.__dict__.update(read=lambda name: files[name], names=lambda: sorted(files))
    sys.modules["swarm_files"] = reader


def _remember_lines(name: str, code: str) -> None:
    """Lets tracebacks in the log show a file's lines, although there may be no such file."""
    linecache.cache[name] = (len(code), None, code.splitlines(True), name)


def _mix_seeds(seed: int) -> None:
    """Lets seeds that the program sets itself follow from the run's seed as well.

    Programs of this kind begin with `torch.manual_seed(42)`: without this, every verifier would
    repeat one and the same draw.
    """

    def mixed(set_seed: Callable[[int], Any], stream: str) -> Callable[..., Any]:
        return lambda value=0, *_: set_seed(derive_seed(seed, f"{stream}:{value}") % 2**32)

    torch_seed, numpy_seed, python_seed = torch.manual_seed, np.random.seed, random.seed
    torch.manual_seed = mixed(torch_seed, "torch")
    np.random.seed = mixed(numpy_seed, "numpy")
    random.seed = mixed(python_seed, "python")
