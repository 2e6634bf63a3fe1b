"""Changes that a person put in and that were not run yet: one file each, until they were.

Whoever is told that a change waits may turn the machine off: a draft is on disk before that. This
file decides how drafts are kept. It refuses to know whether one is worth running.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from node.durable import sync_directory
from node.errors import StoreFullError

_FILE_BYTES_MAX: Final = 2 << 20
"""Two scripts of the largest size, every character of them escaped."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Draft:
    """A person's change as it was put in.

    Attributes:
        base: The script that it was made for.
        source: The changed script, whole.
        title: One line.
        rationale: Why it should help.
        change: What it changes, in a few words.
    """

    base: str
    source: str
    title: str
    rationale: str
    change: str

    @property
    def name(self) -> str:
        """The name of its file: the same change to the same script has the same."""
        return hashlib.sha256(f"{self.base}\0{self.source}".encode()).hexdigest()


class Drafts:
    """The drafts of one node.

    Args:
        directory: Where they are; made on first use.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, draft: Draft) -> None:
        """Write a draft; when this returns it survives a power cut.

        Raises:
            StoreFullError: It cannot be written.
        """
        path = self._path(draft)
        partial = path.with_suffix(".partial")
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            with partial.open("w", encoding="utf-8") as file:
                json.dump(asdict(draft), file)
                file.flush()
                os.fsync(file.fileno())
            partial.rename(path)
            sync_directory(self._directory)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise StoreFullError(f"cannot write {path}: {error.strerror}") from error

    def forget(self, draft: Draft) -> None:
        """Delete a draft that was run or dropped."""
        try:
            self._path(draft).unlink(missing_ok=True)
        except OSError as error:
            _log.warning("a draft could not be deleted: %s", error)

    def __iter__(self) -> Iterator[Draft]:
        """All drafts, the oldest first. A file that is none is left alone."""
        try:
            paths = sorted(self._directory.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        except OSError:
            return
        for path in paths:
            draft = _read(path)
            if draft is None:
                _log.warning("%s holds no draft", path)
            else:
                yield draft

    def _path(self, draft: Draft) -> Path:
        return self._directory / f"{draft.name}.json"


def _read(path: Path) -> Draft | None:
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(_FILE_BYTES_MAX))
    except (OSError, ValueError, RecursionError):
        return None
    names = {item.name for item in fields(Draft)}
    if not isinstance(value, dict) or value.keys() != names:
        return None
    if not all(isinstance(text, str) for text in value.values()):
        return None
    return Draft(**value)
