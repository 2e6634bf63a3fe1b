"""Thin wrappers over the kernel calls that confinement needs and Python lacks.

This file decides how each call is made and which failures are errors. It refuses to know why:
policies live in ``bpf``, ``landlock`` and the two callers, ``tightening`` and ``enter``.
"""

import ctypes
import os
import platform
import resource
import sys
from collections.abc import Mapping
from typing import Final

from trainer.confinement.bpf import SECCOMP_SET_MODE_FILTER
from trainer.confinement.errors import ConfinementError
from trainer.confinement.sysno import NUMBERS

PR_SET_PDEATHSIG: Final = 1
PR_SET_DUMPABLE: Final = 4
PR_CAPBSET_DROP: Final = 24
PR_SET_NO_NEW_PRIVS: Final = 38
SECCOMP_FILTER_FLAG_TSYNC: Final = 1
LAST_CAPABILITY: Final = 63
CAPABILITY_VERSION_3: Final = 0x20080522
SIGKILL: Final = 9

_libc = ctypes.CDLL(None, use_errno=True)


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def system_call(name: str, *arguments: object) -> int:
    """Make a system call by name.

    Args:
        name: a key of this machine's table in ``sysno``.
        arguments: integers, ``bytes`` or ctypes objects.

    Returns:
        What the kernel returned.

    Raises:
        OSError: when the kernel refused.
        ConfinementError: when the machine type or the call is unknown.
    """
    number = NUMBERS.get(platform.machine(), {}).get(name)
    if number is None:
        raise ConfinementError(f"no system call {name!r} for {platform.machine()!r}")
    # Variadic arguments of plain int type would be truncated to 32 bits.
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    ctypes.set_errno(0)
    result = int(_libc.syscall(ctypes.c_long(number), *words))
    if result == -1 and ctypes.get_errno():
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def process_control(option: int, value: int = 0) -> int:
    """Call ``prctl`` with one value.

    Raises:
        OSError: when the kernel refused.
    """
    return system_call("prctl", option, value, 0, 0, 0)


def install_filter(program: bytes) -> None:
    """Add a system call filter to every thread of this process, for good.

    Args:
        program: a ``struct sock_filter`` array, as ``bpf`` makes it.

    Raises:
        OSError: when the kernel refused (no seccomp, or not all threads could follow).
        ConfinementError: when a thread could not be brought under the filter.
    """
    process_control(PR_SET_NO_NEW_PRIVS, 1)
    buffer = ctypes.create_string_buffer(program, len(program))
    description = _FilterProgram(len(program) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    laggard = system_call(
        "seccomp",
        SECCOMP_SET_MODE_FILTER,
        SECCOMP_FILTER_FLAG_TSYNC,
        ctypes.byref(description),
    )
    if laggard != 0:
        raise ConfinementError(f"thread {laggard} cannot be brought under the filter")


def die_with(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent's thread ends.

    Args:
        parent_pid: who the parent must be; another one means that it is already dead.

    Raises:
        ConfinementError: when the parent is gone.
    """
    process_control(PR_SET_PDEATHSIG, SIGKILL)
    if os.getppid() != parent_pid:
        raise ConfinementError("the parent process died first")


def become_ordinary_user(uid: int) -> None:
    """Turn real root into a user without any capability, irrevocably.

    Args:
        uid: user and group id to take; not 0.

    Raises:
        ConfinementError: when anything of root would be left.
    """
    if sys.platform != "linux":
        raise ConfinementError("only Linux has capabilities to give up")
    if uid <= 0:
        raise ConfinementError("an ordinary user's id is positive")
    for capability in range(LAST_CAPABILITY + 1):
        try:
            process_control(PR_CAPBSET_DROP, capability)
        except OSError:
            break  # capabilities are numbered without gaps; the kernel knows no more
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    # The change of user empties all sets but the inheritable one.
    header, nothing = _capability_arguments()
    system_call("capset", ctypes.byref(header), ctypes.byref(nothing))
    if os.getresuid() != (uid,) * 3 or os.getresgid() != (uid,) * 3 or os.getgroups():
        raise ConfinementError("the user change did not take")
    if any(held_capabilities()):
        raise ConfinementError("capabilities survived the user change")


def held_capabilities() -> tuple[int, int, int]:
    """Return this thread's effective, permitted and inheritable capability sets, as bit masks."""
    header, data = _capability_arguments()
    system_call("capget", ctypes.byref(header), ctypes.byref(data))
    low, high = data[:3], data[3:]
    masks = [first | second << 32 for first, second in zip(low, high, strict=True)]
    return masks[0], masks[1], masks[2]


def _capability_arguments() -> tuple[ctypes.Array[ctypes.c_uint32], ctypes.Array[ctypes.c_uint32]]:
    """Return a header for this thread and room for its three sets of 64 bits."""
    return (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()


def lower_limits(limits: Mapping[int, int]) -> None:
    """Lower resource limits, soft and hard, never above what is already in force.

    Args:
        limits: value by ``resource.RLIMIT_*`` number.
    """
    for kind, value in limits.items():
        _, hard = resource.getrlimit(kind)
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (allowed, allowed))


def close_all_but(keep: set[int]) -> None:
    """Close every descriptor of this process except ``keep``."""
    start = 0
    for descriptor in sorted(keep):
        if start < descriptor:  # an empty range would wrap around and close everything
            os.closerange(start, descriptor)
        start = descriptor + 1
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = 2**31 - 1 if hard == resource.RLIM_INFINITY else hard
    os.closerange(start, max(start, highest))
