"""A tiny task for tests: the real script, a corpus of a few kilobytes, budgets of a blink."""

from __future__ import annotations

import bz2
import hashlib
import random
from typing import TYPE_CHECKING

from trainer.constants import set_constants
from trainer.task import built_in_task, load_task

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.task import Task

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "lazy", "dogs", "while", "wizards", "vex"]

CONSTANTS = {
    "N_LAYER": 1,
    "D_MODEL": 16,
    "N_HEAD": 2,
    "TRAIN_CONTEXT": 32,
    "BATCH_SIZE": 4,
    "LEARNING_RATE": 0.01,
}

MANIFEST = """\
name = "tiny"
title = "A tiny task"
editable = "train.py"
entry = ["build_model", "train"]
scorer = "trusted"
vocab_size = 256

[metric]
name = "val_bpb"
unit = "bits/byte"
direction = "min"

{data}
[limits]
train_wall_s = 60
memory_mib = 512
weights_mib = 8

[tiers.smoke]
budget = {{ kind = "flops", amount = 200_000_000 }}
evaluation = {{ context = 32, windows = 48, probes = 64 }}
tau_micro = 10_000

[tiers.tokens]
budget = {{ kind = "tokens", amount = 1024 }}
evaluation = {{ context = 32, windows = 48, probes = 64 }}
tau_micro = 10_000
constants = {{ LEARNING_RATE = 0.001 }}
"""


def text(name: str, size: int) -> bytes:
    """Returns text of a few words, the same every time."""
    draws = random.Random(name)
    return " ".join(draws.choices(WORDS, k=size)).encode()[:size]


def script() -> str:
    """Returns the built-in script, shrunk."""
    return set_constants(built_in_task().genesis_script("smoke"), CONSTANTS)


def write_task(directory: Path) -> Path:
    """Writes the tiny task with its data, and returns its directory."""
    directory.mkdir(parents=True, exist_ok=True)
    tables = ""
    for name, size in (("train", 20_000), ("validation", 6_000), ("test", 6_000)):
        content = text(name, size)
        (directory / f"{name}.bz2").write_bytes(bz2.compress(content))
        tables += f'[data.{name}]\nfile = "{name}.bz2"\nsize_bytes = {size}\n'
        tables += f'sha256 = "{hashlib.sha256(content).hexdigest()}"\n\n'
    (directory / "task.toml").write_text(MANIFEST.format(data=tables))
    (directory / "train.py").write_text(script())
    return directory


def tiny_task(directory: Path) -> Task:
    """Writes the tiny task and reads it back."""
    return load_task(write_task(directory))
