import errno
import hashlib
import os
import resource
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import pytest

from node.blobs import BlobStore
from node.errors import StoreCorruptError, StoreError, StoreFullError
from node.store import RecordStore, describe_failure


def row(number: int, size: int = 10) -> tuple[bytes, int, bytes]:
    return number.to_bytes(32, "big"), number, bytes([number % 256]) * size


def test_records_and_settings_come_back_in_order(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "records.sqlite")
    store.append([row(2), row(1)])
    store.append([row(1), row(3)])
    store.put_setting("swarm", b"x" * 32)
    store.close()
    again = RecordStore(tmp_path / "records.sqlite", read_only=True)
    assert list(again) == [row(2)[2], row(1)[2], row(3)[2]]
    assert len(again) == 3
    assert again.envelopes([row(3)[0], b"?" * 32, row(1)[0]]) == [row(3)[2], row(1)[2]]
    assert again.setting("swarm") == b"x" * 32
    assert again.setting("none") is None


def test_a_damaged_row_is_mended_when_its_record_comes_again(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "records.sqlite")
    identity, created_ms, envelope = row(1)
    store.append([(identity, created_ms, b"damaged"), row(2)])
    store.append([(identity, created_ms, envelope)])
    assert list(store) == [envelope, row(2)[2]]


def test_a_file_that_is_no_database_is_named_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    path.write_bytes(b"this is not a database" * 400)
    with pytest.raises(StoreCorruptError, match="move it away"):
        RecordStore(path)


def test_a_damaged_page_is_found_at_opening(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    store = RecordStore(path)
    store.append([row(number, 500) for number in range(1, 200)])
    store.close()
    data = bytearray(path.read_bytes())
    data[4096 * 2 : 4096 * 6] = b"\xaa" * (4096 * 4)
    path.write_bytes(data)
    with pytest.raises(StoreCorruptError):
        RecordStore(path)


def test_a_store_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    RecordStore(path).close()
    database = apsw.Connection(str(path))
    database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(StoreError, match="version 99"):
        RecordStore(path)


def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "records.sqlite")
    store.append([row(1)])
    # SQLite answers a page limit with the same error as a full disk.
    store._database.execute("PRAGMA max_page_count=1")
    with pytest.raises(StoreFullError, match="no space left"):
        store.append([row(number, 4000) for number in range(2, 100)])
    assert list(store) == [row(1)[2]]
    store._database.execute("PRAGMA max_page_count=1000000")
    store.append([row(2)])
    assert len(store) == 2


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EDQUOT, "quota is used up"),
        (errno.EFBIG, "ulimit -f"),
    ],
)
def test_a_write_that_does_not_fit_is_named_with_its_reason(
    tmp_path: Path, number: int, words: str
) -> None:
    failure = describe_failure(tmp_path, apsw.IOError("disk I/O error"), number)
    assert isinstance(failure, StoreFullError)
    assert words in str(failure)


def test_a_failing_disk_is_not_called_full(tmp_path: Path) -> None:
    failure = describe_failure(tmp_path, apsw.IOError("disk I/O error"), errno.EIO)
    assert not isinstance(failure, StoreFullError)
    assert "Input/output error" in str(failure)


def test_a_limit_on_file_sizes_is_told_as_what_it_is(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "records.sqlite")
    store.append([row(1)])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(StoreFullError, match="limit on the size of files"):
            store.append([row(number, 4000) for number in range(2, 100)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(store) == [row(1)[2]]
    store.append([row(2)])
    assert len(store) == 2


def test_a_trial_write_tells_whether_there_is_room_and_leaves_nothing(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "records.sqlite")
    store.append([row(1)])
    store.probe(100_000)
    store._database.execute("PRAGMA max_page_count=1")
    for _ in range(2):
        with pytest.raises(StoreFullError, match="no space left"):
            store.probe(1_000_000)
    store._database.execute("PRAGMA max_page_count=1000000")
    store.probe(1_000_000)
    assert list(store) == [row(1)[2]]
    assert store.setting("probe") is None


def test_every_commit_waits_for_the_disk(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "records.sqlite")
    assert store._database.execute("PRAGMA journal_mode").get == "wal"
    full = 2
    assert store._database.execute("PRAGMA synchronous").get == full


def test_reading_beside_a_writer_neither_fails_nor_sees_what_is_not_committed(
    tmp_path: Path,
) -> None:
    store = RecordStore(tmp_path / "records.sqlite")
    store.append([row(1)])
    store._database.execute("BEGIN IMMEDIATE")
    store._database.execute("INSERT INTO record VALUES (2, ?, 2, x'00')", (row(2)[0],))
    # The writer is in the middle of a transaction, and several threads read.
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(store.envelopes, [[row(1)[0], row(2)[0]]] * 40))
        everything = list(pool.map(lambda _: list(store), range(40)))
    assert found == everything == [[row(1)[2]]] * 40
    store._database.execute("COMMIT")
    assert len(store) == 2


def test_reading_while_another_thread_writes(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "records.sqlite")
    store.append([row(0)])

    def write() -> None:
        for step in range(10):
            store.append([row(1 + 50 * step + number, 2_000) for number in range(50)])

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not writing.done():
            assert store.envelopes([row(0)[0]]) == [row(0)[2]]
        writing.result()
    assert len(store) == 501


def test_all_rows_come_in_pages_and_in_order(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "records.sqlite")
    rows = [row(number) for number in range(1_300)]
    store.append(rows)
    assert list(store.rows()) == rows


_WRITER = """
import sys
from pathlib import Path
from node.store import RecordStore
store = RecordStore(Path(sys.argv[1]))
number = 0
while True:
    number += 1
    store.append([(number.to_bytes(32, "big"), number, b"x" * 100)])
    print(number, flush=True)
"""


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        acknowledged = 0
        for line in process.stdout:
            acknowledged = int(line)
            if acknowledged >= 50:
                os.kill(process.pid, signal.SIGKILL)
                break
        for line in process.stdout:
            acknowledged = int(line)
    store = RecordStore(path)
    assert len(store) >= acknowledged


def test_blobs_are_named_by_their_hash_and_checked(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    digest = blobs.put(b"hello")
    assert blobs.read(digest) == b"hello"
    assert blobs.find(b"?" * 32) is None
    blobs.path(digest).write_bytes(b"tampered")
    with pytest.raises(StoreError, match="does not match"):
        blobs.read(digest)


def test_a_download_that_does_not_match_is_deleted(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    partial = blobs.partial(b"\x01" * 32)
    partial.write_bytes(b"something else")
    with pytest.raises(StoreError, match="do not match"):
        blobs.adopt(b"\x01" * 32, partial)
    assert not partial.exists()
    assert not blobs.has(b"\x01" * 32)


def test_what_is_stored_here_leaves_a_download_of_the_same_alone(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    digest = hashlib.sha256(b"the same idea").digest()
    partial = blobs.partial(digest)
    partial.write_bytes(b"the same")
    assert blobs.put(b"the same idea") == digest
    with partial.open("ab") as file:
        file.write(b" idea")
    blobs.adopt(digest, partial)
    assert blobs.read(digest) == b"the same idea"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [blobs.path(digest)]


def test_a_full_disk_leaves_no_half_blob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = BlobStore(tmp_path)

    def full(_path: Path, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StoreFullError, match="No space left"):
        blobs.put(b"data")
    monkeypatch.undo()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
