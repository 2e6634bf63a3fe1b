"""Vocabularies: what a token stands for in bytes, and how text becomes tokens.

This file decides how the two common files of byte-level BPE are read (GPT-2's merges, and
tiktoken's ranks) and how they are applied. A file is pinned by its SHA-256 like any data, and is
hostile until it was read here: whatever it holds, only `DataError` leaves this file.

The tokens of a corpus are pinned as well and travel as they are, so that no two nodes ever have to
agree on an encoder: only the founder of a swarm encodes.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from trainer.job import TrainerError

if TYPE_CHECKING:
    import numpy.typing as npt

VocabularyKind = Literal["bytes", "merges", "tiktoken"]
TOKENS_MAX: Final = 1 << 16
"""Most tokens of a vocabulary: tokens are stored as 16-bit numbers."""
TOKEN_BYTES_MAX: Final = 512
"""Longest token; those of the common vocabularies stay below 130 bytes."""
_WORDS_KEPT: Final = 1 << 17

_WORD: Final = re.compile(
    r"'(?:[sdmt]|ll|ve|re)| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+", re.UNICODE
)
"""How text is cut before merging: GPT-2's rule, except that numerals which are no decimal digits
(as in ½) go with letters. Every character belongs to exactly one piece."""


class DataError(TrainerError):
    """Data is missing, not of its format, or not the bytes that the task pins."""


@dataclasses.dataclass(frozen=True, slots=True)
class Vocabulary:
    """A byte-level BPE vocabulary.

    Attributes:
        tokens: bytes of every token, by id; merges of a lower id are made first.
    """

    tokens: tuple[bytes, ...]

    def lengths(self, vocab_size: int) -> npt.NDArray[np.int64]:
        """Returns the number of bytes of each token.

        Special tokens, which are those behind the file's own, stand for no bytes.

        Raises:
            DataError: the file has more tokens than the task says.
        """
        if len(self.tokens) > vocab_size:
            raise DataError(f"the vocabulary has {len(self.tokens)} tokens, not {vocab_size}")
        lengths = np.zeros(vocab_size, np.int64)
        lengths[: len(self.tokens)] = [len(token) for token in self.tokens]
        return lengths

    def encode(self, text: bytes) -> npt.NDArray[np.uint16]:
        """Returns the tokens of a text; bytes that are not UTF-8 are encoded one by one."""
        ids = {token: number for number, token in enumerate(self.tokens)}
        known: dict[str, list[int]] = {}
        encoded: list[int] = []
        for piece in _WORD.findall(text.decode("utf-8", "surrogateescape")):
            found = known.get(piece)
            if found is None:
                found = _merge(piece.encode("utf-8", "surrogateescape"), ids)
                if len(known) < _WORDS_KEPT:
                    known[piece] = found
            encoded += found
        return np.array(encoded, np.uint16)


def _merge(piece: bytes, ids: dict[bytes, int]) -> list[int]:
    parts = [piece[i : i + 1] for i in range(len(piece))]
    while len(parts) > 1:
        ranks = [(ids.get(parts[i] + parts[i + 1], TOKENS_MAX), i) for i in range(len(parts) - 1)]
        rank, place = min(ranks)
        if rank == TOKENS_MAX:
            break
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return [ids[part] for part in parts]


def read_vocabulary(content: bytes, kind: VocabularyKind) -> Vocabulary:
    """Returns the vocabulary in a file.

    Args:
        content: the file.
        kind: `merges` is GPT-2's `vocab.bpe`; `tiktoken` has a base64 token and its rank a line.

    Raises:
        DataError: it is not such a file, or its tokens cannot encode every byte.
    """
    assert kind != "bytes", "bytes need no file"
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise DataError("the vocabulary is not UTF-8") from error
    lines = text.splitlines()
    tokens = _merges(lines) if kind == "merges" else _ranks(lines)
    if len(tokens) > TOKENS_MAX or any(not 1 <= len(t) <= TOKEN_BYTES_MAX for t in tokens):
        raise DataError("the vocabulary has too many tokens, or one that is empty or too long")
    if len(set(tokens)) != len(tokens) or any(bytes([b]) not in set(tokens) for b in range(256)):
        raise DataError("the vocabulary repeats a token or lacks one of the 256 bytes")
    return Vocabulary(tuple(tokens))


def _ranks(lines: list[str]) -> list[bytes]:
    tokens = []
    for number, line in enumerate(lines):
        word, _, rank = line.partition(" ")
        try:
            tokens.append(base64.b64decode(word, validate=True))
        except (binascii.Error, ValueError) as error:
            raise DataError(f"line {number + 1} of the vocabulary is not base64") from error
        if rank != str(number):
            raise DataError(f"line {number + 1} of the vocabulary does not have rank {number}")
        if number >= TOKENS_MAX:
            break
    return tokens


def _printable_bytes() -> dict[str, int]:
    """Returns how GPT-2 writes each byte: as itself where it prints, else from 256 on."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    shown = {chr(byte): byte for byte in plain}
    shown.update({chr(256 + place): byte for place, byte in enumerate(others)})
    return shown


def _merges(lines: list[str]) -> list[bytes]:
    shown = _printable_bytes()
    tokens = [bytes([byte]) for byte in shown.values()]
    start = 1 if lines and lines[0].startswith("#version") else 0
    for number, line in enumerate(lines[start:], start + 1):
        if not line:
            continue
        try:
            left, right = line.split(" ")
            tokens.append(bytes(shown[character] for character in left + right))
        except (ValueError, KeyError) as error:
            raise DataError(f"line {number} of the vocabulary is not a merge") from error
        if len(tokens) > TOKENS_MAX:
            break
    return tokens
