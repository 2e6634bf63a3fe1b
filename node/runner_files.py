"""File descriptors of a job: memory of a fixed size, files that nobody can change, pipes.

This file decides what a job's files are made of and that each is closed once. It refuses to know
what is written into them. Linux has memory files that can be sealed for every holder. Where there
are none (macOS), files without a name take their place: what must not change is copied into a
fresh file of which only a descriptor for reading is ever handed over. Whoever reads a file that
somebody else may still write to copies before it looks (`runner_server.py`).
"""

from __future__ import annotations

import dataclasses
import os
import sys
import tempfile
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    import contextlib

_COPIED_BYTES: Final = 1 << 20
_ELSEWHERE: Final = "files are chosen by platform"


@dataclasses.dataclass(frozen=True, slots=True)
class Descriptors:
    """Files of a job that the node made.

    Attributes:
        script: file with the script.
        weights: file with room for the weights.
        others: (serve) shared memory, requests and answers, in this order.
    """

    script: int
    weights: int
    others: tuple[int, ...] = ()


class OwnedDescriptor:
    """A file descriptor that is closed once."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self) -> None:
        """Closes it, if it is still open."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Files(Protocol):
    """A way to make files without a name. Every descriptor belongs to the caller."""

    def room(self, name: str, size_bytes: int) -> int:
        """Returns a file of zeros that its holders can write to."""

    def fixed(self, name: str, content: bytes) -> int:
        """Returns a file that holds content and that no holder can change."""

    def frozen(self, fd: int) -> int:
        """Returns a file with what fd holds now, which no writer of fd can change any more."""


class SealedFiles:
    """Memory files of Linux, sealed for every holder and for good."""

    def room(self, name: str, size_bytes: int) -> int:
        """Returns a memfd that whoever holds it can neither grow nor shrink."""
        fd = _memfd(name)
        os.ftruncate(fd, size_bytes)
        _seal(fd, contents=False)
        return fd

    def fixed(self, name: str, content: bytes) -> int:
        """Returns a memfd that holds content and can never be changed."""
        fd = _memfd(name)
        os.write(fd, content)
        _seal(fd, contents=True)
        return fd

    def frozen(self, fd: int) -> int:
        """Seals fd itself and returns another descriptor of it.

        Raises:
            OSError: somebody can still write to it.
        """
        _seal(fd, contents=True)
        return os.dup(fd)


class UnlinkedFiles:
    """Files on disk whose name is gone before anybody else gets to see them."""

    def room(self, name: str, size_bytes: int) -> int:
        """Returns a file of zeros. A holder can resize it, so readers must bear short reads."""
        fd, _ = self._make(name, readers=0)
        os.ftruncate(fd, size_bytes)
        return fd

    def fixed(self, name: str, content: bytes) -> int:
        """Returns a descriptor for reading; none for writing is left anywhere."""
        writing, (reading,) = self._make(name, readers=1)
        with os.fdopen(writing, "wb") as file:
            file.write(content)
        return reading

    def frozen(self, fd: int) -> int:
        """Copies fd and returns a descriptor of the copy, for reading."""
        writing, (reading,) = self._make("frozen", readers=1)
        place = 0
        with os.fdopen(writing, "wb") as file:
            while part := os.pread(fd, _COPIED_BYTES, place):
                file.write(part)
                place += len(part)
        return reading

    def _make(self, name: str, *, readers: int) -> tuple[int, list[int]]:
        # In the directory of this user alone, where the system has one (macOS).
        fd, path = tempfile.mkstemp(prefix=f"swarm-node-{name}-")
        try:
            return fd, [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for _ in range(readers)]
        finally:
            os.unlink(path)  # noqa: PTH108  (`path` is what mkstemp gives: text)


def files_for(platform: str = sys.platform) -> Files:
    """Returns the best files that a system has.

    Args:
        platform: as `sys.platform` names it.
    """
    return SealedFiles() if platform == "linux" else UnlinkedFiles()


def _memfd(name: str) -> int:
    if sys.platform != "linux":
        raise AssertionError(_ELSEWHERE)
    return os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def _seal(fd: int, *, contents: bool) -> None:
    if sys.platform != "linux":
        raise AssertionError(_ELSEWHERE)
    import fcntl

    seals = fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK
    if contents:
        seals |= fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)


def pipe(stack: contextlib.ExitStack) -> tuple[OwnedDescriptor, OwnedDescriptor]:
    """Returns the read end, which does not block, and the write end of a pipe."""
    ends = [OwnedDescriptor(fd) for fd in os.pipe()]
    for end in ends:
        stack.callback(end.close)
    os.set_blocking(ends[0].fd, False)
    return ends[0], ends[1]
