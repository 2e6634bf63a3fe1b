"""File descriptors of a job: memory that nobody can resize, files that nobody can change, pipes.

This file decides which seals a job's files carry and that each is closed once. It refuses to know
what is written into them.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import contextlib


@dataclasses.dataclass(frozen=True, slots=True)
class Descriptors:
    """Files of a job that the node made.

    Attributes:
        script: memfd with the script.
        weights: memfd with room for the weights.
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


def sealed_room(name: str, size_bytes: int) -> int:
    """Returns a memfd of a fixed size: whoever holds it can neither grow nor shrink it."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size_bytes)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    return fd


def sealed_file(name: str, content: bytes) -> int:
    """Returns a memfd that holds content and can never be changed."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, content)
    seal(fd)
    return fd


def seal(fd: int) -> None:
    """Makes a memfd unchangeable, for every holder and for good."""
    every = fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, every)


def pipe(stack: contextlib.ExitStack) -> tuple[OwnedDescriptor, OwnedDescriptor]:
    """Returns the read end, which does not block, and the write end of a pipe."""
    ends = [OwnedDescriptor(fd) for fd in os.pipe()]
    for end in ends:
        stack.callback(end.close)
    os.set_blocking(ends[0].fd, False)
    return ends[0], ends[1]
