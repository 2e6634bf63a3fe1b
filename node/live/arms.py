"""What a live test compares: versions of what a task lets agents edit.

They come from the task itself, from directories with edited files, or from a home whose swarm works
on the task. The first is the baseline. This file refuses to know who gets which.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.blobs import BlobStore
from node.errors import NodeError, UsageError
from node.home import Home
from node.offline import fold_home
from protocol.sources import SourcesError, join_files
from swarm.source import SourceError, check_source
from trainer.fields import TaskError
from trainer.manifest import Live
from trainer.task import FILE_BYTES_MAX, Task, load_task, open_bundle

ARMS_MAX: Final = 8
BASELINE: Final = "baseline"


@dataclass(frozen=True, slots=True)
class Arms:
    """A live test's subject.

    Attributes:
        task: The task.
        live: What of it is handed out.
        sources: The edited files of each arm as one text, by name; the baseline is first.
    """

    task: Task
    live: Live
    sources: Mapping[str, str]

    @property
    def digests(self) -> dict[str, bytes]:
        """What is handed out, by arm: task and source."""
        return {
            name: hashlib.sha256(self.task.digest + source.encode()).digest()
            for name, source in self.sources.items()
        }


def arms_of_task(directory: Path, others: Sequence[tuple[str, Path]]) -> Arms:
    """The task's own files, and directories that hold other versions of them.

    Raises:
        UsageError: The task or one of the versions cannot be used.
    """
    try:
        task = load_task(directory)
    except TaskError as error:
        raise UsageError(str(error)) from error
    return _arms(task, {BASELINE: task.genesis_script(next(iter(task.tiers)))}, others)


def arms_of_home(home: Home, others: Sequence[tuple[str, Path]]) -> Arms:
    """What a swarm started from, its head, and directories that hold other versions.

    Raises:
        NodeError: The home has no swarm, or lacks the task or a source.
        UsageError: The task or one of the versions cannot be used.
    """
    ledger = fold_home(home)
    blobs = BlobStore(home.blobs)

    def read(digest: bytes) -> bytes:
        found = blobs.read(digest)
        if found is None:
            raise NodeError(f"{home.root} lacks the blob {digest.hex()[:16]}; let its node run")
        return found

    try:
        task = open_bundle(read(ledger.genesis_body.task.digest))
    except TaskError as error:
        raise UsageError(str(error)) from error
    sources = {"genesis": read(ledger.genesis_body.source).decode(errors="replace")}
    if ledger.head.depth:
        sources["head"] = read(ledger.head.source).decode(errors="replace")
    return _arms(task, sources, others)


def _arms(task: Task, sources: dict[str, str], others: Sequence[tuple[str, Path]]) -> Arms:
    if task.manifest.live is None:
        raise UsageError(f"task {task.name} has no [live] table: there is nothing to hand out")
    baseline = next(iter(sources.values()))
    for name, directory in others:
        if name in sources:
            raise UsageError(f"there are two arms called {name}")
        sources[name] = _read_version(task, directory)
    if not 2 <= len(sources) <= ARMS_MAX:
        raise UsageError(f"a live test compares 2 to {ARMS_MAX} arms; add --arm NAME=DIR")
    for name, source in sources.items():
        try:
            check_source(source, baseline)
        except SourceError as error:
            raise UsageError(f"arm {name} cannot be handed out: {error}") from error
    return Arms(task, task.manifest.live, sources)


def _read_version(task: Task, directory: Path) -> str:
    try:
        files = {}
        for name in task.editable:
            with (directory / name).open("rb") as file:
                files[name] = file.read(FILE_BYTES_MAX + 1).decode()
        return join_files(files)
    except (OSError, UnicodeDecodeError, SourcesError) as error:
        raise UsageError(f"cannot read a version in {directory}: {error}") from error
