"""Data formats and vocabularies: what good files give, and clear errors for all others."""

from __future__ import annotations

import base64
import bz2
import hashlib
import re
import sys
import types
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.tiny import text, write_task
from trainer import formats
from trainer.checking import check_directory
from trainer.data import Split, assemble, unpack
from trainer.fields import TaskError
from trainer.scorer import Scoring
from trainer.task import load_task
from trainer.vocabulary import DataError, Vocabulary, read_vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MERGED = [b"th", b"the", b" t", b" the", b"er", "é".encode()]
RANKS = b"".join(
    base64.b64encode(token) + f" {rank}\n".encode()
    for rank, token in enumerate([*(bytes([b]) for b in range(256)), *MERGED])
)
MERGES = b"#version: 0.2\nt h\nth e\n\xc4\xa0 t\n\xc4\xa0t he\n"


def _header(count: int, magic: int = 20240520) -> bytes:
    header = np.zeros(256, "<i4")
    header[:3] = magic, 1, count
    return header.tobytes()


@pytest.mark.parametrize(
    ("form", "content", "expected"),
    [
        ("text", b"plain", b"plain"),
        ("bzip2", bz2.compress(b"packed"), b"packed"),
        ("nanogpt", b"\1\0\2\0", b"\1\0\2\0"),
        ("modded-nanogpt", _header(2) + b"\1\0\2\0", b"\1\0\2\0"),
        ("raw", b"\0\xff", b"\0\xff"),
    ],
)
def test_a_file_of_each_format(
    tmp_path: Path, form: formats.Format, content: bytes, expected: bytes
) -> None:
    (tmp_path / "file").write_bytes(content)
    assert formats.read(tmp_path / "file", form, 1000) == expected


@pytest.mark.parametrize(
    ("form", "content", "words"),
    [
        ("bzip2", b"not packed", "not a bzip2 archive"),
        ("bzip2", bz2.compress(b"a" * 500)[:-8], "truncated"),
        ("nanogpt", b"\1\0\2", "its size is odd"),
        ("modded-nanogpt", b"\1\0\2", "too short"),
        ("modded-nanogpt", _header(3) + b"\1\0\2\0", "holds 2 tokens, not the 3"),
        ("modded-nanogpt", _header(2, magic=7) + b"\1\0\2\0", "not a modded-nanogpt file"),
        ("parquet", b"PAR1", "Parquet"),
    ],
)
def test_a_file_of_no_format_is_told(
    tmp_path: Path, form: formats.Format, content: bytes, words: str
) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DataError, match=words):
        formats.read(tmp_path / "file", form, 1000)
    with pytest.raises(DataError, match=r"cannot read|pyarrow|Parquet"):
        formats.read(tmp_path / "missing", form, 1000)


class FakeParquetFile:
    """What pyarrow's ParquetFile offers to a reader: batches with a column of texts."""

    def __init__(self, path: Path) -> None:
        self._texts = path.read_text().split("|")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def iter_batches(self, columns: list[str]) -> Iterator[FakeParquetFile]:
        assert columns == ["text"]
        yield self

    def column(self, number: int) -> FakeParquetFile:
        assert number == 0
        return self

    def to_pylist(self) -> list[str]:
        return self._texts


def test_parquet_texts_are_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake: Any = types.ModuleType("pyarrow.parquet")
    fake.ParquetFile = FakeParquetFile
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", fake)
    (tmp_path / "shard").write_text("one|two|three")
    assert formats.read(tmp_path / "shard", "parquet", 1000) == b"one\ntwo\nthree\n"
    assert formats.read(tmp_path / "shard", "parquet", 5) == b"one\ntwo\n"


def test_both_kinds_of_vocabulary_merge_alike() -> None:
    ranks, merges = read_vocabulary(RANKS, "tiktoken"), read_vocabulary(MERGES, "merges")
    sample = b"the other the"
    for vocabulary in (ranks, merges):
        pieces = [vocabulary.tokens[i] for i in vocabulary.encode(sample)]
        assert b"".join(pieces) == sample
        assert pieces[0] == b"the"
        assert pieces[-1] == b" the"
    assert merges.tokens[0] == b"!"
    assert merges.tokens[256:] == (b"th", b"the", b" t", b" the")


@given(st.binary(max_size=200))
def test_encoding_loses_nothing(content: bytes) -> None:
    vocabulary = read_vocabulary(RANKS, "tiktoken")
    assert b"".join(vocabulary.tokens[i] for i in vocabulary.encode(content)) == content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"####",
        RANKS[: len(RANKS) // 2],
        RANKS + RANKS,
        RANKS + b"!!!! 262\n",
        RANKS.replace(b" 7\n", b" 8\n"),
        RANKS + base64.b64encode(b"a" * 600) + b" 262\n",
    ],
)
def test_a_file_that_is_no_vocabulary_is_refused(content: bytes) -> None:
    with pytest.raises(DataError):
        read_vocabulary(content, "tiktoken")
    if content:
        with pytest.raises(DataError):
            read_vocabulary(content + b"a b c\n", "merges")


