"""File formats of data: how the bytes of a split are made from the files that hold them.

This file decides what a bzip2 archive, plain files, Parquet shards and the token files of nanoGPT
and modded-nanogpt give. It refuses to know pins and caches (`trainer.data`). Files are read up to a
bound, so that a wrong or hostile one costs memory only within it.
"""

from __future__ import annotations

import bz2
import importlib
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np

from trainer.vocabulary import DataError

if TYPE_CHECKING:
    import pathlib

Format = Literal["bzip2", "text", "parquet", "nanogpt", "modded-nanogpt", "raw"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
TOKEN_FORMATS: Final = frozenset({"nanogpt", "modded-nanogpt"})
"""Formats that hold 16-bit tokens rather than text."""

_HEADER_BYTES: Final = 256 * 4
_MAGIC: Final = 20240520
_VERSION: Final = 1
DOCUMENT_END: Final = b"\n"
"""Put behind every text of a Parquet file."""


def read(path: pathlib.Path, form: Format, limit_bytes: int) -> bytes:
    """Returns what a file holds, or a little more than limit_bytes of it.

    Raises:
        DataError: it cannot be read, or is not of the format.
    """
    match form:
        case "bzip2":
            return _bzip2(path, limit_bytes)
        case "parquet":
            return _parquet(path, limit_bytes)
        case "modded-nanogpt":
            return _modded_nanogpt(path, limit_bytes)
        case "nanogpt":
            content = _raw(path, limit_bytes)
            if len(content) % 2:
                raise DataError(f"{path} does not hold 16-bit tokens: its size is odd")
            return content
        case "text" | "raw":
            return _raw(path, limit_bytes)


def _raw(path: pathlib.Path, limit_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit_bytes + 1)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _bzip2(path: pathlib.Path, limit_bytes: int) -> bytes:
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    unpacker = bz2.BZ2Decompressor()
    try:
        # One byte more than wanted is enough to see that an archive is too long, and bounds a bomb.
        content = unpacker.decompress(packed, max_length=limit_bytes + 1)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a bzip2 archive") from error
    if not unpacker.eof and len(content) <= limit_bytes:
        raise DataError(f"{path} ends early: it is truncated")
    return content


def _modded_nanogpt(path: pathlib.Path, limit_bytes: int) -> bytes:
    content = _raw(path, limit_bytes + _HEADER_BYTES)
    if len(content) < _HEADER_BYTES:
        raise DataError(f"{path} is too short for the header of a modded-nanogpt file")
    magic, version, count = np.frombuffer(content[:12], "<i4").tolist()
    if (magic, version) != (_MAGIC, _VERSION):
        raise DataError(f"{path} is not a modded-nanogpt file of version {_VERSION}")
    tokens = content[_HEADER_BYTES:]
    if len(tokens) <= limit_bytes and len(tokens) != 2 * count:
        raise DataError(f"{path} holds {len(tokens) // 2} tokens, not the {count} of its header")
    return tokens


def _parquet(path: pathlib.Path, limit_bytes: int) -> bytes:
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise DataError(
            f"{path} is a Parquet file, which needs pyarrow: pip install 'swarm-node[parquet]'"
        ) from error
    content = bytearray()
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=["text"]):
                for text in batch.column(0).to_pylist():
                    content += (text or "").encode() + DOCUMENT_END
                    if len(content) > limit_bytes:
                        return bytes(content)
    # The errors of pyarrow derive from these.
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(f"{path} is not a Parquet file with a text column: {error}") from error
    return bytes(content)
