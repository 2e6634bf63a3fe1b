"""A task: what is being optimised, read from a directory and carried as one bundle.

This file decides how a task is read, packed and turned into jobs; what `task.toml` may say is
decided in `trainer.manifest`. A task comes from a directory or, on a node that joined a swarm, from
the bundle that a peer sent: both pass the same checks, and every part of them is hostile until
then. It refuses to know torch, the sandbox and the swarm.

The bundle is canonical MessagePack of the task's text files, without data: equal tasks have equal
bytes, so a task is named by the SHA-256 of its bundle.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from typing import TYPE_CHECKING, Any, Final

import msgpack

from protocol.sources import SourcesError, join_files
from trainer.constants import read_constants, set_constants
from trainer.fields import TaskError
from trainer.job import Job
from trainer.manifest import (
    FILES_MAX,
    MANIFEST,
    SAFE_NAME,
    WORD,
    Manifest,
    Metric,
    Scorer,
    Tier,
    read_manifest,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer.data import Pin, Split

BUNDLE_VERSION: Final = 1
BUNDLE_BYTES_MAX: Final = 256 * 1024
"""Largest bundle: a script of 48 KiB, a task file and a few notes."""
FILE_BYTES_MAX: Final = 48 * 1024
BUILT_IN: Final = pathlib.Path(__file__).parent / "tasks"


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """A checked task.

    Attributes:
        manifest: what its `task.toml` says.
        files: every text file of the task by name, `task.toml` and the editable ones included.
    """

    manifest: Manifest
    files: Mapping[str, bytes]

    @property
    def name(self) -> str:
        """Word for it."""
        return self.manifest.name

    @property
    def title(self) -> str:
        """One line for people."""
        return self.manifest.title

    @property
    def editable(self) -> tuple[str, ...]:
        """Names of the files that hypotheses change."""
        return self.manifest.editable

    @property
    def entry(self) -> tuple[str, ...]:
        """Functions that the editable file must define; none where it is a program."""
        return self.manifest.entry

    @property
    def scorer(self) -> Scorer:
        """Who computes the metric: the node or a judge (`trusted`), or the run (`reported`)."""
        return self.manifest.scorer

    @property
    def edits_one_script(self) -> bool:
        """Whether what hypotheses change is one Python file, whose text is all of their source."""
        return len(self.editable) == 1 and self.editable[0].endswith(".py")

    @property
    def metric(self) -> Metric:
        """What is measured."""
        return self.manifest.metric

    @property
    def splits(self) -> Mapping[str, Split]:
        """The data, by name."""
        return self.manifest.splits

    @property
    def tiers(self) -> Mapping[str, Tier]:
        """Sizes of experiment, by name."""
        return self.manifest.tiers

    @property
    def pins(self) -> dict[str, Pin]:
        """Every blob that the task needs beside its bundle, by name."""
        vocabulary = self.manifest.vocabulary
        return {**self.splits, **({} if vocabulary is None else {"vocabulary": vocabulary})}

    @property
    def digest(self) -> bytes:
        """The task's name among peers: SHA-256 of its bundle."""
        return hashlib.sha256(self.bundle()).digest()

    def bundle(self) -> bytes:
        """Returns the canonical bytes of the task without its data."""
        value = {"files": dict(sorted(self.files.items())), "v": BUNDLE_VERSION}
        return bytes(msgpack.packb(value, use_bin_type=True))

    def tier(self, name: str) -> Tier:
        """Returns a tier.

        Raises:
            TaskError: the task has no tier of that name.
        """
        if name not in self.tiers:
            raise TaskError(f"{self.name} has no tier {name!r}; it has {', '.join(self.tiers)}")
        return self.tiers[name]

    def genesis_script(self, tier: str) -> str:
        """Returns the script that a lineage of this tier starts from.

        Several editable files, or one that is not Python, make one text; see `protocol.sources`.

        Raises:
            TaskError: there is no such tier, the script lacks a constant that it sets, or the files
                cannot be one text.
        """
        constants = self.tier(tier).constants
        if self.edits_one_script:
            return set_constants(self.files[self.editable[0]].decode(), constants)
        try:
            return join_files({name: self.files[name].decode() for name in self.editable})
        except SourcesError as error:
            raise TaskError(str(error)) from error

    def job(self, tier: str, script: str, seed: int, *, device: str = "cpu") -> Job:
        """Returns the job of running a script once on a tier.

        Raises:
            TaskError: there is no such tier.
            TrainerError: the seed is out of range.
        """
        size, manifest = self.tier(tier), self.manifest
        return Job(
            script=script,
            budget=size.budget,
            evaluation=size.evaluation,
            seed=seed,
            vocab_size=manifest.vocab_size,
            device=device,
            limits=size.limits,
            token_width=1 if manifest.vocabulary is None else 2,
            run=manifest.run,
            metric_name=self.metric.name,
            editable=self.editable,
        )


