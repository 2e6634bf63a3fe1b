"""Real Parquet files: written and read with pyarrow, which `make test-parquet` installs."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.trainer.tiny import write_task
from trainer import formats
from trainer.data import DataError, Split, unpack
from trainer.task import load_task

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = ["first", "sécond\nwith a line", "", "fourth"]
LINES = b"first\ns\xc3\xa9cond\nwith a line\n\nfourth\n"


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    parquet.write_table(pa.table(columns), path, **options)
    return path


@pytest.mark.parametrize("options", [{}, {"compression": "zstd"}, {"row_group_size": 1}])
def test_the_texts_of_a_file_are_lines(tmp_path: Path, options: dict[str, Any]) -> None:
    path = write(tmp_path / "shard", {"id": range(4), "text": TEXTS}, **options)
    assert formats.read(path, "parquet", 1000) == LINES
    # Not more is read than is wanted, whole texts only.
    assert formats.read(path, "parquet", 3) == b"first\n"


def test_a_missing_text_is_an_empty_one(tmp_path: Path) -> None:
    path = write(tmp_path / "shard", {"text": ["one", None, "two"]})
    assert formats.read(path, "parquet", 1000) == b"one\n\ntwo\n"


def test_what_is_no_text_is_told(tmp_path: Path) -> None:
    for name, columns in (("other", {"words": ["a"]}), ("numbers", {"text": [1, 2]})):
        with pytest.raises(DataError, match="not a Parquet file with a text column"):
            formats.read(write(tmp_path / name, columns), "parquet", 1000)
    whole = write(tmp_path / "whole", {"text": TEXTS}).read_bytes()
    for size in (0, 4, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut").write_bytes(whole[:size])
        with pytest.raises(DataError, match="not a Parquet file with a text column"):
            formats.read(tmp_path / "cut", "parquet", 1000)


def test_shards_are_one_split_of_a_task(tmp_path: Path) -> None:
    write_task(tmp_path)
    text = ["the quick brown fox", "jumps over lazy dogs"] * 50
    shards = [write(tmp_path / f"shard-{n}", {"text": text}).name for n in range(2)]
    content = "".join(f"{item}\n" for item in text * 2).encode()
    digest = hashlib.sha256(content).hexdigest()
    split = Split("train", tuple(shards), "parquet", len(content), digest)
    assert unpack(tmp_path, split) == content
    manifest = tmp_path / "task.toml"
    old = manifest.read_text()
    head, _, rest = old.partition("[data.train]")
    _, _, tail = rest.partition("[data.validation]")
    names = ", ".join(f'"{name}"' for name in shards)
    new = (
        f'files = [{names}]\nformat = "parquet"\nsize_bytes = {len(content)}\nsha256 = "{digest}"\n'
    )
    manifest.write_text(f"{head}[data.train]\n{new}\n[data.validation]{tail}")
    assert unpack(tmp_path, load_task(tmp_path).splits["train"]) == content
