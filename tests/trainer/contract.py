"""A repository with autoresearch's contract, small enough for a CPU and a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.trainer.tiny import text

if TYPE_CHECKING:
    from pathlib import Path

PREPARE = '''\
"""Fixed: data, evaluation, the time budget."""

import math
import os

import torch

TIME_BUDGET = 1 * 1
CACHE_DIR = os.path.join(os.path.expanduser("~"), ".cache", "autoresearch")
os.makedirs(CACHE_DIR, exist_ok=True)


def load(name):
    with open(os.path.join(CACHE_DIR, "data", name), "rb") as file:
        return torch.tensor(list(file.read()))


@torch.no_grad()
def evaluate_bpb(model):
    tokens = load("val.txt")
    loss = torch.nn.functional.cross_entropy(model(tokens[:-1]), tokens[1:])
    return loss.item() / math.log(2)
'''

TRAIN = '''\
"""Edited by agents: a bigram model."""

import time

import torch
from prepare import TIME_BUDGET, evaluate_bpb, load

LEARNING_RATE = 30.0

torch.manual_seed(42)
model = torch.nn.Embedding(256, 256)
optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
tokens = load("train.txt")
started = time.time()
steps = 0
while time.time() - started < TIME_BUDGET and steps < 200:
    starts = torch.randint(0, len(tokens) - 65, (8, 1))
    window = tokens[starts + torch.arange(65)]
    logits = model(window[:, :-1])
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), window[:, 1:].flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    steps += 1

print("val_bpb: 9.9")
print("---")
print(f"val_bpb:          {evaluate_bpb(model):.6f}")
print(f"training_seconds: {time.time() - started:.1f}")
print(f"num_steps:        {steps}")
'''


def write_repository(directory: Path) -> Path:
    """Writes the repository and, beside it, its cache; returns the repository's directory."""
    repository = directory / "My-Research"
    repository.mkdir(parents=True)
    (repository / "prepare.py").write_text(PREPARE)
    (repository / "train.py").write_text(TRAIN)
    (repository / "program.md").write_text("Lower val_bpb.\n")
    data = directory / "cache" / "data"
    data.mkdir(parents=True)
    (data / "train.txt").write_bytes(text("train", 20_000))
    (data / "val.txt").write_bytes(text("validation", 6_000))
    return repository
