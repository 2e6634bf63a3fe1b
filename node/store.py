"""The record store: SQLite, write-ahead log, durable before acknowledged.

It keeps envelopes as they came, in the order of their arrival, and knows nothing of what they
mean. `apsw` brings its own SQLite, because the one of many Python builds has a known fault in
write-ahead-log mode.
"""

import errno
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import apsw

from node.errors import StoreCorruptError, StoreError, StoreFullError

SCHEMA_VERSION: Final = 1

_PAGE_ROWS: Final = 512
"""Rows read at a time, so that reading all of them keeps nobody else from reading."""

_NO_ROOM: Final = {
    errno.ENOSPC: "no space left",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a limit on the size of files is reached (ulimit -f)",
}
"""What the system says when a write does not fit. SQLite knows only the first for a full disk."""

_SCHEMA: Final = """
CREATE TABLE record (
    sequence INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL,
    envelope BLOB NOT NULL
);
CREATE TABLE setting (name TEXT PRIMARY KEY, value BLOB NOT NULL);
"""

_PAGE: Final = (
    "SELECT sequence, id, created_ms, envelope FROM record WHERE sequence > ?"
    " ORDER BY sequence LIMIT ?"
)


class RecordStore:
    """One node's records.

    It may be read in any thread at any time, beside the one that writes: reading goes through a
    connection of its own and sees what has been committed, nothing else. Only one thread may write.

    Args:
        path: The database file; created when missing.
        read_only: Open for looking only, as the command line does beside a running node.

    Raises:
        StoreError: The file cannot be opened, is damaged, or is of another version.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        self._reading = threading.Lock()
        flags = (
            apsw.SQLITE_OPEN_READONLY
            if read_only
            else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        )
        try:
            self._database = apsw.Connection(str(path), flags=flags)
            self._database.set_busy_timeout(5_000)
            if not read_only:
                path.chmod(0o600)
                self._database.execute("PRAGMA journal_mode=WAL").get  # noqa: B018
                # Every commit waits for the disk: acknowledged means durable.
                self._database.execute("PRAGMA synchronous=FULL")
            self._check()
            version = self._database.execute("PRAGMA user_version").get
            if version == 0 and not read_only:
                with self._database:
                    self._database.execute(_SCHEMA)
                    self._database.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            elif version != SCHEMA_VERSION:
                raise StoreError(f"{path} is of version {version}; this software reads 1")
            self._reader = (
                self._database
                if read_only
                else apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
            )
            self._reader.set_busy_timeout(5_000)
        except apsw.Error as error:
            raise self._translated(error, None) from error

    def _check(self) -> None:
        problem = self._database.execute("PRAGMA quick_check(1)").get
        if problem != "ok":
            raise self._corrupt(str(problem))

    def _corrupt(self, detail: str) -> StoreCorruptError:
        # SQLite's report has several lines; the user gets one.
        words = " ".join(detail.split())[:200]
        return StoreCorruptError(
            f"{self._path} is damaged ({words}); move it away and start again: the node"
            " gets every record that it had shared back from its peers"
        )

    def _translated(self, error: apsw.Error, connection: apsw.Connection | None) -> StoreError:
        if isinstance(error, apsw.CorruptError | apsw.NotADBError):
            return self._corrupt(str(error))
        number = 0
        if connection is not None and isinstance(error, apsw.IOError):
            number = connection.system_errno
        return describe_failure(self._path, error, number)

    def append(self, records: Sequence[tuple[bytes, int, bytes]]) -> None:
        """Write records in one transaction; when this returns they survive a power cut.

        Args:
            records: Triples of id, created_ms and envelope. One already here is replaced.

        Raises:
            StoreFullError: The disk is full; nothing of this call is kept.
            StoreError: Anything else that SQLite reports; nothing of this call is kept.
        """
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(
                # A row that was damaged on disk is mended when its record comes again.
                "INSERT INTO record (id, created_ms, envelope) VALUES (?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET envelope = excluded.envelope",
                records,
            )
            self._database.execute("COMMIT")
        except apsw.Error as error:
            # The system's reason has to be read before anything else is asked of it.
            failure = self._translated(error, self._database)
            # A full disk makes SQLite roll back by itself; other errors leave that to us.
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise failure from error

    def probe(self, size_bytes: int) -> None:
        """Find out whether so much can be written now, and keep nothing of it.

        Raises:
            StoreError: It cannot.
        """
        try:
            self._database.execute(
                "INSERT OR REPLACE INTO setting VALUES ('probe', zeroblob(?))", (size_bytes,)
            )
            self._database.execute("DELETE FROM setting WHERE name='probe'")
        except apsw.Error as error:
            raise self._translated(error, self._database) from error

    def envelopes(self, ids: Iterable[bytes]) -> list[bytes]:
        """The envelopes of those ids that are here, in the order asked.

        Raises:
            StoreError: The file cannot be read.
        """
        found = (self._read("SELECT envelope FROM record WHERE id=?", item) for item in ids)
        return [rows[0][0] for rows in found if rows]

    def __iter__(self) -> Iterator[bytes]:
        """All envelopes in the order of their arrival."""
        for _, _, envelope in self.rows():
            yield envelope

    def rows(self) -> Iterator[tuple[bytes, int, bytes]]:
        """All records as they are stored, in the order of their arrival: id, date, envelope."""
        last = -1
        while page := self._read(_PAGE, last, _PAGE_ROWS):
            for _, identity, created_ms, envelope in page:
                yield identity, created_ms, envelope
            last = page[-1][0]

    def _read(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            with self._reading:
                return list(self._reader.execute(query, values))
        except apsw.Error as error:
            raise self._translated(error, self._reader) from error

    def __len__(self) -> int:
        (count,) = self._read("SELECT count(*) FROM record")[0]
        assert isinstance(count, int)
        return count

    def setting(self, name: str) -> bytes | None:
        """A stored setting, such as the swarm id.

        Raises:
            StoreError: The file cannot be read.
        """
        rows = self._read("SELECT value FROM setting WHERE name=?", name)
        return bytes(rows[0][0]) if rows else None

    def put_setting(self, name: str, value: bytes) -> None:
        """Store a setting durably.

        Raises:
            StoreError: It cannot be written.
        """
        try:
            self._database.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (name, value))
        except apsw.Error as error:
            raise self._translated(error, self._database) from error

    def close(self) -> None:
        """Close the file."""
        with self._reading:
            self._reader.close()
        self._database.close()


def describe_failure(path: Path, error: apsw.Error, number: int) -> StoreError:
    """What a failure of SQLite means to the user.

    Args:
        path: The database file.
        error: SQLite's own report.
        number: The system's error number behind it; 0 when there is none.
    """
    if number in _NO_ROOM or isinstance(error, apsw.FullError):
        return StoreFullError(f"cannot write {path}: {_NO_ROOM.get(number, 'no space left')}")
    reason = f"{error} ({os.strerror(number)})" if number else str(error)
    return StoreError(f"cannot use {path}: {reason}")
