"""Edits of files that are not Python: values of TOML, and the paragraphs of other texts.

This file decides what can be tried on a text without understanding it: another number, a switch
turned, one of the wordings that the file itself lists, a paragraph left out or moved. It refuses to
know what any file is for.

A file lists wordings in comments: lines `# one of: VALUE` directly above a value in TOML, and lines
`<!-- one of: TEXT -->` directly below a paragraph of Markdown. Edits leave these comments as they
are, and comments mean nothing to the digest of a source.

The text may be a stranger's, and so may the name of a change: names hold nothing but a key, a
number or hashes of texts that stand in the file.
"""

from __future__ import annotations

import hashlib
import math
import re
import tomllib
from typing import TYPE_CHECKING, Final

from node.agent.catalogue.constants import STEPS
from node.agent.catalogue.files import FileEdit
from node.agent.catalogue.script import NotApplicableError
from node.toml_text import Place, places, with_value, written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from node.agent.catalogue.numbers import Number

TEXT_SUFFIXES: Final = (".md", ".txt")
"""Files whose paragraphs are moved, dropped and worded anew."""

_LISTED_TOML: Final = re.compile(r"\s*# one of: (.+)")
_LISTED_TEXT: Final = re.compile(r"\s*<!-- one of: (.+?) -->\s*")
_HASH: Final = r"~[0-9a-f]{8}"
_SET: Final = re.compile(rf"([A-Za-z0-9_.-]{{1,80}})=({_HASH}|true|false|-?[0-9][0-9.e+-]{{0,20}})")
_REWORD: Final = re.compile(rf"({_HASH})=({_HASH})")
_DROP: Final = re.compile(rf"-({_HASH})")
_MOVE: Final = re.compile(rf"({_HASH})<({_HASH})")
_EFFECT: Final = "A small to moderate difference; the sign is what the trial is for."
_SHOWN_CHARS: Final = 60


def text_edits(file: str, text: str, width: int) -> Iterator[FileEdit]:
    """Yields what can be tried on a file.

    Args:
        file: its name; its ending says what kind of text it is.
        text: its text.
        width: how far the search has widened; numbers take finer and wilder steps.
    """
    if file.endswith(".toml"):
        for place in places(text).values():
            yield from _value_edits(file, text, place, width)
    elif file.endswith(TEXT_SUFFIXES):
        yield from _paragraph_edits(file, text)


def find_text_edit(change: str) -> FileEdit | None:
    """Returns the edit that a change such as `variants.toml:page.fields=3` names, or None."""
    file, _, rest = change.partition(":")
    if file.endswith(".toml"):
        match = _SET.fullmatch(rest)
        if match is None:
            return None
        shown = "another listed value" if match[2].startswith("~") else match[2]
        return _set_edit(file, match[1], match[2], shown)
    if file.endswith(TEXT_SUFFIXES):
        if match := _REWORD.fullmatch(rest):
            return _reword_edit(file, match[1], match[2], "another wording")
        if match := _DROP.fullmatch(rest):
            return _drop_edit(file, match[1], "a paragraph")
        if match := _MOVE.fullmatch(rest):
            return _move_edit(file, match[1], match[2], "a paragraph")
    return None


def text_hash(text: str) -> str:
    """Returns a short name of a text, whatever its spacing."""
    return "~" + hashlib.sha256(" ".join(text.split()).encode()).hexdigest()[:8]


# -- values of TOML -----------------------------------------------------------------------------


def _value_edits(file: str, text: str, place: Place, width: int) -> Iterator[FileEdit]:
    listed = _listed_values(text, place)
    for value in listed:
        if written(value) != written(place.value):
            yield _set_edit(file, place.name, _token(value), _shown(value))
    match place.value:
        case bool() if not listed:
            value = not place.value
            yield _set_edit(file, place.name, _token(value), _shown(value))
        case int() | float() if not isinstance(place.value, bool):
            for number in _steps(place.value, width):
                yield _set_edit(file, place.name, _token(number), _shown(number))
        case _:
            pass


def _set_edit(file: str, name: str, token: str, shown: str) -> FileEdit:
    def transform(text: str) -> str:
        place = places(text).get(name)
        if place is None:
            raise NotApplicableError(f"{file} has no value {name}")
        if not token.startswith("~"):
            value = tomllib.loads(f"x = {token}")["x"]
            if _sort(value) is not _sort(place.value):
                raise NotApplicableError(f"{token} is no value for {name}")
            return with_value(text, place, token)
        for value in _listed_values(text, place):
            if _token(value) == token:
                return with_value(text, place, written(value))
        raise NotApplicableError(f"{file} does not list this value of {name}")

    def checked(text: str) -> str:
        try:
            return transform(text)
        except (ValueError, KeyError) as error:
            raise NotApplicableError(f"{token} is no value") from error

    return FileEdit(
        file=file,
        kind="wording" if token.startswith("~") else "setting",
        change=f"{file}:{name}={token}",
        title=f"{name} to {shown}",
        rationale=f"This sets {name} in {file} to {shown}, which has not been tried here.",
        expected_effect=_EFFECT,
        transform=checked,
    )


