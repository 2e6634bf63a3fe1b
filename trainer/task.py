"""A task: what is being optimised, read from `task.toml` and carried as one bundle.

This file decides what a valid task is and how it becomes jobs. A task comes from a directory or,
on a node that joined a swarm, from the bundle that a peer sent: both pass the same checks, and
every part of them is hostile until then. It refuses to know torch, the sandbox and the swarm.

The bundle is canonical MessagePack of the task's text files, without data: equal tasks have equal
bytes, so a task is named by the SHA-256 of its bundle.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import re
import tomllib
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import msgpack

from trainer.constants import Constant, set_constants
from trainer.data import Split
from trainer.fields import Table, TaskError
from trainer.job import Budget, BudgetKind, Evaluation, Job, Limits

if TYPE_CHECKING:
    from collections.abc import Mapping

BUNDLE_VERSION: Final = 1
BUNDLE_BYTES_MAX: Final = 256 * 1024
"""Largest bundle: a script of 48 KiB, a task file and a few notes."""
FILES_MAX: Final = 16
FILE_BYTES_MAX: Final = 48 * 1024
_SAFE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_SAFE_PATH: Final = re.compile(
    r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}/){0,3}[A-Za-z0-9_][\w.-]{0,63}"
)
_WORD: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_CONSTANT: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
MANIFEST: Final = "task.toml"
SPLITS: Final = ("train", "validation", "test")
BUILT_IN: Final = pathlib.Path(__file__).parent / "tasks"

Direction = Literal["min", "max"]
Scorer = Literal["trusted"]


@dataclasses.dataclass(frozen=True, slots=True)
class Metric:
    """What is measured.

    Attributes:
        name: word for it, as printed.
        unit: unit of the value.
        direction: whether lower (`min`) or higher (`max`) is better.
    """

    name: str
    unit: str
    direction: Direction


@dataclasses.dataclass(frozen=True, slots=True)
class Tier:
    """One size of experiment.

    Attributes:
        name: word for it.
        budget: what a run may spend.
        evaluation: how it is scored.
        tau_micro: smallest gain that matters at this size, in millionths of the metric's unit.
        constants: values written into the genesis script's constants of these names.
        limits: bounds enforced from outside.
    """

    name: str
    budget: Budget
    evaluation: Evaluation
    tau_micro: int
    constants: Mapping[str, Constant]
    limits: Limits


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """A checked task.

    Attributes:
        name: word for it.
        title: one line for people.
        editable: name of the file that hypotheses change.
        entry: functions that it must define.
        scorer: who computes the metric; `trusted` is the node, from logits.
        vocab_size: number of distinct tokens.
        metric: what is measured.
        splits: the data, by split name.
        tiers: sizes of experiment, by name.
        files: every text file of the task by name, `task.toml` and the editable one included.
    """

    name: str
    title: str
    editable: str
    entry: tuple[str, ...]
    scorer: Scorer
    vocab_size: int
    metric: Metric
    splits: Mapping[str, Split]
    tiers: Mapping[str, Tier]
    files: Mapping[str, bytes]

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

        Raises:
            TaskError: there is no such tier, or the script lacks a constant that it sets.
        """
        source = self.files[self.editable].decode()
        return set_constants(source, self.tier(tier).constants)

    def job(self, tier: str, script: str, seed: int, *, device: str = "cpu") -> Job:
        """Returns the job of running a script once on a tier.

        Raises:
            TaskError: there is no such tier.
            TrainerError: the seed is out of range.
        """
        size = self.tier(tier)
        return Job(
            script=script,
            budget=size.budget,
            evaluation=size.evaluation,
            seed=seed,
            vocab_size=self.vocab_size,
            device=device,
            limits=size.limits,
        )


def load_task(directory: pathlib.Path) -> Task:
    """Reads a task from a directory.

    Raises:
        TaskError: a file is missing or says something invalid.
    """
    manifest = _read(directory / MANIFEST)
    table = _parse(manifest)
    names = {MANIFEST, _name_of_file(table, "editable"), *_names_of_files(table)}
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
    if _WORD.fullmatch(name) is None or not (directory / MANIFEST).is_file():
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


