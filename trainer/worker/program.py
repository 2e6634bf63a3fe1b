"""Runs a script that is a program of its own and prints its metric.

This file decides what such a program sees: the task's other files and data below its home
directory, read-only, and its seed. It refuses to believe what it prints; the node reads the last
`metric: value` line and shows what it earns as *reproduced*. The process has given up its rights
before anything of the program is read.
"""

from __future__ import annotations

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
    from collections.abc import Callable

WORKSPACE: Final = "workspace"
"""Directory beside the worker's code, in which the task's files and data lie."""


class ProgramFailedError(Exception):
    """The program ended with an exit code other than 0."""


def run(settings: dict[str, Any], script: int) -> None:
    """Runs the program until it ends.

    Args:
        settings: those of the job.
        script: descriptor of the editable file.

    Raises:
        ProgramFailedError: it ended with an exit code other than 0.
        Exception: whatever it raises.
    """
    home = pathlib.Path(trainer.__file__).parent.parent / WORKSPACE
    os.lseek(script, 0, os.SEEK_SET)
    with os.fdopen(os.dup(script), "rb") as file:
        editable = file.read().decode()
    seed = int(settings["seed"])
    started, *arguments = json.loads(settings["run"])
    name = str(settings["editable"])
    _set_environment(home, seed, settings)
    sys.path.insert(0, str(home))
    sys.argv = [started, *arguments]
    seed_libraries(seed)
    _mix_seeds(seed)
    if started != name:
        _offer_module(name, editable)
        editable, name = (home / started).read_text(encoding="utf-8"), started
    module = types.ModuleType("__main__")
    module.__file__ = name
    sys.modules["__main__"] = module
    # Tracebacks in the log show the script's lines, although there may be no such file.
    linecache.cache[name] = (len(editable), None, editable.splitlines(True), name)
    try:
        exec(compile(editable, name, "exec"), module.__dict__)  # noqa: S102
    except SystemExit as end:
        if end.code not in (None, 0):
            raise ProgramFailedError(f"ended with exit code {end.code}") from end


def _set_environment(home: pathlib.Path, seed: int, settings: dict[str, Any]) -> None:
    os.environ["HOME"] = str(home)
    os.environ["SWARM_SEED"] = str(seed)
    os.environ["SWARM_BUDGET_SECONDS"] = str(settings["budget_amount"])
    os.chdir(home)


def _offer_module(name: str, source: str) -> None:
    """Makes the editable file importable, where another file is the one that is run."""
    module = types.ModuleType(name.removesuffix(".py"))
    module.__file__ = name
    sys.modules[module.__name__] = module
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    exec(compile(source, name, "exec"), module.__dict__)  # noqa: S102


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
