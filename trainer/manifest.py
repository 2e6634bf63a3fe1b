"""Reading `task.toml`: every key that it may have, and what each may say.

This file decides which task files are valid; `docs/tasks.md` documents every key taken here.
It refuses to read other files and to know bundles (`trainer.task`). The text may be a stranger's:
nothing but `TaskError` leaves this file.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from typing import TYPE_CHECKING, Final, Literal, get_args

from trainer.data import Pin, Split
from trainer.fields import Table, TaskError
from trainer.formats import FORMATS, TOKEN_FORMATS, Format
from trainer.job import Budget, BudgetKind, Evaluation, Limits
from trainer.scales import Scale, read_scale
from trainer.vocabulary import TOKENS_MAX, VocabularyKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer.constants import Constant

MANIFEST: Final = "task.toml"
FILES_MAX: Final = 16
EDITABLE_MAX: Final = 8
LOGITS_BYTES_MAX: Final = 256 << 20
"""Most bytes of the logits of one window: they are shared with the sandbox as a whole."""
SAFE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_SAFE_PATH: Final = re.compile(
    r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}/){0,7}[A-Za-z0-9_][\w.-]{0,63}"
)
_RUN_PATH: Final = re.compile(
    r"(?:(?!\.{1,2}/)[A-Za-z0-9_.][A-Za-z0-9_.-]{0,63}/){0,7}(?!\.{1,2}$)[A-Za-z0-9_.][\w.-]{0,63}"
)
WORD: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_CONSTANT: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MODEL: Final = re.compile(r"[ -~]{1,64}")
_ARGUMENT: Final = re.compile(r"[ -~]{1,200}")
SPLITS: Final = ("train", "validation", "test")
SPLITS_MAX: Final = 60

Direction = Literal["min", "max"]
Scorer = Literal["trusted", "reported"]
DeviceClass = Literal["any", "cpu", "cuda", "mps"]


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
        evaluation: how it is scored; empty where a run reports its own metric.
        tau_micro: smallest gain that matters at this size, in millionths of the metric's unit.
        constants: values written into the genesis script's constants of these names.
        limits: bounds enforced from outside.
        device: class of devices whose runs are compared: `any`, `cpu`, `cuda` or `mps`.
        device_model: what the device's name must contain; empty for anything.
    """

    name: str
    budget: Budget
    evaluation: Evaluation
    tau_micro: int
    constants: Mapping[str, Constant]
    limits: Limits
    device: DeviceClass = "any"
    device_model: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Live:
    """What `swarm-node task serve` hands out to real people.

    Attributes:
        page: the HTML file with places for values.
        values: the TOML file that they come from.
        email: the text of an e-mail that leads to the page; empty without one.
    """

    page: str
    values: str
    email: str


@dataclasses.dataclass(frozen=True, slots=True)
class Manifest:
    """What a `task.toml` says.

    Attributes:
        name: word for the task.
        title: one line for people.
        editable: names of the files that hypotheses change, sorted.
        files: names of the other files that travel with the task.
        scorer: who computes the metric: `trusted` is the node from logits, or a judge: a fixed
            program of the task that reads the editable files as data; `reported` the run itself.
        entry: functions that the editable file must define where the node scores a model.
        run: arguments of Python where a program prints the metric; the first is the file run.
        vocab_size: number of distinct tokens of a model.
        vocabulary: the vocabulary's file; None where a token is a byte.
        vocabulary_kind: what kind of file that is.
        metric: what is measured.
        splits: the data, by name.
        tiers: sizes of experiment, by name.
        scales: directions in which a lineage's scripts can be made larger, by name.
        live: what can be handed out to people; None where nothing can.
    """

    name: str
    title: str
    editable: tuple[str, ...]
    files: tuple[str, ...]
    scorer: Scorer
    entry: tuple[str, ...]
    run: tuple[str, ...]
    vocab_size: int
    vocabulary: Pin | None
    vocabulary_kind: VocabularyKind
    metric: Metric
    splits: Mapping[str, Split]
    tiers: Mapping[str, Tier]
    scales: Mapping[str, Scale]
    live: Live | None = None

    @property
    def scores_model(self) -> bool:
        """Whether the node scores a model that the script trains, and no program is run."""
        return not self.run

    @property
    def judged(self) -> bool:
        """Whether a fixed program of the task reads what is edited, so that speed earns nothing."""
        return bool(self.run) and self.scorer == "trusted"


