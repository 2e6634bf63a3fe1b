"""System call filters: which calls each kind of process keeps, as classic BPF programs.

Theory of operation. A filter is a list of rules, one per system call that is allowed at all; a
call without a rule is refused. A rule may look at the call's integer arguments (never behind
pointers: another thread could change what they point to). Two filters exist:

* ``outer_filter`` surrounds the whole sandbox, the trusted worker parent included. It may fork,
  because the worker forks one child per job, but there is no socket, no keyring, no io_uring, no
  namespace, no ptrace and no way to make or change a file's metadata.
* ``tightened_filter`` is stacked on top by each forked child before it reads untrusted code.
  Threads only: no process, no exec, no signal to anybody else, no file opened for writing, no
  descriptor received, no shared anonymous memory.

A process under both filters may do what both allow. Filters cannot be removed.

Only the low 32 bits of an argument are compared: every argument examined here is an ``int`` or an
``unsigned int`` to the kernel, or a flag word of which the kernel reads only low bits.
"""

import errno
import platform
import struct
from collections.abc import Iterable, Mapping
from typing import Final

from trainer.confinement.errors import ConfinementError
from trainer.confinement.sysno import NUMBERS

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, constant."""
Rule = tuple[Instruction, ...]
"""What to do with one call; the accumulator holds its number, and the last step returns."""

RETURN_ALLOW: Final = 0x7FFF0000
RETURN_ERRNO: Final = 0x00050000
RETURN_KILL_PROCESS: Final = 0x80000000

AUDIT_ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_BIT: Final = 0x40000000

FIRST_OPTIONAL_CALL: Final = 424
"""Calls from this number on are so new that libraries try them and fall back on ``ENOSYS``."""

CLONE_NAMESPACES: Final = 0x7E020080
"""Every ``CLONE_NEW*`` flag, ``CLONE_NEWTIME`` included."""
CLONE_THREAD: Final = 0x00010000
MAP_SHARED: Final = 0x01
MAP_ANONYMOUS: Final = 0x20
MAP_GROWSDOWN: Final = 0x100
OPEN_FOR_WRITING: Final = 0o3 | 0o100 | 0o1000 | 0o20000000
"""``O_ACCMODE``, ``O_CREAT``, ``O_TRUNC`` and the bit that makes ``O_TMPFILE``."""
AF_UNIX: Final = 1
SECCOMP_SET_MODE_FILTER: Final = 1
SECCOMP_NEW_LISTENER: Final = 8

# Duplicates, flags, locks and seals. Owners and signals (F_SETOWN, F_SETSIG) are left out: they
# make the kernel send a signal of one's choice to another process of the same user.
FCNTL_COMMANDS: Final = (0, 1, 2, 3, 4, 5, 6, 7, 1030, 1031, 1032, 1033, 1034)
# TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: questions about one's own descriptors.
IOCTL_REQUESTS: Final = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# The drivers' own requests, by the letter in their second byte: NVIDIA, AMD's compute, DRM.
# NVIDIA's memory manager numbers its own from 0 without a letter, and begins with two odd ones.
GPU_IOCTL_LETTERS: Final = (ord("F"), ord("K"), ord("d"))
GPU_IOCTL_REQUESTS: Final = (0x30000001, 0x30000002)
OPEN_FOR_MAKING: Final = 0o100 | 0o1000 | 0o20000000
"""``O_CREAT``, ``O_TRUNC`` and the bit that makes ``O_TMPFILE``."""
PRCTL_SET_NAME, PRCTL_GET_NAME, PRCTL_SET_VMA = 15, 16, 0x53564D41
PRCTL_OF_ANY: Final = (3, PRCTL_SET_NAME, PRCTL_GET_NAME, 29, 30, 39, 41, 42, 51, PRCTL_SET_VMA)
# Parent-death signal, dumpable, bounding set (read, drop), no-new-privs.
PRCTL_OF_OUTER: Final = (1, 2, 4, 23, 24, 38)


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


COMMON: Final = _names("""
read write open openat close stat fstat lstat newfstatat statx poll ppoll select pselect6 lseek
mprotect munmap mremap madvise brk msync mincore mlock munlock mlock2
rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack
restart_syscall pread64 pwrite64 readv writev preadv pwritev preadv2 pwritev2
access faccessat faccessat2 pipe pipe2 dup dup2 dup3 nanosleep clock_nanosleep alarm
getitimer setitimer timer_create timer_settime timer_gettime timer_delete timer_getoverrun
timerfd_create timerfd_settime timerfd_gettime
getpid gettid getppid getuid geteuid getgid getegid getresuid getresgid getgroups getpgrp getpgid
getsid getcpu getrusage times sysinfo uname umask getcwd chdir fchdir capget
exit exit_group wait4 waitid futex set_robust_list set_tid_address rseq arch_prctl membarrier
sched_yield sched_getaffinity sched_getparam sched_getscheduler sched_get_priority_max
sched_get_priority_min getpriority get_mempolicy flock fsync fdatasync ftruncate
getdents getdents64 readlink readlinkat statfs fstatfs fadvise64 readahead close_range
getrlimit setrlimit getrandom gettimeofday time clock_gettime clock_getres
epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd eventfd2
""")

# Descriptors between the node and the worker's parent travel over one inherited socket pair.
OUTER_ONLY: Final = _names("""
execve fork vfork pidfd_open recvfrom sendto sendmsg recvmsg shutdown
getsockopt getsockname getpeername
landlock_create_ruleset landlock_add_rule landlock_restrict_self
""")


def _load(offset: int) -> Instruction:
    return (0x20, 0, 0, offset)


def _argument(index: int) -> Instruction:
    # seccomp_data.args starts at byte 16; on the little-endian machines supported here the low
    # half of each 64-bit argument comes first.
    return _load(16 + 8 * index)


def _return(value: int) -> Instruction:
    return (0x06, 0, 0, value)


def _jump_if_equal(value: int, if_true: int, if_false: int) -> Instruction:
    return (0x15, if_true, if_false, value)


def _jump_if_at_least(value: int, if_true: int, if_false: int) -> Instruction:
    return (0x35, if_true, if_false, value)


def _jump_if_any_bit(mask: int, if_true: int, if_false: int) -> Instruction:
    return (0x45, if_true, if_false, mask)


def _and(mask: int) -> Instruction:
    return (0x54, 0, 0, mask)


ALLOW: Final = _return(RETURN_ALLOW)


def _refuse(number: int = errno.EPERM) -> Instruction:
    return _return(RETURN_ERRNO | number)


def _only_values(index: int, values: Iterable[int], refusal: int = errno.EPERM) -> Rule:
    """Allow the call only when an argument is one of ``values``."""
    body: list[Instruction] = [_argument(index)]
    for value in values:
        body += [_jump_if_equal(value, 0, 1), ALLOW]
    return (*body, _refuse(refusal))


def _no_bits(index: int, mask: int) -> Rule:
    """Allow the call only when an argument has none of the bits of ``mask``."""
    return (_argument(index), _jump_if_any_bit(mask, 0, 1), _refuse(), ALLOW)


def _ioctl(*, gpu: bool) -> Rule:
    plain = _only_values(1, IOCTL_REQUESTS, errno.ENOTTY)
    if not gpu:
        return plain
    body = plain[:-1]
    for request in GPU_IOCTL_REQUESTS:
        body += (_jump_if_equal(request, 0, 1), ALLOW)
    body += (_and(0xFF00),)
    for letter in GPU_IOCTL_LETTERS:
        body += (_jump_if_equal(letter << 8, 0, 1), ALLOW)
    return (
        *body,
        _argument(1),
        # Small numbers without a letter, size or direction.
        _jump_if_at_least(0x100, 1, 0),
        ALLOW,
        _refuse(errno.ENOTTY),
    )


def _common_rules(*, gpu: bool = False) -> dict[str, Rule]:
    rules: dict[str, Rule] = dict.fromkeys(COMMON, (ALLOW,))
    rules["fcntl"] = _only_values(1, FCNTL_COMMANDS, errno.EINVAL)
    rules["ioctl"] = _ioctl(gpu=gpu)
    # Its flags are behind a pointer; without it the C library falls back on clone.
    rules["clone3"] = (_refuse(errno.ENOSYS),)
    for name in ("prlimit64", "sched_setaffinity"):
        rules[name] = _only_values(0, (0,))  # process 0 is oneself
    return rules


def outer_filter(
    *,
    own_processes_only: bool,
    may_change_user: bool = False,
    signal_pid: int | None = None,
    gpu: bool = False,
    architecture: str | None = None,
) -> bytes:
    """Build the filter around a whole sandbox.

    Args:
        own_processes_only: whether a PID namespace or a Landlock scope already hides all other
            processes, so that ``kill`` may stay.
        may_change_user: keep the calls with which a real root becomes an ordinary user.
        signal_pid: without ``own_processes_only``, the only process that may be signalled.
        gpu: whether GPU devices are shown, and their drivers' requests allowed.
        architecture: as ``platform.machine()`` names it; this machine's if left out.

    Returns:
        The ``struct sock_filter`` array.
    """
    rules = _common_rules(gpu=gpu)
    rules |= dict.fromkeys(OUTER_ONLY, (ALLOW,))
    rules["clone"] = _no_bits(0, CLONE_NAMESPACES)
    rules["mmap"] = (ALLOW,)
    rules["socketpair"] = _only_values(0, (AF_UNIX,), errno.EAFNOSUPPORT)
    rules["socket"] = (_refuse(errno.EACCES),)
    rules["prctl"] = _only_values(0, (*PRCTL_OF_ANY, *PRCTL_OF_OUTER), errno.EINVAL)
    # Filters may be added, but not one whose decisions another process would take.
    rules["seccomp"] = (
        _argument(0),
        _jump_if_equal(SECCOMP_SET_MODE_FILTER, 1, 0),
        _refuse(),
        *_no_bits(1, SECCOMP_NEW_LISTENER),
    )
    for name in ("kill", "tgkill"):
        if own_processes_only:
            rules[name] = (ALLOW,)
        elif signal_pid is not None:
            rules[name] = _only_values(0, (signal_pid,))
    if may_change_user:
        rules |= dict.fromkeys(("setresuid", "setresgid", "setgroups", "capset"), (ALLOW,))
    return assemble(rules, architecture or platform.machine())


def tightened_filter(*, pid: int, gpu: bool = False, architecture: str | None = None) -> bytes:
    """Build the filter that a forked child adds before it reads untrusted code.

    Args:
        pid: the child's process id as it sees it itself: the only one that it may signal.
        gpu: whether existing files, which are GPU devices then, may be opened for writing; no file
            can be made or emptied even so.
        architecture: as ``platform.machine()`` names it; this machine's if left out.

    Returns:
        The ``struct sock_filter`` array.
    """
    rules = _common_rules(gpu=gpu)
    refused = OPEN_FOR_MAKING if gpu else OPEN_FOR_WRITING
    # Descriptors come only by inheritance, so nothing writable can be opened later.
    rules["open"] = _no_bits(1, refused)
    rules["openat"] = _no_bits(2, refused)
    rules["clone"] = (
        _argument(0),
        _jump_if_any_bit(CLONE_NAMESPACES, 0, 1),
        _refuse(),
        _jump_if_any_bit(CLONE_THREAD, 1, 0),
        _refuse(),
        ALLOW,
    )
    # Neither shared anonymous memory nor a growing stack counts against RLIMIT_DATA.
    rules["mmap"] = (
        _argument(3),
        _jump_if_any_bit(MAP_GROWSDOWN, 0, 1),
        _refuse(),
        _and(MAP_SHARED | MAP_ANONYMOUS),
        _jump_if_equal(MAP_SHARED | MAP_ANONYMOUS, 0, 1),
        _refuse(),
        ALLOW,
    )
    rules["prctl"] = _only_values(0, PRCTL_OF_ANY, errno.EINVAL)
    for name in ("kill", "tgkill"):
        rules[name] = _only_values(0, (pid,))
    return assemble(rules, architecture or platform.machine())


def assemble(
    rules: Mapping[str, Rule],
    architecture: str,
) -> bytes:
    """Turn rules by call name into a ``struct sock_filter`` array that refuses all other calls.

    Args:
        rules: the body to run for each allowed call; it always ends in a return.
        architecture: a key of ``sysno.NUMBERS``.

    Returns:
        The program's bytes.

    Raises:
        ConfinementError: when the architecture has no table.
    """
    if architecture not in NUMBERS:
        raise ConfinementError(f"no system call table for the machine type {architecture!r}")
    numbers = NUMBERS[architecture]
    program: list[Instruction] = [
        _load(4),
        _jump_if_equal(AUDIT_ARCHITECTURES[architecture], 1, 0),
        _return(RETURN_KILL_PROCESS),
        _load(0),
    ]
    if architecture == "x86_64":
        # The x32 calls carry other numbers for the same things.
        program += [_jump_if_at_least(X32_BIT, 0, 1), _return(RETURN_KILL_PROCESS)]
    # Calls that an architecture lacks (the old spellings on aarch64) have no number there.
    by_number = {numbers[name]: body for name, body in rules.items() if name in numbers}
    for number in sorted(by_number):
        body = by_number[number]
        program += [_jump_if_equal(number, 0, len(body)), *body]
    program += [_jump_if_at_least(FIRST_OPTIONAL_CALL, 0, 1), _refuse(errno.ENOSYS), _refuse()]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
