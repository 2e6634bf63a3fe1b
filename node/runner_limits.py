"""What one process of a job may take, and how a breach is told.

This file decides when a process took too much and which status that is. It refuses to know how a
process is watched and stopped (`runner_worker.py`).
"""

from __future__ import annotations

import dataclasses
import signal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from trainer.job import Status
    from trainer.worker import wire

OUTPUT_BYTES_MAX: Final = 8 << 20
"""A script that prints more than this is stopped: no person reads it, and it costs the node."""
_CPU_MEASURED_SHARE: Final = 0.9
_CPU_MEASURED_SLACK_S: Final = 0.25
"""The kernel's own count, by which it kills, and the one that it reports differ: by a tick a time
slice, which is 0.15 s of one second on a crowded machine, and less than a tenth of a long run."""


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """What one process may take.

    Attributes:
        wall_s: wall time until it is stopped.
        memory_bytes: memory that it may hold beyond the warm worker's.
        log_bytes: bytes of its output that are kept.
        cpu_s: processor time until the kernel ends it; 0 for no limit.
    """

    wall_s: float
    memory_bytes: int
    log_bytes: int
    cpu_s: int = 0

    def out_of_memory(self) -> tuple[Status, str]:
        """Returns the outcome of holding too much memory."""
        return "oom", f"held over {self.memory_bytes >> 20} MiB of memory"

    def out_of_time(self) -> tuple[Status, str]:
        """Returns the outcome of running too long."""
        return "timeout", f"ran longer than {self.wall_s:g} s"

    def too_much_output(self) -> tuple[Status, str]:
        """Returns the outcome of printing without end."""
        return "crashed", f"printed more than {OUTPUT_BYTES_MAX >> 20} MiB"

    def breach(self, event: wire.Event | None, group_kills: int) -> tuple[Status, str] | None:
        """Returns the outcome when it was the kernel that ended a process for a limit.

        Args:
            event: how the process ended.
            group_kills: how many processes its control group lost to its memory limit.
        """
        if event is None or event.signal == 0:
            return None
        if event.signal == signal.SIGKILL and group_kills > 0:
            return self.out_of_memory()
        cpu_s = event.cpu_us / 1e6
        by_limit = event.signal in (signal.SIGKILL, signal.SIGXCPU)
        least_s = self.cpu_s * _CPU_MEASURED_SHARE - _CPU_MEASURED_SLACK_S
        if self.cpu_s and by_limit and cpu_s >= least_s:
            return "timeout", f"used over {self.cpu_s} s of processor time"
        return None
