"""Data: only pinned bytes are ever used, and the shipped corpus is what it is said to be."""

from __future__ import annotations

import bz2
import dataclasses
from typing import TYPE_CHECKING

import pytest

from tests.trainer.tiny import text, tiny_task
from trainer.data import DataError, cached, check, unpack, verify
from trainer.task import built_in_directory, built_in_task
from trainer.tasks.bytes_gpt.build_corpus import clean, split_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_the_shipped_corpus_matches_its_pins(name: str) -> None:
    content = unpack(built_in_directory(), built_in_task().splits[name])
    assert b"\r" not in content
    assert b"\t" not in content
    assert b"gutenberg" not in content.lower()
    content.decode(errors="replace")


def test_no_long_passage_of_one_split_is_in_another() -> None:
    task, directory = built_in_task(), built_in_directory()
    train, validation, test = (
        unpack(directory, task.splits[name]) for name in ("train", "validation", "test")
    )
    for start in range(0, len(test) - 200, 16_384):
        passage = test[start + 100 : start + 200]
        assert passage not in validation
        assert passage not in train


def test_a_split_is_unpacked_once_and_found_again(tmp_path: Path) -> None:
    split = tiny_task(tmp_path).splits["train"]
    path = cached(tmp_path / "cache", tmp_path, split)
    assert path.name == split.sha256
    assert path.read_bytes() == text("train", 20_000)
    (tmp_path / split.files[0]).unlink()
    assert cached(tmp_path / "cache", tmp_path, split) == path
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [split.sha256]


def test_a_damaged_cache_is_replaced(tmp_path: Path) -> None:
    split = tiny_task(tmp_path).splits["train"]
    path = cached(tmp_path / "cache", tmp_path, split)
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    with pytest.raises(DataError, match="not the train split"):
        verify(path, split)
    assert verify(cached(tmp_path / "cache", tmp_path, split), split) == path


@pytest.mark.parametrize(
    "archive", [b"", b"not bzip2", bz2.compress(b"other"), bz2.compress(b"a" * 10_000_000)]
)
def test_other_bytes_than_pinned_are_refused(tmp_path: Path, archive: bytes) -> None:
    split = tiny_task(tmp_path).splits["validation"]
    (tmp_path / split.files[0]).write_bytes(archive)
    with pytest.raises(DataError):
        unpack(tmp_path, split)


def test_equal_size_is_not_enough(tmp_path: Path) -> None:
    split = dataclasses.replace(tiny_task(tmp_path).splits["test"], size_bytes=3)
    with pytest.raises(DataError, match="SHA-256"):
        check(b"abc", split)


def test_missing_data_is_a_clear_error(tmp_path: Path) -> None:
    split = tiny_task(tmp_path).splits["train"]
    with pytest.raises(DataError, match="No such file"):
        unpack(tmp_path / "elsewhere", split)
    with pytest.raises(DataError, match="No such file"):
        verify(tmp_path / "nothing", split)


def test_the_builder_cleans_a_document() -> None:
    raw = (
        "\ufeffIt\u2019s\r\n\r\n\r\n\r\na \u201ctest\u201d \u2014 here  \nThe Gutenberg line\nend\n"
    )
    trailer = "\nEnd of Project Gutenberg's text\nlicence\n"
    assert clean((raw + trailer).encode()) == b'It\'s\n\na "test" -- here\nend\n'
    assert clean(b"caf\xe9") == "café\n".encode()


def test_blocks_fall_into_splits_by_name_and_number() -> None:
    drawn = [split_of("a.txt", block) for block in range(4_000)]
    assert drawn == [split_of("a.txt", block) for block in range(4_000)]
    assert 100 < drawn.count("validation") < 220
    assert 100 < drawn.count("test") < 220
