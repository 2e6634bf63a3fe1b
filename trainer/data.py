"""The data of a task, as files that are checked against their pins.

This file decides how a split is unpacked, checked and found again: a split is a blob, named by the
SHA-256 of its bytes as training uses them (one byte or, with a BPE vocabulary, two a token),
wherever those came from: files of any format at the founder's, or a peer. It refuses to know peers
and tasks' meaning; which split may be used for what is decided by whoever asks for it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import tempfile
from typing import TYPE_CHECKING, Final

from trainer import formats
from trainer.vocabulary import DataError, VocabularyKind, read_vocabulary

if TYPE_CHECKING:
    from trainer.formats import Format

__all__ = ["DataError", "Pin", "Split", "assemble", "cached", "check", "unpack", "verify"]

TEXT_PER_TOKEN_MAX: Final = 16
"""Bytes of text per byte of tokens up to which files are read before they are encoded."""
_CHUNK_BYTES: Final = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Pin:
    """One blob of a task's data: where it comes from, and what it must be.

    Attributes:
        name: `train`, `validation`, `test`, `vocabulary`, or the task's own word.
        files: files inside the task's directory, relative; they are put one behind the other.
        format: what they are.
        size_bytes: size of the bytes that they hold together.
        sha256: lower-case hexadecimal SHA-256 of those bytes.
        path: (reported tasks) where a run finds the bytes, relative to its home directory.
    """

    name: str
    files: tuple[str, ...]
    format: Format
    size_bytes: int
    sha256: str
    path: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Split(Pin):
    """One part of a task's data.

    Attributes:
        vocabulary: encodes text; None where a token is a byte, or the files hold tokens.
        vocabulary_kind: what kind of file that is.
    """

    vocabulary: Pin | None = None
    vocabulary_kind: VocabularyKind = "bytes"


def unpack(task_directory: pathlib.Path, split: Pin) -> bytes:
    """Returns the bytes of a split that lies with its task.

    Raises:
        DataError: a file is missing, broken, or holds other bytes than pinned.
    """
    content = assemble(task_directory, split)
    check(content, split)
    return content


def assemble(task_directory: pathlib.Path, split: Pin, limit_bytes: int | None = None) -> bytes:
    """Returns the bytes that a split's files give, whatever is pinned.

    Args:
        task_directory: where the files are.
        split: which files.
        limit_bytes: roughly the most to read; the split's pinned size if None.

    Raises:
        DataError: a file is missing or not of its format, or the vocabulary is not the pinned one.
    """
    encoder = split.vocabulary if isinstance(split, Split) else None
    if limit_bytes is None:
        # A token of 16 bits stands for several bytes of text.
        limit_bytes = split.size_bytes * (TEXT_PER_TOKEN_MAX if encoder else 1)
    content = b""
    for file in split.files:
        content += formats.read(task_directory / file, split.format, limit_bytes - len(content))
        if len(content) > limit_bytes:
            break
    if encoder is None:
        return content
    assert isinstance(split, Split)
    raw = unpack(task_directory, encoder)
    return read_vocabulary(raw, split.vocabulary_kind).encode(content).astype("<u2").tobytes()


def check(content: bytes, split: Pin) -> None:
    """Checks bytes against a split's pins.

    Raises:
        DataError: they are not the split.
    """
    if len(content) != split.size_bytes:
        raise DataError(f"{split.name} has {len(content)} bytes, not {split.size_bytes}")
    if hashlib.sha256(content).hexdigest() != split.sha256:
        raise DataError(f"{split.name} does not have its pinned SHA-256 {split.sha256[:12]}")


def verify(path: pathlib.Path, split: Pin) -> pathlib.Path:
    """Returns path after checking that the file holds the split.

    Raises:
        DataError: the file is missing or holds other bytes.
    """
    try:
        pins = measure(path)
    except OSError as error:
        raise DataError(f"cannot read {split.name} at {path}: {error.strerror}") from error
    if pins != (split.size_bytes, split.sha256):
        raise DataError(f"{path} is not the {split.name} split that the task pins")
    return path


def measure(path: pathlib.Path) -> tuple[int, str]:
    """Returns a file's size in bytes and its SHA-256 in hex, never holding all of it.

    Raises:
        OSError: it cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def cached(directory: pathlib.Path, task_directory: pathlib.Path, split: Pin) -> pathlib.Path:
    """Returns a file with the split's decompressed bytes, unpacking it on first use.

    The file is named by its hash and appears whole or not at all, so that several nodes can share
    one cache.

    Raises:
        DataError: the archive does not hold the pinned bytes, or the cache cannot be written.
    """
    path = directory / split.sha256
    try:
        if path.exists():
            return verify(path, split)
    except DataError:
        path.unlink(missing_ok=True)
    content = unpack(task_directory, split)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(dir=directory, prefix=".split-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            # The worker may run as another user, and only ever reads it.
            pathlib.Path(partial).chmod(0o444)
            pathlib.Path(partial).replace(path)
        except OSError:
            pathlib.Path(partial).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise DataError(f"cannot write {split.name} to {directory}: {error.strerror}") from error
    return path