def _parse(manifest: bytes) -> Table:
    try:
        text = manifest.decode()
        return Table(tomllib.loads(text), MANIFEST, text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TaskError(f"{MANIFEST}: {error}") from error


def _name_of_file(table: Table, key: str) -> str:
    return table.text(key, _SAFE_NAME, "a plain file name")


def _names_of_files(table: Table) -> tuple[str, ...]:
    return table.texts("files", _SAFE_NAME, "plain file names", most=FILES_MAX, default=())


def _task(files: Mapping[str, bytes]) -> Task:
    """Checks files and returns their task: the one gate for directories and bundles."""
    if MANIFEST not in files:
        raise TaskError(f"the task has no {MANIFEST}")
    for name, content in files.items():
        if _SAFE_NAME.fullmatch(name) is None:
            raise TaskError("a file of the task has an unsafe name")
        if len(content) > FILE_BYTES_MAX:
            raise TaskError(f"{name} is larger than {FILE_BYTES_MAX} bytes")
        try:
            content.decode()
        except UnicodeDecodeError as error:
            raise TaskError(f"{name} is not UTF-8") from error
    table = _parse(files[MANIFEST])
    limits = _limits(table.table("limits", default={}), Limits())
    task = Task(
        name=table.text("name", _WORD, "a lower-case word"),
        title=table.text("title", re.compile(r"[^\n]{1,120}"), "one line", default=""),
        editable=_name_of_file(table, "editable"),
        entry=table.texts("entry", re.compile(r"[a-z_]\w{0,63}"), "function names", most=8),
        scorer=table.choice("scorer", get_args(Scorer)),
        vocab_size=table.integer("vocab_size", 2, 256),
        metric=_metric(table.table("metric")),
        splits=_splits(table.table("data")),
        tiers={
            name: _tier(name, tier, limits)
            for name, tier in table.table("tiers").tables(_WORD, most=16)
        },
        files=dict(sorted(files.items())),
    )
    names = {MANIFEST, task.editable, *_names_of_files(table)}
    table.finish()
    if names != set(files):
        raise TaskError(f"{MANIFEST} and the task disagree on its files")
    for name in task.tiers:
        task.genesis_script(name)
    return task


def _metric(table: Table) -> Metric:
    metric = Metric(
        name=table.text("name", _WORD, "a lower-case word"),
        unit=table.text("unit", re.compile(r"[ -~]{1,32}"), "a short text"),
        direction=table.choice("direction", get_args(Direction)),
    )
    table.finish()
    return metric


def _splits(table: Table) -> dict[str, Split]:
    splits = {}
    for name in SPLITS:
        part = table.table(name)
        splits[name] = Split(
            name=name,
            file=part.text("file", _SAFE_PATH, "a relative path"),
            size_bytes=part.integer("size_bytes", 2, 1 << 34),
            sha256=part.text("sha256", _SHA256, "64 hexadecimal digits"),
        )
        part.finish()
    table.finish()
    return splits


def _tier(name: str, table: Table, limits: Limits) -> Tier:
    budget = table.table("budget")
    evaluation = table.table("evaluation")
    constants = table.table("constants", default={})
    tier = Tier(
        name=name,
        budget=Budget(
            budget.choice("kind", get_args(BudgetKind)), budget.integer("amount", 1, 2**53)
        ),
        evaluation=Evaluation(
            context=evaluation.integer("context", 2, 1 << 16),
            windows=evaluation.integer("windows", 1, 1 << 16),
            probes=evaluation.integer("probes", 0, 1 << 12, default=256),
        ),
        tau_micro=table.integer("tau_micro", 1, 10**9),
        constants=constants.numbers(_CONSTANT),
        limits=_limits(table.table("limits", default={}), limits),
    )
    for part in (budget, evaluation, table):
        part.finish()
    return tier


def _limits(table: Table, base: Limits) -> Limits:
    mib = 1 << 20
    limits = Limits(
        train_wall_s=table.integer("train_wall_s", 1, 10**6, default=round(base.train_wall_s)),
        score_wall_s=table.integer("score_wall_s", 1, 10**5, default=round(base.score_wall_s)),
        memory_bytes=mib
        * table.integer("memory_mib", 64, 1 << 20, default=base.memory_bytes // mib),
        weights_bytes=mib
        * table.integer("weights_mib", 1, 1 << 16, default=base.weights_bytes // mib),
        log_bytes=table.integer("log_bytes", 256, 1 << 20, default=base.log_bytes),
    )
    table.finish()
    return limits
