"""The filters' decisions, computed by a small BPF machine, for both architectures."""

import errno
import struct
from collections.abc import Callable

import pytest

from trainer.confinement.bpf import (
    AUDIT_ARCHITECTURES,
    CLONE_THREAD,
    RETURN_ALLOW,
    RETURN_ERRNO,
    RETURN_KILL_PROCESS,
    outer_filter,
    tightened_filter,
)
from trainer.confinement.errors import ConfinementError
from trainer.confinement.sysno import NUMBERS

MACHINES = ("x86_64", "aarch64")
MAXIMUM_INSTRUCTIONS = 4096  # the kernel's BPF_MAXINSNS
CHILD = 4711


def names(text: str) -> list[str]:
    return text.split()


IN_NO_FILTER = names("""
socket connect bind listen accept4 io_uring_setup keyctl add_key ptrace bpf perf_event_open
userfaultfd unshare setns mount execveat memfd_create memfd_secret process_vm_readv pidfd_getfd
pidfd_send_signal rt_sigqueueinfo tkill shmget mq_open fsopen open_by_handle_at chmod
setresuid setgroups capset clone3
""")
IN_OUTER_ONLY = names("""
fork vfork execve pidfd_open sendmsg recvmsg socketpair seccomp landlock_restrict_self
""")


def run_filter(
    program: bytes, number: int, arguments: tuple[int, ...] = (), audit: int | None = None
) -> int:
    """Run a seccomp program on one call and return its verdict."""
    assert audit is not None
    words = (*arguments, *([0] * (6 - len(arguments))))
    data = struct.pack("=iIQ6Q", number, audit, 0, *(w & 2**64 - 1 for w in words))
    instructions = list(struct.iter_unpack("=HBBI", program))
    accumulator = position = 0
    while True:
        code, if_true, if_false, constant = instructions[position]
        position += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, constant)
            case 0x54:
                accumulator &= constant
            case 0x15:
                position += if_true if accumulator == constant else if_false
            case 0x35:
                position += if_true if accumulator >= constant else if_false
            case 0x45:
                position += if_true if accumulator & constant else if_false
            case 0x06:
                return int(constant)
            case _:
                raise AssertionError(f"instruction {code:#x} is not used here")


Verdict = Callable[..., int]


def verdicts(program: bytes, machine: str) -> Verdict:
    def verdict(call: str, *arguments: int) -> int:
        number = NUMBERS[machine][call]
        return run_filter(program, number, arguments, AUDIT_ARCHITECTURES[machine])

    return verdict


def refused(verdict: int) -> bool:
    return verdict & 0xFFFF0000 == RETURN_ERRNO and verdict & 0xFFFF != 0


@pytest.fixture(params=MACHINES)
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def outer(machine: str) -> Verdict:
    return verdicts(outer_filter(own_processes_only=True, architecture=machine), machine)


@pytest.fixture
def tightened(machine: str) -> Verdict:
    return verdicts(tightened_filter(pid=CHILD, architecture=machine), machine)


def test_programs_fit_the_kernels_limit(machine: str) -> None:
    for program in (
        outer_filter(own_processes_only=True, may_change_user=True, architecture=machine),
        tightened_filter(pid=CHILD, architecture=machine),
    ):
        assert len(program) % 8 == 0
        assert len(program) // 8 < MAXIMUM_INSTRUCTIONS


@pytest.mark.parametrize("call", IN_NO_FILTER)
def test_no_filter_has_these(call: str, machine: str, outer: Verdict, tightened: Verdict) -> None:
    if call in NUMBERS[machine]:
        assert refused(outer(call))
        assert refused(tightened(call))
    else:
        assert call == "chmod", "aarch64 lacks only the old spellings"


@pytest.mark.parametrize("call", IN_OUTER_ONLY)
def test_only_the_workers_parent_has_these(
    call: str, machine: str, outer: Verdict, tightened: Verdict
) -> None:
    if call in NUMBERS[machine]:
        assert outer(call, 1) == RETURN_ALLOW
        assert refused(tightened(call, 1))


@pytest.mark.parametrize(
    "call", ["read", "write", "openat", "futex", "munmap", "mprotect", "clock_gettime", "exit"]
)
def test_both_compute(call: str, outer: Verdict, tightened: Verdict) -> None:
    assert outer(call) == RETURN_ALLOW
    assert tightened(call) == RETURN_ALLOW


def test_tightened_starts_threads_only(tightened: Verdict) -> None:
    assert tightened("clone", CLONE_THREAD | 0x100) == RETURN_ALLOW
    assert refused(tightened("clone", 17))  # a fork: SIGCHLD and nothing else
    assert refused(tightened("clone", CLONE_THREAD | 0x10000000))


def test_no_filter_makes_namespaces(outer: Verdict) -> None:
    assert outer("clone", 17) == RETURN_ALLOW
    for flag in (0x80, 0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000):
        assert refused(outer("clone", flag | 17))


@pytest.mark.parametrize("flags", [0o1, 0o2, 0o3, 0o100, 0o1000, 0o20200002, 0o2000001])
def test_tightened_opens_nothing_for_writing(
    flags: int, machine: str, outer: Verdict, tightened: Verdict
) -> None:
    calls = {"openat": (-100, 0, flags), "open": (0, flags)}
    for call, arguments in calls.items():
        if call in NUMBERS[machine]:
            assert refused(tightened(call, *arguments))
            assert outer(call, *arguments) == RETURN_ALLOW
    assert tightened("openat", -100, 0, 0o2000000) == RETURN_ALLOW
    assert refused(tightened("openat2"))


