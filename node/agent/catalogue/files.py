"""Several editable files as one document that edits can be applied to.

This file decides how an edit reaches one of the files, and how edits of Python scripts are lifted
to a script among others. It refuses to know which edits there are for other texts (`texts.py`).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from node.agent.catalogue.script import NotApplicableError, Script
from protocol.sources import SourcesError, holds_files, join_files, split_files
from swarm.source import SourceError, normalise

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from node.agent.catalogue.edit import Edit
    from node.agent.catalogue.numbers import Number


@dataclasses.dataclass(frozen=True, slots=True)
class Files:
    """One version of all files; every change returns a new one.

    Attributes:
        files: their texts by name.
    """

    files: Mapping[str, str]

    @classmethod
    def parse(cls, source: str) -> Files:
        """Returns the files of a source within the limits of `swarm.source`.

        Raises:
            NotApplicableError: the source exceeds a limit or cannot be read.
        """
        try:
            normalise(source)
            return cls(split_files(source))
        except (SourceError, SourcesError) as error:
            raise NotApplicableError(f"the files cannot be edited: {error}") from None

    @property
    def code(self) -> str:
        """The source of this version.

        Raises:
            NotApplicableError: an edit has made a text that cannot stand beside others.
        """
        try:
            return join_files(self.files)
        except SourcesError as error:
            raise NotApplicableError(str(error)) from None

    def constants(self) -> dict[str, Number]:
        """Returns nothing: values of files are reached by edits of their own."""
        return {}

    def with_file(self, name: str, text: str) -> Files:
        """Returns a version with another text in one file."""
        return Files({**self.files, name: text})


@dataclasses.dataclass(frozen=True, slots=True)
class FileEdit:
    """One change of one file; has what `Edit` has, for documents of several files.

    Attributes:
        file: the file that it changes.
        kind: category of the change.
        change: stable name: the file's name, a colon, and what is done.
        title: what it does, in a few words.
        rationale: why it might help.
        expected_effect: what should be seen if the rationale is right.
        transform: the change itself; raises `NotApplicableError` where it has no place.
    """

    file: str
    kind: str
    change: str
    title: str
    rationale: str
    expected_effect: str
    transform: Callable[[str], str]

    def apply(self, document: Script | Files) -> Files:
        """Returns the changed files.

        Raises:
            NotApplicableError: there is no such file or no place in it, or it would stay as it is.
        """
        if not isinstance(document, Files) or self.file not in document.files:
            raise NotApplicableError(f"there is no {self.file} to edit")
        before = document.files[self.file]
        after = self.transform(before)
        if after == before:
            raise NotApplicableError("the file has this change already")
        return document.with_file(self.file, after)


def read_document(source: str) -> Script | Files:
    """Returns what a source holds, ready for edits.

    Raises:
        NotApplicableError: it exceeds a limit or cannot be read.
    """
    return Files.parse(source) if holds_files(source) else Script.parse(source)


def lifted(file: str, edit: Edit) -> FileEdit:
    """Returns a script's edit as an edit of one Python file among others."""
    return FileEdit(
        file=file,
        kind=edit.kind,
        change=f"{file}:{edit.change}",
        title=f"{edit.title} ({file})",
        rationale=edit.rationale,
        expected_effect=edit.expected_effect,
        transform=lambda text: edit.apply(Script.parse(text)).code,
    )
