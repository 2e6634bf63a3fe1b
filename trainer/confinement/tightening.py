"""What a forked child gives up before it reads a job's script.

The worker's parent process is warmed (torch imported) and trusted; its children are forked from it,
one per job, and run code written by strangers. ``tighten`` is the border between the two: after
it, the child can compute, read what the sandbox shows, and write to the descriptors it was
given. This file decides what is given up and in which order. It refuses to know the job.

Nothing of the outer sandbox is relied on for the separation of jobs from one another: a child
cannot create or open a file for writing, signal or trace its parent or a sibling, or leave a
process behind.
"""

import math
import os
import resource
import sys
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from trainer.confinement import landlock
from trainer.confinement.bpf import tightened_filter
from trainer.confinement.errors import ConfinementError
from trainer.confinement.kernel import (
    PR_SET_DUMPABLE,
    close_all_but,
    die_with,
    install_filter,
    lower_limits,
    process_control,
)

STACK_BYTES: Final = 16 << 20
PENDING_SIGNALS: Final = 256
"""Also bounds POSIX timers, whose memory belongs to the kernel."""
ADDRESS_SPACE_FACTOR: Final = 16
ADDRESS_SPACE_FLOOR_BYTES: Final = 64 << 30
"""Reserving far more than one uses is normal; page tables for it are what this bounds."""


PARENT_LOOKED_FOR_EVERY_S: Final = 1.0


@dataclass(frozen=True)
class TightLimits:
    """Resources of one job.

    Attributes:
        memory_bytes: writable private memory, what the child inherited from its parent included.
        file_bytes: the longest file it may write, in practice its output buffer.
        open_files: descriptors.
        cpu_s: CPU seconds over all threads, after which the kernel kills it; ``None`` for no limit.
        devices: GPU devices that it may use; none but in GPU mode.
    """

    memory_bytes: int
    file_bytes: int
    open_files: int = 128
    cpu_s: int | None = None
    devices: tuple[str, ...] = ()


def address_space_bytes(memory_bytes: int) -> int:
    """Return the address space that goes with an amount of memory."""
    return max(ADDRESS_SPACE_FLOOR_BYTES, ADDRESS_SPACE_FACTOR * memory_bytes)


def limits_by_kind(
    *,
    memory_bytes: int,
    file_bytes: int,
    open_files: int,
    cpu_s: int | None,
    gpu: bool = False,
) -> dict[int, int]:
    """Return the value for each ``resource.RLIMIT_*`` that confinement sets."""
    if sys.platform != "linux":
        raise ConfinementError("other systems lack most of these limits")
    limits = {
        resource.RLIMIT_DATA: memory_bytes,
        resource.RLIMIT_AS: address_space_bytes(memory_bytes),
        resource.RLIMIT_STACK: STACK_BYTES,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: open_files,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_SIGPENDING: PENDING_SIGNALS,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if gpu:
        # A driver maps the memory of the device many times over.
        del limits[resource.RLIMIT_AS]
    if cpu_s is not None:
        limits[resource.RLIMIT_CPU] = cpu_s
    return limits


def limit(limits: TightLimits, *, parent_pid: int, keep_fds: Collection[int]) -> None:
    """Set what limits every system has, where the sandbox around this process is its only wall.

    Afterwards no descriptor but ``keep_fds`` is open; processor time, file length and descriptors
    are limited by the kernel; and the process ends soon after its parent, unless its job prevents
    that. Nothing else is given up: use ``tighten`` wherever the kernel can keep its promises.

    Args:
        limits: resources of this job; its memory is the node's to watch.
        parent_pid: process id of the parent.
        keep_fds: descriptors that stay open; list 0, 1 and 2 too if they should.

    Raises:
        ConfinementError: when a step failed. The caller must end the process, and must not read
            the job.
    """
    try:
        close_all_but(set(keep_fds))
        # The kernel counts what this process has used before it became the job's, by the tick, so
        # that a second more keeps its end from being taken for something else than the limit.
        used_s = math.ceil(time.process_time()) + 1
        cpu_s = None if limits.cpu_s is None else limits.cpu_s + used_s
        lower_limits(portable_limits(limits.file_bytes, limits.open_files, cpu_s))
    except (OSError, ValueError) as error:
        raise ConfinementError(f"cannot limit this process: {error}") from error
    threading.Thread(target=_end_with, args=(parent_pid,), daemon=True).start()


def portable_limits(file_bytes: int, open_files: int, cpu_s: int | None) -> dict[int, int]:
    """Return the value for each ``resource.RLIMIT_*`` that macOS keeps as well as Linux."""
    limits = {
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: open_files,
        resource.RLIMIT_CORE: 0,
    }
    return limits if cpu_s is None else {**limits, resource.RLIMIT_CPU: cpu_s}


def _end_with(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(PARENT_LOOKED_FOR_EVERY_S)
    os._exit(1)


def tighten(limits: TightLimits, *, parent_pid: int, keep_fds: Collection[int]) -> None:
    """Confine this process for good; call it in a forked child, before the job is read.

    Afterwards: threads may start but no process and no program; no socket exists or can be made;
    no descriptor but ``keep_fds`` is open and no file can be opened for writing; no other
    process can be signalled or traced; memory, CPU time and file length are limited by the
    kernel; and the process dies with its parent.

    Args:
        limits: resources of this job.
        parent_pid: ``os.getpid()`` of the parent, taken before the fork.
        keep_fds: descriptors that stay open; list 0, 1 and 2 too if they should.

    Raises:
        ConfinementError: when a step failed. The caller must end the process, and must not read
            the job.
    """
    try:
        close_all_but(set(keep_fds))
        process_control(PR_SET_DUMPABLE, 0)
        die_with(parent_pid)
        lower_limits(
            limits_by_kind(
                memory_bytes=limits.memory_bytes,
                file_bytes=limits.file_bytes,
                open_files=limits.open_files,
                cpu_s=limits.cpu_s,
                gpu=bool(limits.devices),
            )
        )
        # The second lock on the same door where the kernel has it; the filter below refuses
        # writing, signals and sockets on every kernel.
        if landlock.version() >= landlock.MINIMUM_VERSION:
            landlock.restrict(landlock.Access(write=limits.devices), writes_only=True)
        install_filter(tightened_filter(pid=os.getpid(), gpu=bool(limits.devices)))
    except (OSError, ValueError) as error:
        raise ConfinementError(f"cannot tighten this process: {error}") from error
