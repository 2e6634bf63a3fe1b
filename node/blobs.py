"""Blobs: immutable files named by the SHA-256 of their bytes.

A blob appears under its name only when it is complete, checked and on disk.
"""

import hashlib
import os
from pathlib import Path

from node.durable import sync_directory
from node.errors import StoreError, StoreFullError

_CHUNK_BYTES = 1 << 20


class BlobStore:
    """The blobs of one node."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, digest: bytes) -> Path:
        """Where the blob is or would be."""
        name = digest.hex()
        return self._root / name[:2] / name

    def has(self, digest: bytes) -> bool:
        """Tell whether the blob is here."""
        return self.path(digest).is_file()

    def find(self, digest: bytes) -> Path | None:
        """The blob's file, or None."""
        path = self.path(digest)
        return path if path.is_file() else None

    def read(self, digest: bytes) -> bytes | None:
        """The blob's bytes, or None when it is not here.

        Raises:
            StoreError: The file does not match its name: the disk or a person changed it.
        """
        try:
            data = self.path(digest).read_bytes()
        except FileNotFoundError:
            return None
        if hashlib.sha256(data).digest() != digest:
            raise StoreError(f"{self.path(digest)} does not match its name; delete it")
        return data

    def put(self, data: bytes) -> bytes:
        """Store bytes and return their digest.

        Raises:
            StoreFullError: The disk is full.
        """
        digest = hashlib.sha256(data).digest()
        if self.has(digest):
            return digest
        # Not the name of a download, which may be under way: a peer has had the same idea.
        new = self.partial(digest).with_suffix(".new")
        try:
            new.write_bytes(data)
            self.adopt(digest, new)
        except OSError as error:
            new.unlink(missing_ok=True)
            raise StoreFullError(f"cannot write {new}: {error.strerror}") from error
        return digest

    def partial(self, digest: bytes) -> Path:
        """Where a download may collect the blob's bytes until they are complete."""
        path = self.path(digest)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path.with_suffix(".partial")

    def adopt(self, digest: bytes, file: Path) -> None:
        """Check a finished file against the digest and give it its name, durably.

        Raises:
            StoreError: The bytes do not match; the file is deleted.
        """
        hasher = hashlib.sha256()
        with file.open("rb") as source:
            while chunk := source.read(_CHUNK_BYTES):
                hasher.update(chunk)
            os.fsync(source.fileno())
        if hasher.digest() != digest:
            file.unlink()
            raise StoreError(f"bytes received for blob {digest.hex()[:16]} do not match it")
        path = self.path(digest)
        file.rename(path)
        # The name has to survive a power cut as well: a record that names the blob will.
        sync_directory(path.parent)
