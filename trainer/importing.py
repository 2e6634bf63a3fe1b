"""Making a task of a repository with autoresearch's contract.

The contract: `train.py` is the file that agents edit, `prepare.py` is fixed and holds the data
loader, the evaluation and `TIME_BUDGET` in seconds, `program.md` tells an agent what to do, and a
run prints `val_bpb: value` at its end. This file decides the `task.toml` that such a directory
gets, and makes links to data beside it. It changes no other file and refuses to run anything.
"""

from __future__ import annotations

import ast
import dataclasses
from typing import TYPE_CHECKING, Final

from protocol.syntax import REFUSALS, parse_tree
from trainer.data import measure
from trainer.fields import TaskError
from trainer.manifest import FILES_MAX, MANIFEST, SAFE_NAME
from trainer.task import FILE_BYTES_MAX

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence

CONTRACT: Final = ("train.py", "prepare.py", "program.md")
DATA_FOLDER: Final = "swarm-data"
"""Links to data that lies elsewhere are made here, inside the task's directory."""
CACHE: Final = ".cache/autoresearch"
"""Where autoresearch keeps its data and tokenizer, below a home directory."""
STARTUP_S: Final = 120
EVALUATION_S: Final = 300
"""What start-up and evaluation may take beside twice the training time, as autoresearch allows."""
DATA_FILES_MAX: Final = 60


@dataclasses.dataclass(frozen=True, slots=True)
class Import:
    """What is wanted of an import.

    Attributes:
        name: word for the task.
        device: class of devices whose runs are compared: `cpu`, `cuda` or `mps`.
        metric: the metric that a run prints.
        direction: `min` or `max`.
        seconds: training time; None takes `TIME_BUDGET` from `prepare.py`.
        tau_micro: smallest gain that matters, in millionths.
        memory_mib: most memory of a run.
        cache: directory whose files a run finds under `~/.cache/autoresearch`; None for no data.
    """

    name: str
    device: str
    metric: str = "val_bpb"
    direction: str = "min"
    seconds: int | None = None
    tau_micro: int = 2_000
    memory_mib: int = 8192
    cache: pathlib.Path | None = None


def import_task(directory: pathlib.Path, wanted: Import) -> pathlib.Path:
    """Writes a `task.toml` into a directory with autoresearch's contract, and returns its path.

    Raises:
        TaskError: the directory does not keep the contract, or has a `task.toml` already.
    """
    missing = [name for name in CONTRACT if not (directory / name).is_file()]
    if missing:
        raise TaskError(f"{directory} has no {', no '.join(missing)}")
    target = directory / MANIFEST
    if target.exists():
        raise TaskError(f"{target} is there already; remove it to import again")
    seconds = wanted.seconds or time_budget_s(directory / "prepare.py")
    text = _HEAD.format(
        name=wanted.name,
        files=_quoted(_fixed_files(directory)),
        metric=wanted.metric,
        unit="bits/byte" if wanted.metric.endswith("bpb") else wanted.metric,
        direction=wanted.direction,
        seconds=seconds,
        device=wanted.device,
        tau_micro=wanted.tau_micro,
        memory_mib=wanted.memory_mib,
        startup_s=STARTUP_S,
        score_wall_s=EVALUATION_S,
        train_wall_s=STARTUP_S + 2 * seconds + EVALUATION_S,
    )
    try:
        for number, (file, path) in enumerate(_data(directory, wanted.cache)):
            size, digest = measure(directory / file)
            text += _DATA.format(number=number, file=file, size=size, digest=digest, path=path)
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TaskError(f"cannot import {error.filename}: {error.strerror}") from error
    return target


def time_budget_s(prepare: pathlib.Path) -> int:
    """Returns the seconds that `TIME_BUDGET` in a `prepare.py` says.

    Raises:
        TaskError: it cannot be read, or assigns no whole number, or product of such, to the name.
    """
    try:
        tree = parse_tree(prepare.read_text(encoding="utf-8"))
    except (OSError, *REFUSALS) as error:
        raise TaskError(f"cannot read {prepare}: {error}") from error
    assert isinstance(tree, ast.Module)
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="TIME_BUDGET")], value=value):
                seconds = _product(value)
                if seconds is not None and seconds > 0:
                    return seconds
            case _:
                continue
    raise TaskError(f"{prepare} sets no TIME_BUDGET = seconds; say it with --seconds")


def _product(node: ast.expr) -> int | None:
    match node:
        case ast.Constant(value=int() as value):
            return value
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            one, other = _product(left), _product(right)
            return None if one is None or other is None else one * other
        case _:
            return None


def _fixed_files(directory: pathlib.Path) -> list[str]:
    """Text files that travel with the task: those of the contract, and small modules beside."""
    others = sorted(
        path.name
        for path in directory.glob("*.py")
        if path.name not in CONTRACT
        and SAFE_NAME.fullmatch(path.name)
        and path.stat().st_size <= FILE_BYTES_MAX
    )
    return ["prepare.py", "program.md", *others][: FILES_MAX - 2]


def _data(directory: pathlib.Path, cache: pathlib.Path | None) -> list[tuple[str, str]]:
    """Returns (file inside the task's directory, where a run finds it) for every data file.

    Raises:
        TaskError: there are too many.
    """
    if cache is None:
        return []
    files = sorted(path for path in cache.rglob("*") if path.is_file())
    if len(files) > DATA_FILES_MAX:
        raise TaskError(f"{cache} holds {len(files)} files; a task has at most {DATA_FILES_MAX}")
    found = []
    for source in files:
        relative = source.relative_to(cache).as_posix()
        link = directory / DATA_FOLDER / relative
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(source.resolve())
        found.append((f"{DATA_FOLDER}/{relative}", f"{CACHE}/{relative}"))
    return found


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


_HEAD: Final = """\
# Made by `swarm-node task import` of a directory with autoresearch's contract. docs/tasks.md
# explains every key.

name = "{name}"
title = "Imported from autoresearch's contract"
editable = "train.py"
run = ["python", "train.py"]
files = [{files}]
scorer = "reported"                     # the run's last `{metric}: value` line

[metric]
name = "{metric}"
unit = "{unit}"
direction = "{direction}"

[limits]
startup_s = {startup_s}
score_wall_s = {score_wall_s}                      # the run evaluates itself: this comes on top
train_wall_s = {train_wall_s}
memory_mib = {memory_mib}

[tiers.standard]
budget = {{ kind = "seconds", amount = {seconds} }}
device = "{device}"                     # runs on other devices are not compared with these
tau_micro = {tau_micro}
"""

_DATA: Final = """
[data.file-{number}]
file = "{file}"
size_bytes = {size}
sha256 = "{digest}"
path = "{path}"
"""