def test_tightened_signals_itself_only(tightened: Verdict) -> None:
    for call in ("kill", "tgkill"):
        assert tightened(call, CHILD) == RETURN_ALLOW
        for other in (0, 1, -1, -CHILD, CHILD + 1):
            assert refused(tightened(call, other))


def test_signals_outside_a_pid_namespace(machine: str) -> None:
    program = outer_filter(own_processes_only=False, signal_pid=CHILD, architecture=machine)
    verdict = verdicts(program, machine)
    assert verdict("kill", CHILD) == RETURN_ALLOW
    assert refused(verdict("kill", 1))
    silent = outer_filter(own_processes_only=False, architecture=machine)
    assert refused(verdicts(silent, machine)("kill", CHILD))


def test_tightened_maps_no_uncounted_memory(outer: Verdict, tightened: Verdict) -> None:
    for flags in (0x21, 0x23, 0x4021, 0x122, 0x100):
        assert refused(tightened("mmap", 0, 4096, 3, flags))
        assert outer("mmap", 0, 4096, 3, flags) == RETURN_ALLOW
    for flags in (0x22, 0x01, 0x02, 0x4022):
        assert tightened("mmap", 0, 4096, 3, flags) == RETURN_ALLOW


def test_descriptors_cannot_direct_signals_at_others(outer: Verdict, tightened: Verdict) -> None:
    for verdict in (outer, tightened):
        for command in (8, 10, 15, 1024, 1026):
            assert refused(verdict("fcntl", 3, command))
        assert verdict("fcntl", 3, 1) == RETURN_ALLOW
        for request in (0x5412, 0x541C, 0x8901, 0x8902):
            assert refused(verdict("ioctl", 0, request))


def test_limits_and_priorities_of_others_are_out_of_reach(outer: Verdict) -> None:
    for call in ("prlimit64", "sched_setaffinity"):
        assert outer(call, 0) == RETURN_ALLOW
        assert refused(outer(call, 1))


def test_a_filter_may_be_added_but_not_decided_elsewhere(outer: Verdict) -> None:
    assert outer("seccomp", 1, 1) == RETURN_ALLOW
    assert refused(outer("seccomp", 1, 8))
    assert refused(outer("seccomp", 0, 0))


def test_only_a_real_root_may_change_user(machine: str) -> None:
    program = outer_filter(own_processes_only=True, may_change_user=True, architecture=machine)
    assert verdicts(program, machine)("setresuid", 1, 1, 1) == RETURN_ALLOW


def test_high_halves_of_arguments_change_nothing(tightened: Verdict) -> None:
    assert refused(tightened("mmap", 0, 4096, 3, 0xFFFFFFFF00000021))
    assert refused(tightened("openat", -100, 0, 0xFFFFFFFF00000001))


def test_a_foreign_calling_convention_is_fatal(machine: str) -> None:
    program = tightened_filter(pid=CHILD, architecture=machine)
    i386 = 0x40000003
    assert run_filter(program, 1, audit=i386) == RETURN_KILL_PROCESS
    if machine == "x86_64":
        x32 = run_filter(program, 0x40000001, audit=AUDIT_ARCHITECTURES[machine])
        assert x32 == RETURN_KILL_PROCESS


def test_unknown_new_calls_look_missing(machine: str) -> None:
    program = tightened_filter(pid=CHILD, architecture=machine)
    verdict = run_filter(program, 5000, audit=AUDIT_ARCHITECTURES[machine])
    assert verdict == RETURN_ERRNO | errno.ENOSYS


def test_an_unknown_machine_is_refused() -> None:
    with pytest.raises(ConfinementError, match="riscv64"):
        tightened_filter(pid=CHILD, architecture="riscv64")


NVIDIA, KFD, DRM = 0xC020462A, 0xC0104B19, 0xC00C642E
NVIDIA_MEMORY = (0x30000001, 0x30000002, 25, 33)


def test_gpu_mode_allows_the_drivers_requests_and_no_others(
    machine: str, outer: Verdict, tightened: Verdict
) -> None:
    with_gpu = (
        verdicts(outer_filter(own_processes_only=True, gpu=True, architecture=machine), machine),
        verdicts(tightened_filter(pid=CHILD, gpu=True, architecture=machine), machine),
    )
    for request in (NVIDIA, KFD, DRM, *NVIDIA_MEMORY):
        assert all(verdict("ioctl", 3, request) == RETURN_ALLOW for verdict in with_gpu)
        assert all(refused(verdict("ioctl", 3, request)) for verdict in (outer, tightened))
    # Pushing terminal input, taking a terminal, owners, interfaces, cloning files, block devices.
    for request in (0x5412, 0x540E, 0x541C, 0x8901, 0x8912, 0x40049409, 0x1260, 0x30000003):
        assert all(refused(verdict("ioctl", 3, request)) for verdict in with_gpu)
    for request in (0x5401, 0x5413):
        assert all(verdict("ioctl", 3, request) == RETURN_ALLOW for verdict in with_gpu)


def test_gpu_mode_opens_devices_but_makes_no_file(machine: str) -> None:
    verdict = verdicts(tightened_filter(pid=CHILD, gpu=True, architecture=machine), machine)
    assert verdict("openat", -100, 0, 0o2000002) == RETURN_ALLOW
    for flags in (0o102, 0o1002, 0o20200002, 0o100):
        assert refused(verdict("openat", -100, 0, flags))
