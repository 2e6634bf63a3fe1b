"""The data of a task, as files that are checked against their pins.

This file decides how a split is unpacked, checked and found again: a split is a blob, named by the
SHA-256 of its decompressed bytes, wherever those came from (the shipped archive or a peer). It
refuses to know peers and tasks' meaning; which split may be used for what is decided by whoever
asks for it.
"""

from __future__ import annotations

import bz2
import dataclasses
import hashlib
import os
import pathlib
import tempfile
from typing import Final

from trainer.job import TrainerError

_CHUNK_BYTES: Final = 1 << 20


class DataError(TrainerError):
    """A split is missing, or its bytes are not those that the task pins."""


@dataclasses.dataclass(frozen=True, slots=True)
class Split:
    """One part of a task's data.

    Attributes:
        name: `train`, `validation` or `test`.
        file: archive inside the task's directory, relative, bzip2.
        size_bytes: size of the decompressed bytes.
        sha256: lower-case hexadecimal SHA-256 of the decompressed bytes.
    """

    name: str
    file: str
    size_bytes: int
    sha256: str


def unpack(task_directory: pathlib.Path, split: Split) -> bytes:
    """Returns the decompressed bytes of a split that ships with its task.

    Raises:
        DataError: the archive is missing, broken, or holds other bytes than pinned.
    """
    path = task_directory / split.file
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    unpacker = bz2.BZ2Decompressor()
    try:
        # One byte more than pinned is enough to see that an archive is too long, and bounds a bomb.
        content = unpacker.decompress(packed, max_length=split.size_bytes + 1)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a bzip2 archive") from error
    check(content, split)
    return content


def check(content: bytes, split: Split) -> None:
    """Checks bytes against a split's pins.

    Raises:
        DataError: they are not the split.
    """
    if len(content) != split.size_bytes:
        raise DataError(f"{split.name} has {len(content)} bytes, not {split.size_bytes}")
    if hashlib.sha256(content).hexdigest() != split.sha256:
        raise DataError(f"{split.name} does not have its pinned SHA-256 {split.sha256[:12]}")


def verify(path: pathlib.Path, split: Split) -> pathlib.Path:
    """Returns path after checking that the file holds the split.

    Raises:
        DataError: the file is missing or holds other bytes.
    """
    digest = hashlib.sha256()
    size = 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise DataError(f"cannot read {split.name} at {path}: {error.strerror}") from error
    if size != split.size_bytes or digest.hexdigest() != split.sha256:
        raise DataError(f"{path} is not the {split.name} split that the task pins")
    return path


def cached(directory: pathlib.Path, task_directory: pathlib.Path, split: Split) -> pathlib.Path:
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