def test_bits_are_per_real_byte_and_special_tokens_do_not_count() -> None:
    vocabulary = Vocabulary((*(bytes([b]) for b in range(256)), b"the"))
    lengths = vocabulary.lengths(258)
    assert lengths.tolist() == [1] * 256 + [3, 0]
    windows = np.array([[5, 256, 257, 7]])
    scoring = Scoring(windows, 258, seed=1, token_bytes=lengths)
    scoring.accept(0, np.zeros((1, 3, 258), np.float32))
    # Two tokens of log2(258) bits each stand for four bytes.
    assert scoring.score().metric_micro == pytest.approx(2 * np.log2(258) / 4 * 1e6, abs=1)


def write_bpe_task(directory: Path) -> Path:
    """The tiny task with a vocabulary, its train and test text encoded, validation as tokens."""
    write_task(directory)
    (directory / "vocab").write_bytes(RANKS)
    vocabulary = read_vocabulary(RANKS, "tiktoken")
    manifest = (directory / "task.toml").read_text()
    manifest = manifest.replace("vocab_size = 256", "vocab_size = 300")
    pinned = hashlib.sha256(RANKS).hexdigest()
    table = f'kind = "tiktoken"\nfile = "vocab"\nsize_bytes = {len(RANKS)}\nsha256 = "{pinned}"\n'
    manifest = manifest.replace("[metric]", f"[vocabulary]\n{table}\n[metric]")
    for name, size in (("train", 20_000), ("validation", 6_000), ("test", 6_000)):
        content = text(name, size)
        tokens = vocabulary.encode(content).astype("<u2").tobytes()
        old = hashlib.sha256(content).hexdigest()
        manifest = manifest.replace(
            f'size_bytes = {size}\nsha256 = "{old}"',
            f'size_bytes = {len(tokens)}\nsha256 = "{hashlib.sha256(tokens).hexdigest()}"',
        )
    tokens = vocabulary.encode(text("validation", 6_000)).astype("<u2").tobytes()
    (directory / "validation.bin").write_bytes(tokens)
    manifest = manifest.replace(
        'file = "validation.bz2"', 'file = "validation.bin"\nformat = "nanogpt"'
    )
    (directory / "task.toml").write_text(manifest)
    return directory


def test_a_task_with_a_vocabulary_is_encoded_by_its_founder(tmp_path: Path) -> None:
    task = load_task(write_bpe_task(tmp_path))
    assert check_directory(tmp_path) == []
    assert set(task.pins) == {"train", "validation", "test", "vocabulary"}
    content = unpack(tmp_path, task.pins["train"])
    vocabulary = read_vocabulary(RANKS, "tiktoken")
    tokens = np.frombuffer(content, "<u2")
    assert b"".join(vocabulary.tokens[i] for i in tokens) == text("train", 20_000)
    assert task.job("smoke", "", 1).token_width == 2


def test_several_files_are_one_split(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name * 3)
    split = Split("train", ("a", "b"), "text", 6, hashlib.sha256(b"aaabbb").hexdigest())
    assert unpack(tmp_path, split) == b"aaabbb"
    assert assemble(tmp_path, split, 2) == b"aaa"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('sha256 = "', 'sha256 = "0000', "64 hexadecimal digits"),
        (
            "size_bytes = 6000",
            "size_bytes = 5999",
            r"validation has 6000 bytes, not 5999; its files",
        ),
        ("vocab_size = 256", "vocab_size = 100", "is not in a vocabulary of 100"),
        ('"build_model", "train"]', '"build_model", "learn"]', r"does not define learn\(\)"),
        ('scorer = "trusted"', 'scorer = "guessed"', r"scorer must be one of trusted, reported"),
        ('file = "train.bz2"', 'file = "other.bz2"', "cannot read"),
        ("context = 32", "context = 20000", "do not fill a window"),
        ('file = "train.bz2"', 'file = "train.bz2"\nformat = "nanogpt"', "need a vocabulary"),
    ],
)
def test_task_check_says_what_is_wrong(tmp_path: Path, old: str, new: str, words: str) -> None:
    manifest = write_task(tmp_path) / "task.toml"
    content = manifest.read_text()
    assert old in content
    manifest.write_text(content.replace(old, new, 1))
    try:
        faults = check_directory(tmp_path)
    except TaskError as error:
        faults = [str(error)]
    assert any(re.search(words, fault) for fault in faults), faults
