"""The record store: SQLite, write-ahead log, durable before acknowledged.

It keeps envelopes as they came, in the order of their arrival, and knows nothing of what they
mean. `apsw` brings its own SQLite, because the one of many Python builds has a known fault in
write-ahead-log mode.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import apsw

from node.errors import StoreCorruptError, StoreError, StoreFullError

SCHEMA_VERSION: Final = 1

_SCHEMA: Final = """
CREATE TABLE record (
    sequence INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL,
    envelope BLOB NOT NULL
);
CREATE TABLE setting (name TEXT PRIMARY KEY, value BLOB NOT NULL);
"""


class RecordStore:
    """One node's records. Not safe for use from two threads at once; the intake serialises.

    Args:
        path: The database file; created when missing.
        read_only: Open for looking only, as the command line does beside a running node.

    Raises:
        StoreError: The file cannot be opened, is damaged, or is of another version.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
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
                # FULL makes every commit wait for the disk: acknowledged means durable.
                self._database.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
            self._check()
            version = self._database.execute("PRAGMA user_version").get
            if version == 0 and not read_only:
                with self._database:
                    self._database.execute(_SCHEMA)
                    self._database.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            elif version != SCHEMA_VERSION:
                raise StoreError(f"{path} is of version {version}; this software reads 1")
        except apsw.Error as error:
            raise self._translated(error) from error

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

    def _translated(self, error: apsw.Error) -> StoreError:
        match error:
            case apsw.CorruptError() | apsw.NotADBError():
                return self._corrupt(str(error))
            case apsw.FullError():
                return StoreFullError(f"no space left for {self._path}")
            case apsw.IOError() if "full" in str(error) or "space" in str(error):
                return StoreFullError(f"no space left for {self._path}")
            case _:
                return StoreError(f"cannot use {self._path}: {error}")

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
            # A full disk makes SQLite roll back by itself; other errors leave that to us.
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise self._translated(error) from error

    def envelopes(self, ids: Iterable[bytes]) -> list[bytes]:
        """The envelopes of those ids that are here, in the order asked.

        Raises:
            StoreError: The file cannot be read.
        """
        try:
            found = (
                self._database.execute("SELECT envelope FROM record WHERE id=?", (item,)).get
                for item in ids
            )
            return [envelope for envelope in found if envelope is not None]
        except apsw.Error as error:
            raise self._translated(error) from error

    def __iter__(self) -> Iterator[bytes]:
        """All envelopes in the order of their arrival."""
        try:
            for row in self._database.execute("SELECT envelope FROM record ORDER BY sequence"):
                yield row[0]
        except apsw.Error as error:
            raise self._translated(error) from error

    def rows(self) -> Iterator[tuple[bytes, int, bytes]]:
        """All records as they are stored, in the order of their arrival: id, date, envelope."""
        try:
            yield from self._database.execute(
                "SELECT id, created_ms, envelope FROM record ORDER BY sequence"
            )
        except apsw.Error as error:
            raise self._translated(error) from error

    def __len__(self) -> int:
        count = self._database.execute("SELECT count(*) FROM record").get
        assert isinstance(count, int)
        return count

    def setting(self, name: str) -> bytes | None:
        """A stored setting, such as the swarm id.

        Raises:
            StoreError: The file cannot be read.
        """
        try:
            value = self._database.execute("SELECT value FROM setting WHERE name=?", (name,)).get
        except apsw.Error as error:
            raise self._translated(error) from error
        return None if value is None else bytes(value)

    def put_setting(self, name: str, value: bytes) -> None:
        """Store a setting durably.

        Raises:
            StoreError: It cannot be written.
        """
        try:
            self._database.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (name, value))
        except apsw.Error as error:
            raise self._translated(error) from error

    def close(self) -> None:
        """Close the file."""
        self._database.close()