def load_task(directory: pathlib.Path) -> Task:
    """Reads a task from a directory.

    Raises:
        TaskError: a file is missing or says something invalid.
    """
    manifest = read_manifest(_read(directory / MANIFEST))
    names = {MANIFEST, *manifest.editable, *manifest.files}
    return _task({name: _read(directory / name) for name in sorted(names)})


def built_in_task(name: str = "bytes-gpt") -> Task:
    """Returns a task that ships with this program.

    Raises:
        TaskError: none has that name.
    """
    return load_task(built_in_directory(name))


def built_in_directory(name: str = "bytes-gpt") -> pathlib.Path:
    """Returns the directory of a task that ships with this program.

    Raises:
        TaskError: none has that name.
    """
    directory = BUILT_IN / name.replace("-", "_")
    if WORD.fullmatch(name) is None or not (directory / MANIFEST).is_file():
        raise TaskError(f"there is no built-in task {name!r}")
    return directory


def pack_bundle(directory: pathlib.Path) -> bytes:
    """Returns the bundle of the task in a directory.

    Raises:
        TaskError: the directory does not hold a valid task.
    """
    return load_task(directory).bundle()


def open_bundle(raw: bytes) -> Task:
    """Returns the task in a bundle, whoever sent it.

    Raises:
        TaskError: the bytes are not a canonical bundle of a valid task; nothing else is raised.
    """
    if len(raw) > BUNDLE_BYTES_MAX:
        raise TaskError(f"a bundle has at most {BUNDLE_BYTES_MAX} bytes")
    try:
        value: Any = msgpack.unpackb(raw, raw=False, strict_map_key=True, max_map_len=FILES_MAX)
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError, TypeError) as error:
        raise TaskError("the bundle is not MessagePack") from error
    if not isinstance(value, dict) or set(value) != {"files", "v"}:
        raise TaskError("the bundle does not have the fields files and v")
    if value["v"] != BUNDLE_VERSION or not isinstance(value["files"], dict):
        raise TaskError("the bundle has an unknown version")
    for name, content in value["files"].items():
        if not isinstance(name, str) or not isinstance(content, bytes):
            raise TaskError("a bundle maps names to bytes")
    task = _task(value["files"])
    if task.bundle() != raw:
        raise TaskError("the bundle is not canonical")
    return task


def _read(path: pathlib.Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise TaskError(f"cannot read {path}: {error.strerror}") from error


def _task(files: Mapping[str, bytes]) -> Task:
    """Checks files and returns their task: the one gate for directories and bundles."""
    if MANIFEST not in files:
        raise TaskError(f"the task has no {MANIFEST}")
    for name, content in files.items():
        if SAFE_NAME.fullmatch(name) is None:
            raise TaskError("a file of the task has an unsafe name")
        if len(content) > FILE_BYTES_MAX:
            raise TaskError(f"{name} is larger than {FILE_BYTES_MAX} bytes")
        try:
            content.decode()
        except UnicodeDecodeError as error:
            raise TaskError(f"{name} is not UTF-8") from error
    task = Task(read_manifest(files[MANIFEST]), dict(sorted(files.items())))
    if {MANIFEST, *task.editable, *task.manifest.files} != set(files):
        raise TaskError(f"{MANIFEST} and the task disagree on its files")
    for name in task.tiers:
        task.genesis_script(name)
    for scale in task.manifest.scales.values():
        read_constants(task.files[task.editable[0]].decode(), scale.constants)
    return task