def _listed_values(text: str, place: Place) -> list[str | bool | Number]:
    """Values that comment lines directly above a value list."""
    lines = text.split("\n")
    found: list[str | bool | Number] = []
    for number in range(place.line - 1, -1, -1):
        match = _LISTED_TOML.fullmatch(lines[number])
        if match is None:
            break
        try:
            value = tomllib.loads(f"x = {match[1]}")["x"]
        except (ValueError, KeyError, RecursionError):
            continue
        if isinstance(value, str | bool | int | float):
            found.append(value)
    return found[::-1]


def _sort(value: object) -> type:
    """What can stand where a value stands: switches are no numbers, and numbers are of one sort."""
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def _token(value: str | bool | Number) -> str:
    """Returns a value as the name of a change holds it."""
    return text_hash(value) if isinstance(value, str) else written(value)


def _steps(old: Number, width: int) -> list[Number]:
    """Values on a logarithmic scale around the present one; whole numbers stay whole."""
    factors = [factor for level in STEPS[: width + 1] for factor in level]
    start = old or 1
    numbers: list[Number] = []
    for factor in factors:
        if isinstance(old, int):
            value: Number = round(start * factor)
            if value == old:
                value = old + (1 if factor > 1 else -1)
        else:
            value = float(f"{start * factor:.2g}")
        if value != old and value not in numbers and math.isfinite(value):
            numbers.append(value)
    return numbers


# -- paragraphs ---------------------------------------------------------------------------------


def _paragraph_edits(file: str, text: str) -> Iterator[FileEdit]:
    blocks = _blocks(text)
    for index, block in enumerate(blocks):
        name = text_hash(_words(block))
        for listed in _listed_texts(block):
            if text_hash(listed) != name:
                yield _reword_edit(file, name, text_hash(listed), _shown(listed))
        if len(blocks) > 1:
            yield _drop_edit(file, name, _shown(_words(block)))
        if index:
            before = text_hash(_words(blocks[index - 1]))
            yield _move_edit(file, name, before, _shown(_words(block)))


def _reword_edit(file: str, name: str, wanted: str, shown: str) -> FileEdit:
    def transform(text: str) -> str:
        blocks = _blocks(text)
        index = _index(file, blocks, name)
        for listed in _listed_texts(blocks[index]):
            if text_hash(listed) == wanted:
                comments = [line for line in blocks[index] if _LISTED_TEXT.fullmatch(line)]
                blocks[index] = [listed, *comments]
                return _joined(blocks)
        raise NotApplicableError(f"{file} does not list this wording")

    return FileEdit(
        file=file,
        kind="wording",
        change=f"{file}:{name}={wanted}",
        title=f"{file}: {shown}",
        rationale=f"Another wording that {file} lists for this paragraph: {shown}.",
        expected_effect=_EFFECT,
        transform=transform,
    )


def _drop_edit(file: str, name: str, shown: str) -> FileEdit:
    def transform(text: str) -> str:
        blocks = _blocks(text)
        del blocks[_index(file, blocks, name)]
        return _joined(blocks)

    return FileEdit(
        file=file,
        kind="paragraphs",
        change=f"{file}:-{name}",
        title=f"{file} without {shown}",
        rationale=f"A shorter text is read further. This leaves out {shown}.",
        expected_effect=_EFFECT,
        transform=transform,
    )


def _move_edit(file: str, name: str, before: str, shown: str) -> FileEdit:
    def transform(text: str) -> str:
        blocks = _blocks(text)
        block = blocks.pop(_index(file, blocks, name))
        blocks.insert(_index(file, blocks, before), block)
        return _joined(blocks)

    return FileEdit(
        file=file,
        kind="paragraphs",
        change=f"{file}:{name}<{before}",
        title=f"{file}: earlier {shown}",
        rationale=f"What stands first is read most. This moves {shown} one paragraph up.",
        expected_effect=_EFFECT,
        transform=transform,
    )


def _blocks(text: str) -> list[list[str]]:
    """The paragraphs of a text, as lines, each with the wordings that it lists."""
    blocks: list[list[str]] = [[]]
    for line in text.split("\n"):
        if line.strip():
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
    return [block for block in blocks if block]


def _joined(blocks: list[list[str]]) -> str:
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _words(block: list[str]) -> str:
    return "\n".join(line for line in block if not _LISTED_TEXT.fullmatch(line))


def _listed_texts(block: list[str]) -> list[str]:
    return [match[1] for line in block if (match := _LISTED_TEXT.fullmatch(line))]


def _index(file: str, blocks: list[list[str]], name: str) -> int:
    for index, block in enumerate(blocks):
        if text_hash(_words(block)) == name:
            return index
    raise NotApplicableError(f"{file} does not hold this paragraph")


def _shown(value: str | bool | Number) -> str:
    """Returns a value for a person's eye."""
    if not isinstance(value, str):
        return written(value)
    line = " ".join(value.split())
    return f"“{line if len(line) <= _SHOWN_CHARS else line[: _SHOWN_CHARS - 1] + '…'}”"
