"""What the runs of a task work on: tokens and bytes to score, or a program's files.

This file decides which of a task's blobs a runner gets and in which form. It refuses to know where
the blobs come from (a directory, or peers) and what is done with them (`runner.py`).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from trainer.vocabulary import read_vocabulary

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Mapping

    import numpy.typing as npt

    from node.materials import Materials
    from trainer.task import Task


@dataclasses.dataclass(frozen=True, slots=True)
class RunData:
    """The files of a task's runs.

    Attributes:
        train: training tokens, one or two bytes each; None where the run is a program.
        validation: the tokens that are scored, which stay outside of the sandbox.
        token_bytes: bytes that each token stands for; None where a token is a byte.
        workspace: files that a program sees, by their path below its home directory.
    """

    train: pathlib.Path | None
    validation: pathlib.Path | None
    token_bytes: npt.NDArray[np.int64] | None = None
    workspace: Mapping[str, pathlib.Path] = dataclasses.field(default_factory=dict)

    def scored(self) -> npt.NDArray[np.unsignedinteger]:
        """Returns the tokens that are scored."""
        if self.validation is None:
            return np.zeros(0, np.uint8)
        width = np.uint8 if self.token_bytes is None else np.dtype("<u2")
        return np.memmap(self.validation, width, mode="r")


def wanted(task: Task, split: str = "validation") -> list[str]:
    """Names of the pins that runs of a task need; the test split only where it is asked for."""
    if task.manifest.scores_model:
        vocabulary = [name for name in task.pins if name == "vocabulary"]
        return ["train", split, *vocabulary]
    return [name for name in task.pins if name != "test"]


def run_data(
    task: Task, files: Mapping[str, pathlib.Path], home: pathlib.Path, split: str = "validation"
) -> RunData:
    """Returns the data of a task's runs.

    Args:
        task: the task.
        files: the files of the wanted pins, by name.
        home: directory of this program's; a program's own files are written below it.
        split: what is scored.

    Raises:
        DataError: the vocabulary is not one, or has more tokens than the task says.
        OSError: a file cannot be written.
    """
    if not task.manifest.scores_model:
        workspace = {task.pins[name].path: path for name, path in files.items()}
        folder = home / f"task-{task.digest.hex()[:16]}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in task.files.items():
            if name not in task.editable:
                (folder / name).write_bytes(content)
                workspace[name] = folder / name
        return RunData(None, None, workspace=workspace)
    token_bytes = None
    if "vocabulary" in files:
        kind = task.manifest.vocabulary_kind
        vocabulary = read_vocabulary(files["vocabulary"].read_bytes(), kind)
        token_bytes = vocabulary.lengths(task.manifest.vocab_size)
    return RunData(files["train"], files[split], token_bytes)


async def fetch_run_data(materials: Materials, task: Task, home: pathlib.Path) -> RunData:
    """Returns the data of a task's runs; waits until peers deliver what is missing.

    Raises:
        DataError: as `run_data` does.
        NodeError: the genesis lacks something that the task names.
    """
    files = {name: await materials.split(name) for name in wanted(task)}
    return run_data(task, files, home)
