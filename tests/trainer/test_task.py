"""Tasks: what is accepted, how a fault is told, and how a task travels."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.tiny import tiny_task, write_task
from trainer.checking import check_directory
from trainer.constants import set_constants
from trainer.fields import TaskError
from trainer.job import Budget, TrainerError
from trainer.task import (
    BUNDLE_BYTES_MAX,
    built_in_task,
    load_task,
    open_bundle,
    pack_bundle,
)

if TYPE_CHECKING:
    from pathlib import Path

BUNDLE = built_in_task().bundle()


def test_the_built_in_task_is_what_the_documents_say() -> None:
    task = built_in_task()
    assert task.name == "bytes-gpt"
    assert (task.metric.name, task.metric.unit, task.metric.direction) == (
        "val_bpb",
        "bits/byte",
        "min",
    )
    assert set(task.tiers) == {"smoke", "laptop", "confirm", "long"}
    assert set(task.splits) == {"train", "validation", "test"}
    assert all(tier.budget.kind == "flops" for tier in task.tiers.values())
    amounts = [tier.budget.amount for tier in task.tiers.values()]
    assert amounts == sorted(amounts)


def test_a_tier_sets_the_genesis_scripts_constants_and_nothing_else() -> None:
    task = built_in_task()
    smoke, confirm = task.genesis_script("smoke"), task.genesis_script("confirm")
    assert smoke == task.files["train.py"].decode()
    changed = [
        (a, b) for a, b in zip(smoke.splitlines(), confirm.splitlines(), strict=True) if a != b
    ]
    assert changed == [
        ("N_LAYER = 2", "N_LAYER = 4"),
        ("D_MODEL = 64", "D_MODEL = 96"),
        ("N_HEAD = 2", "N_HEAD = 3"),
    ]


def test_setting_a_constant_keeps_comments_and_other_text() -> None:
    source = 'é = "é"; RATE = 1e-3  # why\nOTHER = 2\n'
    assert set_constants(source, {"RATE": 0.5}) == 'é = "é"; RATE = 0.5  # why\nOTHER = 2\n'


@pytest.mark.parametrize(
    "source", ["RATE = 1\nRATE = 2\n", "rate = 1\n", "RATE = (1 +\n 2)\n", "def f(:\n"]
)
def test_a_constant_that_cannot_be_set_is_refused(source: str) -> None:
    with pytest.raises(TaskError):
        set_constants(source, {"RATE": 1})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "tau_micro = 10_000",
            "tau_mikro = 10_000",
            r"task.toml: tiers: smoke lacks the key tau_micro",
        ),
        ("title =", "titel =", r"task.toml: titel is not a known key \(line 2\)"),
        (
            "memory_mib = 512",
            "memory_mb = 512",
            r"limits: memory_mb is not a known key \(line 31\)",
        ),
        ("vocab_size = 256", "vocab_size = 1", r"vocab_size must be an integer .*\(line 6\)"),
        ("vocab_size = 256", "vocab_size = true", r"vocab_size must be an integer"),
        ('direction = "min"', 'direction = "down"', r"metric: direction must be one of min, max"),
        (
            'kind = "flops"',
            'kind = "joules"',
            r"budget: kind must be one of flops, tokens, seconds",
        ),
        ('editable = "train.py"', 'editable = "../x"', r"editable must be a plain file name"),
        ("LEARNING_RATE = 0.001", "SPEED = 1", r"the script must assign SPEED once"),
        ("LEARNING_RATE = 0.001", 'LEARNING_RATE = "fast"', r"LEARNING_RATE must be a number"),
        ("[metric]", "[metric", r"task.toml: "),
        ('file = "train.bz2"', 'file = "/etc/passwd"', r"file must be a relative path"),
    ],
)
def test_a_fault_is_told_by_key_and_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    manifest = write_task(tmp_path) / "task.toml"
    text = manifest.read_text()
    assert old in text
    manifest.write_text(text.replace(old, new, 1))
    with pytest.raises(TaskError, match=message):
        load_task(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (write_task(tmp_path) / "train.py").unlink()
    with pytest.raises(TaskError, match=r"cannot read .*train\.py"):
        load_task(tmp_path)


def test_an_unknown_tier_is_refused_with_the_known_ones() -> None:
    with pytest.raises(TaskError, match="smoke, laptop, confirm, long"):
        built_in_task().tier("huge")


def test_a_bundle_is_the_task_without_its_data(tmp_path: Path) -> None:
    task = tiny_task(tmp_path)
    raw = pack_bundle(tmp_path)
    assert open_bundle(raw) == task
    assert open_bundle(raw).digest == task.digest
    assert set(msgpack.unpackb(raw)["files"]) == {"task.toml", "train.py"}


def _packed(files: Any, version: Any = 1) -> bytes:
    return bytes(msgpack.packb({"files": files, "v": version}))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xc1",
        b"\x93" * 500,
        BUNDLE + b"\0",
        BUNDLE[:-1],
        b"x" * (BUNDLE_BYTES_MAX + 1),
        _packed({}),
        _packed([]),
        _packed({"task.toml": b"name = 1"}),
        _packed({"task.toml": "text"}),
        _packed({"../task.toml": b""}),
        _packed({"task.toml": b"a" * 60_000}),
        _packed({"task.toml": b"[" * 40_000}),
        _packed(dict(built_in_task().files), version=2),
        _packed({**built_in_task().files, "extra.py": b""}),
        _packed({n: c for n, c in built_in_task().files.items() if n != "train.py"}),
        _packed(dict(reversed(list(built_in_task().files.items())))),
        _packed({**built_in_task().files, "train.py": b"(" * 40_000}),
        _packed({**built_in_task().files, "train.py": b"-" * 40_000 + b"1"}),
        _packed({**built_in_task().files, "train.py": b"x" + b".a" * 20_000}),
        _packed({**built_in_task().files, "train.py": b"\xff"}),
    ],
)
def test_a_hostile_bundle_is_refused(raw: bytes) -> None:
    with pytest.raises(TaskError):
        open_bundle(raw)


@given(st.integers(0, len(BUNDLE) - 1), st.integers(1, 255))
def test_a_changed_byte_gives_another_task_or_a_task_error(place: int, change: int) -> None:
    raw = bytearray(BUNDLE)
    raw[place] ^= change
    try:
        task = open_bundle(bytes(raw))
    except TaskError:
        return
    assert task.bundle() == bytes(raw)
    assert task.digest != built_in_task().digest


def test_jobs_carry_the_tiers_budget() -> None:
    task = built_in_task()
    job = task.job("laptop", "pass", 7)
    assert (job.budget, job.seed) == (task.tiers["laptop"].budget, 7)
    with pytest.raises(TrainerError, match="seed"):
        task.job("laptop", "pass", 2**63)
    with pytest.raises(TrainerError, match="positive"):
        Budget("flops", 0)


def test_the_editable_script_is_flat_and_its_constants_are_literals() -> None:
    tree = ast.parse(built_in_task().files["train.py"])
    constants = [node for node in tree.body if isinstance(node, ast.Assign)]
    assert len(constants) >= 12
    for node in constants:
        assert isinstance(node.value, ast.Constant)
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert functions >= {"norm", "activation", "init_weights", "make_optimizer", "learning_rate"}


SEVERAL = """\
name = "several"
editable = ["settings.toml", "model.py"]
run = ["python", "main.py", "--fast"]
files = ["main.py"]
scorer = "reported"

