"""A worker whose one process becomes the job: for systems where forking a warm worker is unsafe.

This file decides how such a process is ended and counted: the node is its parent, so that processor
time and memory come from the kernel and not from the sandbox. It refuses to know why a system needs
it. The next worker is started while this one works (`runner.py`), which hides its slow start.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, ClassVar, Final

import trio

from node.runner_worker import Worker
from trainer.worker import wire

if TYPE_CHECKING:
    import resource

_LOOK_EVERY_S: Final = 0.02
_MAXRSS_BYTES: Final = 1 if sys.platform == "darwin" else 1024
"""What one unit of the kernel's `ru_maxrss` is."""


class SingleUseWorker(Worker):
    """A sandbox with one process, which takes one job and ends with it."""

    single_use: ClassVar[bool] = True
    # No limit of the kernel's stands between a job and the machine's memory: looked at more often.
    _watch_every_s: ClassVar[float] = _LOOK_EVERY_S

    async def _ask_to_end(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def _exit(self) -> wire.Event | None:
        # Its socket closes when the job begins, so it tells nothing of the end.
        try:
            while True:
                if collected := _collect(self._process.pid):
                    break
                await trio.sleep(_LOOK_EVERY_S)
        except ChildProcessError:
            # It was ended and collected because it did not end when asked.
            return None
        finally:
            self._busy = False
        status, usage = collected
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self.close()
        return wire.exited(
            status,
            # What it took to get warm is not the job's.
            cpu_us=max(0, round((usage.ru_utime + usage.ru_stime) * 1e6) - self._warm_cpu_us),
            peak_memory_kib=usage.ru_maxrss * _MAXRSS_BYTES // 1024,
        )

    def _job_processes(self) -> set[int]:
        return {self._process.pid}

    def _counted_twice_bytes(self) -> int:
        return 0


def _collect(pid: int) -> tuple[int, resource.struct_rusage] | None:
    """Returns how a child of ours ended and what it used, or None while it runs.

    Raises:
        ChildProcessError: it was collected before.
    """
    found, status, usage = os.wait4(pid, os.WNOHANG)
    return (status, usage) if found else None
