"""The catalogue: every change that the offline agent knows how to make.

This file decides how edits are found for a script, looked up by the name that a peer published,
and stacked. It refuses to know which of them to try first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from node.agent.catalogue import blocks, initialisation, training
from node.agent.catalogue.constants import constant_edit, constant_edits, parse_assignment
from node.agent.catalogue.edit import Edit
from node.agent.catalogue.script import NotApplicableError, Script

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "BUNDLE_EDITS_MAX",
    "STRUCTURAL",
    "Edit",
    "NotApplicableError",
    "Script",
    "apply_edits",
    "bundle_change",
    "constant_edits",
    "find_edits",
]

BUNDLE_EDITS_MAX: Final = 3
"""Most edits in one proposal: more would say little about any of them."""

STRUCTURAL: Final[Mapping[str, Edit]] = {
    edit.change: edit for edit in (*blocks.EDITS, *initialisation.EDITS, *training.EDITS)
}
"""Edits that are not a constant's value, by their change."""

_SEPARATOR: Final = " + "


def find_edits(change: str) -> tuple[Edit, ...]:
    """Returns the edits that a change names; empty if the catalogue does not know one of them.

    Args:
        change: what a proposal of any peer gave as its change.
    """
    parts = change.split(_SEPARATOR, BUNDLE_EDITS_MAX)
    if len(parts) > BUNDLE_EDITS_MAX:
        return ()
    edits: list[Edit] = []
    for part in parts:
        assignment = parse_assignment(part)
        if part in STRUCTURAL:
            edits.append(STRUCTURAL[part])
        elif assignment is not None:
            edits.append(constant_edit(*assignment))
        else:
            return ()
    return tuple(edits)


def bundle_change(edits: Sequence[Edit]) -> str:
    """Returns the change that names several edits, whatever order they are given in."""
    return _SEPARATOR.join(sorted(edit.change for edit in edits))


def apply_edits(script: Script, edits: Sequence[Edit]) -> Script:
    """Applies edits one after another, each of which must change something.

    Structural edits come first, because they bring constants that the others may set.

    Raises:
        NotApplicableError: one of them has no place.
    """
    for edit in sorted(edits, key=lambda edit: (edit.change not in STRUCTURAL, edit.change)):
        script = edit.apply(script)
    return script