[metric]
name = "score"
unit = "points"
direction = "max"

[tiers.standard]
budget = { kind = "seconds", amount = 1 }
device = "cpu"
tau_micro = 1000
"""


def write_several(directory: Path, manifest: str = SEVERAL) -> Path:
    (directory / "task.toml").write_text(manifest)
    (directory / "settings.toml").write_text("rate = 3\n")
    (directory / "notes.md").write_text("Dear reader,\n")
    (directory / "model.py").write_text("RATE = 1\n")
    (directory / "main.py").write_text("import model\n")
    return directory


def test_several_editable_files_are_one_source(tmp_path: Path) -> None:
    task = load_task(write_several(tmp_path))
    assert task.editable == ("model.py", "settings.toml")
    source = task.genesis_script("standard")
    assert source == "=== model.py ===\nRATE = 1\n=== settings.toml ===\nrate = 3\n"
    job = task.job("standard", source, 1)
    assert job.sources() == {"model.py": "RATE = 1\n", "settings.toml": "rate = 3\n"}
    assert open_bundle(task.bundle()) == task
    renamed = source.replace("model", "modal")
    for other in ("RATE = 1\n", renamed, source + "=== z ===\n", "=== z ==="):
        with pytest.raises(TrainerError):
            task.job("standard", other, 1).sources()


def test_one_file_that_is_not_python_is_a_text_of_one_file(tmp_path: Path) -> None:
    manifest = SEVERAL.replace('["settings.toml", "model.py"]', '"settings.toml"')
    task = load_task(write_several(tmp_path, manifest))
    assert task.genesis_script("standard") == "=== settings.toml ===\nrate = 3\n"


JUDGED = (
    SEVERAL.replace("reported", "trusted")
    .replace('"model.py"', '"notes.md"')
    .replace('device = "cpu"\n', "")
)
"""What it measures does not depend on the machine, so that it needs no class of devices."""


def test_a_judge_makes_the_metric_trusted(tmp_path: Path) -> None:
    task = load_task(write_several(tmp_path, JUDGED))
    assert (task.scorer, task.manifest.scores_model) == ("trusted", False)
    assert check_directory(tmp_path) == []
    (tmp_path / "settings.toml").write_text("rate = \n")
    assert "settings.toml is not valid" in check_directory(tmp_path)[0]


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (SEVERAL.replace("reported", "trusted"), "model.py would be run beside it"),
        (JUDGED.replace('run = ["python", "main.py", "--fast"]', 'entry = ["f"]'), "vocab_size"),
        (JUDGED.replace("run =", 'entry = ["f"]\nrun ='), r"run and entry exclude .*\(line 4\)"),
        (SEVERAL.replace('"model.py"]', '"settings.toml"]'), "a list of different plain file name"),
        (SEVERAL.replace('["settings.toml", "model.py"]', "[]"), "editable must be a list of"),
        (SEVERAL.replace('["main.py"]', '["main.py", "model.py"]'), "both editable and fixed"),
        (SEVERAL.replace("1000", "1000\nconstants = { RATE = 2 }"), "need one Python file"),
        (SEVERAL.replace('"seconds"', '"flops"'), "a budget of kind seconds"),
        (SEVERAL + '[live]\npage = "x.html"\nvalues = "settings.toml"\n', "x.html is no file"),
        (SEVERAL + '[live]\npage = "main.py"\n', "live lacks the key values"),
        (
            SEVERAL.replace('"cpu"', '"tpu"'),
            r"device must be one of any.*14",
        ),
        (SEVERAL.replace("1000", '1000\ndevice_model = "H100"'), "needs a device that is a GPU"),
        (SEVERAL.replace('device = "cpu"\n', ""), "standard: seconds buy more on a faster"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path: Path, manifest: str, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        load_task(write_several(tmp_path, manifest))


def test_a_file_that_would_begin_another_is_refused(tmp_path: Path) -> None:
    write_several(tmp_path)
    (tmp_path / "model.py").write_text('"""\n=== settings.toml ===\n"""\n')
    with pytest.raises(TaskError, match="a line that would begin another file"):
        load_task(tmp_path)


def test_a_tier_may_name_its_class_of_devices(tmp_path: Path) -> None:
    manifest = SEVERAL.replace('"cpu"', '"cuda"\ndevice_model = "H100"')
    task = load_task(write_several(tmp_path, manifest))
    tier = task.tier("standard")
    assert (tier.device, tier.device_model) == ("cuda", "H100")
    # It is part of what a swarm is founded on: classes never share a leaderboard.
    plain = load_task(write_several(tmp_path)).digest
    assert plain != task.digest
    assert built_in_task().tier("smoke").device == "any"
