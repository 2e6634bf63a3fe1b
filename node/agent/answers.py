"""Reading what a language model answered.

This file decides when an answer is a proposal. A model's answer is checked like anything else from
outside: a schema was asked for, which is no reason to believe that it was kept.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from node.agent.edits import REPLACEMENTS_MAX, apply_replacements
from node.agent.prompt import KINDS
from node.agent.proposal import (
    CHANGE_CHARS_MAX,
    RATIONALE_CHARS_MAX,
    TITLE_CHARS_MAX,
    Proposal,
    RejectedError,
    Replacement,
    one_line,
)

if TYPE_CHECKING:
    from node.agent.proposal import ResearchView


def read_answer(text: str, view: ResearchView, model: str) -> Proposal:
    """Returns the proposal that an answer makes on the head's script.

    Args:
        text: the answer, which should be a JSON object.
        view: what it was asked about.
        model: who answered.

    Raises:
        RejectedError: it is no proposal, or its edits do not fit the script.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RejectedError("the answer is not JSON", text) from error
    if not isinstance(value, dict):
        raise RejectedError("the answer is not a JSON object", text)
    try:
        replacements = _replacements(value)
        title = one_line(_text(value, "title"), TITLE_CHARS_MAX)
        change = one_line(_text(value, "change"), CHANGE_CHARS_MAX - len(_OWN_TERMS))
        if not title or not change:
            raise RejectedError("title and change must not be empty")
        kind = _text(value, "kind")
        source = apply_replacements(view.head_source, replacements)
        return Proposal(
            title=title,
            rationale=one_line(_text(value, "rationale"), RATIONALE_CHARS_MAX),
            expected_effect=one_line(_text(value, "expected_effect"), RATIONALE_CHARS_MAX),
            kind=kind if kind in KINDS else "other",
            change=_OWN_TERMS + change,
            source=source,
            proposer="claude",
            model=model,
            replacements=replacements,
            answer=text,
        )
    except RejectedError as error:
        raise RejectedError(error.reason, text) from error


_OWN_TERMS = "edit: "
"""Keeps a model's words apart from changes that the catalogue can make anew."""


def _replacements(value: dict[str, Any]) -> tuple[Replacement, ...]:
    edits = value.get("edits")
    if not isinstance(edits, list) or len(edits) > REPLACEMENTS_MAX:
        raise RejectedError(f"edits must be a list of at most {REPLACEMENTS_MAX}")
    found = []
    for edit in edits:
        if not isinstance(edit, dict):
            raise RejectedError("an edit must be an object with search and replace")
        found.append(Replacement(_text(edit, "search"), _text(edit, "replace")))
    return tuple(found)


def _text(value: dict[str, Any], name: str) -> str:
    text = value.get(name)
    if not isinstance(text, str):
        raise RejectedError(f"{name} must be text")
    return text
