"""The catalogue: every change that the offline agent knows how to make.

This file decides how edits are found for a script, looked up by the name that a peer published,
and stacked. It refuses to know which of them to try first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from node.agent.catalogue import blocks, initialisation, normalisation, training
from node.agent.catalogue.constants import constant_edit, constant_edits, parse_assignment
from node.agent.catalogue.edit import Edit
from node.agent.catalogue.files import FileEdit, Files, lifted, read_document
from node.agent.catalogue.script import NotApplicableError, Script
from node.agent.catalogue.texts import find_text_edit, text_edits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "BUNDLE_EDITS_MAX",
    "STRUCTURAL",
    "AnyEdit",
    "Document",
    "Edit",
    "FileEdit",
    "Files",
    "NotApplicableError",
    "Script",
    "apply_edits",
    "bundle_change",
    "constant_edits",
    "find_edits",
    "read_document",
    "structural_edits",
    "value_edits",
]

AnyEdit: TypeAlias = Edit | FileEdit
Document: TypeAlias = Script | Files

BUNDLE_EDITS_MAX: Final = 3
"""Most edits in one proposal: more would say little about any of them."""

STRUCTURAL: Final[Mapping[str, Edit]] = {
    edit.change: edit
    for edit in (*normalisation.EDITS, *blocks.EDITS, *initialisation.EDITS, *training.EDITS)
}
"""Edits that are not a constant's value, by their change."""

_SEPARATOR: Final = " + "


def structural_edits(document: Document) -> Iterator[AnyEdit]:
    """Yields the structural edits for a document, whether or not it has a place for them."""
    if isinstance(document, Script):
        yield from STRUCTURAL.values()
        return
    for name in document.files:
        if name.endswith(".py"):
            yield from (lifted(name, edit) for edit in STRUCTURAL.values())


def value_edits(document: Document, width: int) -> Iterator[AnyEdit]:
    """Yields other values of a document: constants of scripts, and all that other texts offer.

    Args:
        document: what is edited.
        width: how far the search has widened, 0 for the plainest steps only.

    Raises:
        NotApplicableError: one of the files cannot be read.
    """
    if isinstance(document, Script):
        yield from constant_edits(document, width)
        return
    for name, text in document.files.items():
        if name.endswith(".py"):
            edits = constant_edits(Script.parse(text), width)
            yield from (lifted(name, edit) for edit in edits)
        else:
            yield from text_edits(name, text, width)


def find_edits(change: str) -> tuple[AnyEdit, ...]:
    """Returns the edits that a change names; empty if the catalogue does not know one of them.

    Args:
        change: what a proposal of any peer gave as its change.
    """
    parts = change.split(_SEPARATOR, BUNDLE_EDITS_MAX)
    if len(parts) > BUNDLE_EDITS_MAX:
        return ()
    edits = [edit for part in parts if (edit := _find_edit(part)) is not None]
    return tuple(edits) if len(edits) == len(parts) else ()


def _find_edit(part: str) -> AnyEdit | None:
    if part in STRUCTURAL:
        return STRUCTURAL[part]
    assignment = parse_assignment(part)
    if assignment is not None:
        return constant_edit(*assignment)
    file, _, rest = part.partition(".py:")
    inner = _find_edit(rest) if rest else None
    return lifted(f"{file}.py", inner) if isinstance(inner, Edit) else find_text_edit(part)


def bundle_change(edits: Sequence[AnyEdit]) -> str:
    """Returns the change that names several edits, whatever order they are given in."""
    return _SEPARATOR.join(sorted(edit.change for edit in edits))


def apply_edits(document: Document, edits: Sequence[AnyEdit]) -> Document:
    """Applies edits one after another, each of which must change something.

    Structural edits come first, because they bring constants that the others may set.

    Raises:
        NotApplicableError: one of them has no place.
    """
    for edit in sorted(edits, key=lambda edit: (edit.change not in STRUCTURAL, edit.change)):
        document = edit.apply(document)
    return document
