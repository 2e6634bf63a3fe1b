"""Checking a task's directory as a whole: what is wrong, in words.

This file decides what a founder should know before others depend on a task: that its data are what
it pins, that its tokens fit its vocabulary, and that its script has what is asked of it. It refuses
to run anything.
"""

from __future__ import annotations

import ast
import hashlib
import tomllib
from typing import TYPE_CHECKING, Final

import numpy as np

from protocol.syntax import REFUSALS, parse_tree
from trainer.data import DataError, Split, assemble, unpack
from trainer.job import TrainerError
from trainer.scorer import windows_of
from trainer.task import load_task
from trainer.vocabulary import read_vocabulary

if TYPE_CHECKING:
    import pathlib

    from trainer.data import Pin
    from trainer.task import Task

UNPINNED_BYTES_MAX: Final = 1 << 34


def check_directory(directory: pathlib.Path) -> list[str]:
    """Returns everything that is wrong with the task in a directory; nothing when it is well.

    Raises:
        TaskError: `task.toml` or a script cannot be read, so that nothing else can be checked.
    """
    task = load_task(directory)
    faults = script_faults(task)
    for name, pin in task.pins.items():
        try:
            content = unpack(directory, pin)
        except DataError as error:
            faults.append(f"data {name}: {error}{_real_pins(directory, pin)}")
            continue
        try:
            faults += [f"data {name}: {fault}" for fault in _token_faults(task, name, content)]
        except TrainerError as error:
            faults.append(f"data {name}: {error}")
    return faults


def script_faults(task: Task) -> list[str]:
    """Returns what is wrong with the files that agents will edit; nothing when they are well.

    Raises:
        TaskError: a script cannot be read.
    """
    faults = []
    for name in task.editable:
        fault = _text_fault(name, task.files[name].decode())
        faults += [] if fault is None else [fault]
    for tier in task.tiers if task.manifest.scores_model and not faults else ():
        tree = parse_tree(task.genesis_script(tier))
        assert isinstance(tree, ast.Module)
        defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        faults += [
            f"{task.editable[0]} (tier {tier}) does not define {name}()"
            for name in task.entry
            if name not in defined
        ]
    return faults


def _text_fault(name: str, text: str) -> str | None:
    """Returns why a file cannot be read as what its ending says, or None when it can."""
    try:
        if name.endswith(".py"):
            parse_tree(text)
        elif name.endswith(".toml"):
            tomllib.loads(text)
    except (*REFUSALS, tomllib.TOMLDecodeError) as error:
        return f"{name} is not valid: {error}"
    return None


def _real_pins(directory: pathlib.Path, pin: Pin) -> str:
    """What the pins would have to be, for a founder who makes a task; empty when unreadable."""
    try:
        content = assemble(directory, pin, UNPINNED_BYTES_MAX)
    except DataError:
        return ""
    digest = hashlib.sha256(content).hexdigest()
    return f'; its files give size_bytes = {len(content)}, sha256 = "{digest}"'


def _token_faults(task: Task, name: str, content: bytes) -> list[str]:
    """Checks tokens and vocabulary against each other.

    Raises:
        TrainerError: the vocabulary cannot be read, or the windows of a tier cannot be scored.
    """
    if not task.manifest.scores_model:
        return []
    size = task.manifest.vocab_size
    if name == "vocabulary":
        read_vocabulary(content, task.manifest.vocabulary_kind).lengths(size)
        return []
    pin = task.pins[name]
    assert isinstance(pin, Split)
    width = "u1" if task.manifest.vocabulary is None else "<u2"
    tokens = np.frombuffer(content, width)
    if name != "train":
        for tier in task.tiers.values():
            windows_of(tokens, tier.evaluation, size)
    return [f"token {tokens.max()} is not below vocab_size {size}"] if tokens.max() >= size else []
