"""The last trusted program before a sandboxed one: gives up what is left, then becomes it.

The node starts ``main`` in an isolated Python (inside the namespaces that bubblewrap made, or on
the bare system for the Landlock backend); descriptor ``FD`` holds an ``EntryPlan``. The program
drops root, sets the limits, applies Landlock and the outer filter, and executes the plan's
program. It decides the order of these steps, and refuses to know what the program is.

The steps run in a process of their own because the node has threads: code between its fork and
exec could deadlock. Limits on processes also have to be set here, inside the new user namespace,
where only the sandbox's own processes are counted.
"""

import json
import os
import resource
import sys
from dataclasses import asdict, dataclass
from typing import Final, NoReturn

from trainer.confinement import landlock
from trainer.confinement.bpf import outer_filter
from trainer.confinement.errors import ConfinementError
from trainer.confinement.kernel import (
    become_ordinary_user,
    die_with,
    install_filter,
    lower_limits,
)
from trainer.confinement.tightening import limits_by_kind

EXIT_NOT_ENTERED: Final = 125
"""Exit status when the sandbox could not be entered; the reason is on standard error."""
MAXIMUM_PLAN_BYTES: Final = 4 << 20


@dataclass(frozen=True)
class EntryPlan:
    """What to give up and what to run.

    Attributes:
        argv: the program and its arguments; the program is an absolute path.
        memory_bytes: see ``tightening.TightLimits``.
        file_bytes: see there.
        open_files: see there.
        cpu_s: see there.
        processes: processes and threads at once, or ``None`` to leave the limit alone.
        uid: the ordinary user to become, or ``None`` to stay who we are.
        parent_pid: the parent to die with, or ``None`` when a PID namespace sees to that.
        read: for Landlock, see ``landlock.Access``; ``None`` when namespaces hide the files.
        list_only: see there.
        write: see there.
        gpu: whether GPU devices are shown.
        group_fd: an inherited descriptor of a control group's ``cgroup.procs``, to move into it.
    """

    argv: tuple[str, ...]
    memory_bytes: int
    file_bytes: int
    open_files: int
    cpu_s: int | None = None
    processes: int | None = None
    uid: int | None = None
    parent_pid: int | None = None
    read: tuple[str, ...] | None = None
    list_only: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    group_fd: int | None = None
    gpu: bool = False

    def to_bytes(self) -> bytes:
        """Encode the plan for ``from_bytes``."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, encoded: bytes) -> "EntryPlan":
        """Decode a plan that the node wrote; it is trusted."""
        fields = json.loads(encoded)
        for name in ("argv", "read", "list_only", "write"):
            if fields[name] is not None:
                fields[name] = tuple(fields[name])
        return cls(**fields)


def enter(plan: EntryPlan) -> NoReturn:
    """Give up everything that the plan says, then become its program.

    Raises:
        ConfinementError: when a step failed; nothing untrusted has run.
        OSError: likewise.
    """
    os.chdir("/")
    if plan.group_fd is not None:
        os.write(plan.group_fd, b"0")
        os.close(plan.group_fd)
    if plan.uid is not None:
        become_ordinary_user(plan.uid)
    if plan.parent_pid is not None:
        # Changing user clears the parent-death signal, so this comes second.
        die_with(plan.parent_pid)
    lower_limits(
        limits_by_kind(
            memory_bytes=plan.memory_bytes,
            file_bytes=plan.file_bytes,
            open_files=plan.open_files,
            cpu_s=plan.cpu_s,
            gpu=plan.gpu,
        )
    )
    if plan.processes is not None:
        lower_limits({resource.RLIMIT_NPROC: plan.processes})
    if plan.read is not None:
        access = landlock.Access(read=plan.read, list_only=plan.list_only, write=plan.write)
        abi = landlock.restrict(access)
        install_filter(
            outer_filter(
                own_processes_only=abi >= landlock.SIGNAL_SCOPE_VERSION,
                signal_pid=os.getpid(),
                gpu=plan.gpu,
            )
        )
    os.execv(plan.argv[0], plan.argv)  # noqa: S606  (no shell is the point)


def main() -> int:
    """Read the plan from the descriptor named on the command line, and enter."""
    descriptor = int(sys.argv[1])
    with os.fdopen(descriptor, "rb") as source:
        encoded = source.read(MAXIMUM_PLAN_BYTES)
    try:
        enter(EntryPlan.from_bytes(encoded))
    except (ConfinementError, OSError, ValueError) as error:
        sys.stderr.write(f"sandbox not entered: {error}\n")
        return EXIT_NOT_ENTERED