def read_manifest(content: bytes) -> Manifest:
    """Returns what a `task.toml` says.

    Raises:
        TaskError: it is not valid; the message names the key and its line.
    """
    try:
        text = content.decode()
        table = Table(tomllib.loads(text), MANIFEST, text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise TaskError(f"{MANIFEST}: {error}") from error
    limits = _limits(table.table("limits", default={}), Limits())
    scorer: Scorer = table.choice("scorer", get_args(Scorer))
    if table.has("entry") and table.has("run"):
        raise table.fault("run", "and entry exclude each other: one is a program, one a model")
    model = scorer == "trusted" and not table.has("run")
    kind, vocabulary = _vocabulary(table) if model else ("bytes", None)
    most = 256 if vocabulary is None else TOKENS_MAX
    manifest = Manifest(
        name=table.text("name", WORD, "a lower-case word"),
        title=table.text("title", re.compile(r"[^\n]{1,120}"), "one line", default=""),
        editable=tuple(
            sorted(table.one_or_more("editable", SAFE_NAME, "plain file name", most=EDITABLE_MAX))
        ),
        files=table.texts("files", SAFE_NAME, "plain file names", most=FILES_MAX, default=()),
        scorer=scorer,
        entry=table.texts("entry", re.compile(r"[a-z_]\w{0,63}"), "function names", most=8)
        if model
        else (),
        run=() if model else _run(table),
        vocab_size=table.integer("vocab_size", 2, most) if model else 2,
        vocabulary=vocabulary,
        vocabulary_kind=kind,
        metric=_metric(table.table("metric")),
        splits=_model_splits(table.table("data"), kind, vocabulary)
        if model
        else _program_splits(table.table("data", default={})),
        tiers={
            name: _tier(name, tier, limits, model=model)
            for name, tier in table.table("tiers").tables(WORD, most=16)
        },
        scales={
            name: read_scale(name, scale)
            for name, scale in table.table("scales", default={}).tables(WORD, most=8, least=0)
        },
        live=_live(table.table("live")) if table.has("live") else None,
    )
    table.finish()
    _check(manifest)
    return manifest


def _check(manifest: Manifest) -> None:
    """Checks what several keys say together."""
    if manifest.run and manifest.run[0] not in {*manifest.editable, *manifest.files}:
        raise TaskError(f"{MANIFEST}: run names {manifest.run[0]}, which is no file of the task")
    both = {MANIFEST, *manifest.files} & set(manifest.editable)
    if both:
        raise TaskError(f"{MANIFEST}: {min(both)} cannot be both editable and fixed")
    if manifest.live is not None:
        named = {manifest.live.page, manifest.live.values, manifest.live.email} - {""}
        missing = named - {*manifest.editable, *manifest.files}
        if missing:
            raise TaskError(f"{MANIFEST}: live: {min(missing)} is no file of the task")
    code = [name for name in manifest.editable if name.endswith(".py")]
    if manifest.scores_model and (len(code) != 1 or len(manifest.editable) != 1):
        raise TaskError(f"{MANIFEST}: editable must be one Python file, as entry asks of it")
    if manifest.judged and code:
        raise TaskError(
            f"{MANIFEST}: the judge {manifest.run[0]} is trusted because it only reads what agents"
            f" edit; {code[0]} would be run beside it: make it fixed, or the scorer reported"
        )
    for tier in manifest.tiers.values():
        if (tier.constants or manifest.scales) and (len(code) != 1 or len(manifest.editable) != 1):
            raise TaskError(f"{MANIFEST}: constants of tiers and scales need one Python file")
        if manifest.scores_model:
            window = tier.evaluation.context * manifest.vocab_size * 4
            if window > LOGITS_BYTES_MAX:
                raise TaskError(
                    f"{MANIFEST}: tiers: {tier.name}: the logits of one window take {window >> 20}"
                    f" MiB, more than {LOGITS_BYTES_MAX >> 20}: lower context or vocab_size"
                )
        elif tier.budget.kind != "seconds":
            raise TaskError(
                f"{MANIFEST}: tiers: {tier.name}: a task with run has a budget of kind seconds:"
                " nobody counts the tokens or operations of a program that owns its loop"
            )
        if tier.budget.kind == "seconds" and tier.device == "any" and not manifest.judged:
            raise TaskError(
                f"{MANIFEST}: tiers: {tier.name}: seconds buy more on a faster machine: say which"
                ' devices are compared, as device = "cpu", "cuda" or "mps"'
            )


def _run(table: Table) -> tuple[str, ...]:
    run = table.texts("run", _ARGUMENT, "arguments", most=32)
    if len(run) < 2 or run[0] != "python":
        raise table.fault("run", 'must be ["python", FILE, ...]: the sandbox has no other program')
    return run[1:]


def _live(table: Table) -> Live:
    live = Live(
        page=table.text("page", SAFE_NAME, "a plain file name"),
        values=table.text("values", SAFE_NAME, "a plain file name"),
        email=table.text("email", SAFE_NAME, "a plain file name", default=""),
    )
    table.finish()
    return live


def _metric(table: Table) -> Metric:
    metric = Metric(
        name=table.text("name", WORD, "a lower-case word"),
        unit=table.text("unit", re.compile(r"[ -~]{1,32}"), "a short text"),
        direction=table.choice("direction", get_args(Direction)),
    )
    table.finish()
    return metric


def _vocabulary(table: Table) -> tuple[VocabularyKind, Pin | None]:
    part = table.table("vocabulary", default={"kind": "bytes"})
    kind: VocabularyKind = part.choice("kind", get_args(VocabularyKind))
    vocabulary = None
    if kind != "bytes":
        vocabulary = Pin(
            name="vocabulary",
            files=(part.text("file", _SAFE_PATH, "a relative path"),),
            format="raw",
            size_bytes=part.integer("size_bytes", 2, 1 << 24),
            sha256=part.text("sha256", _SHA256, "64 hexadecimal digits"),
        )
    part.finish()
    return kind, vocabulary


def _files(part: Table) -> tuple[str, ...]:
    if part.has("files"):
        return part.texts("files", _SAFE_PATH, "relative paths", most=1024)
    return (part.text("file", _SAFE_PATH, "a relative path"),)


def _model_splits(table: Table, kind: VocabularyKind, vocabulary: Pin | None) -> dict[str, Split]:
    splits = {}
    for name in SPLITS:
        part = table.table(name)
        form: Format = part.choice("format", FORMATS, default="bzip2")
        if form == "raw" or (form in TOKEN_FORMATS and vocabulary is None):
            raise part.fault(
                "format",
                "raw is for tasks with run; token files need a vocabulary other than bytes",
            )
        encoder = None if form in TOKEN_FORMATS else vocabulary
        splits[name] = Split(
            name=name,
            files=_files(part),
            format=form,
            size_bytes=part.integer("size_bytes", 2, 1 << 34),
            sha256=part.text("sha256", _SHA256, "64 hexadecimal digits"),
            vocabulary=encoder,
            vocabulary_kind=kind if encoder is not None else "bytes",
        )
        part.finish()
    table.finish()
    return splits


def _program_splits(table: Table) -> dict[str, Split]:
    splits = {}
    for name, part in table.tables(WORD, most=SPLITS_MAX, least=0):
        form: Format = part.choice("format", FORMATS, default="raw")
        files = _files(part)
        splits[name] = Split(
            name=name,
            files=files,
            format=form,
            size_bytes=part.integer("size_bytes", 0, 1 << 34),
            sha256=part.text("sha256", _SHA256, "64 hexadecimal digits"),
            path=part.text("path", _RUN_PATH, "a relative path", default=files[0]),
        )
        part.finish()
    return splits


def _tier(name: str, table: Table, limits: Limits, *, model: bool) -> Tier:
    budget = table.table("budget")
    evaluation = table.table("evaluation") if model else None
    constants = table.table("constants", default={})
    tier = Tier(
        name=name,
        budget=Budget(
            budget.choice("kind", get_args(BudgetKind)), budget.integer("amount", 1, 2**53)
        ),
        evaluation=_evaluation(evaluation),
        tau_micro=table.integer("tau_micro", 1, 10**9),
        constants=constants.numbers(_CONSTANT),
        limits=_limits(table.table("limits", default={}), limits),
        device=table.choice("device", get_args(DeviceClass), default="any"),
        device_model=table.text("device_model", _MODEL, "a short text", default=""),
    )
    if tier.device_model and tier.device in {"any", "cpu"}:
        raise table.fault("device_model", "needs a device that is a GPU")
    budget.finish()
    table.finish()
    return tier


def _evaluation(table: Table | None) -> Evaluation:
    if table is None:
        return Evaluation(context=0, windows=0, probes=0)
    evaluation = Evaluation(
        context=table.integer("context", 2, 1 << 16),
        windows=table.integer("windows", 1, 1 << 16),
        probes=table.integer("probes", 0, 1 << 12, default=256),
    )
    table.finish()
    return evaluation


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
        cpu_s=table.integer("cpu_s", 0, 10**7, default=base.cpu_s),
        startup_s=table.integer("startup_s", 0, 10**4, default=round(base.startup_s)),
    )
    table.finish()
    return limits
