"""Attacks on other processes, on limits of processes, and survival after the end.

Staged into sandboxes: standard library and the confinement package only.
"""

import contextlib
import ctypes
import fcntl
import os
import signal
import sys
import threading
import time
from pathlib import Path

from tests.hostile.world import World, attack, libc
from trainer.confinement.kernel import system_call

PTRACE_SEIZE = 0x4206
F_SETOWN, F_SETSIG, F_SETFL, O_ASYNC = 8, 10, 4, 0o20000
SURVIVOR_S = 20
FORKS_TRIED = 100
THREADS_TRIED = 400
DESCRIPTORS_TRIED = 3_000


def _signal(pid: int) -> str:
    # Ignored by default, so that the control harms nobody; the node counts what arrives.
    os.kill(pid, signal.SIGURG)
    return f"signalled process {pid}"


@attack("processes")
def signal_node(world: World) -> str:
    """Signal the node."""
    return _signal(world.node_pid)


@attack("processes")
def signal_parent(_: World) -> str:
    """Signal the parent process, which serves the next job."""
    return _signal(os.getppid())


@attack("processes")
def signal_group(_: World) -> str:
    """Signal the whole process group."""
    return _signal(0)


@attack("processes")
def signal_everybody(_: World) -> str:
    """Signal every process that one may."""
    os.kill(-1, 0)
    return "may signal everybody"


@attack("processes")
def signal_by_pidfd(world: World) -> str:
    """Signal the node through a process descriptor."""
    node = system_call("pidfd_open", world.node_pid, 0)
    system_call("pidfd_send_signal", node, signal.SIGURG, 0, 0)
    return "signalled by descriptor"


@attack("processes")
def signal_with_value(world: World) -> str:
    """Queue a signal with a value of one's choice for the node."""
    libc("sigqueue", world.node_pid, signal.SIGURG, 7)
    return "queued a signal"


@attack("processes")
def signal_thread(world: World) -> str:
    """Signal a single thread of the node."""
    system_call("tkill", world.node_pid, signal.SIGURG)
    return "signalled a thread"


@attack("processes")
def signal_by_owner(world: World) -> str:
    """Have the kernel signal the node when a pipe has data."""
    reading, writing = os.pipe()
    fcntl.fcntl(reading, F_SETOWN, world.node_pid)
    fcntl.fcntl(reading, F_SETSIG, signal.SIGURG)
    fcntl.fcntl(reading, F_SETFL, O_ASYNC)
    os.write(writing, b"x")
    return "directed a pipe's signal at the node"


@attack("processes")
def trace_node(world: World) -> str:
    """Trace the node with ptrace."""
    system_call("ptrace", PTRACE_SEIZE, world.node_pid, 0, 0)
    return "traces the node"


@attack("processes")
def limits_of_node(world: World) -> str:
    """Ask for, and so be able to change, the node's resource limits."""
    libc("prlimit", world.node_pid, 7, 0, ctypes.create_string_buffer(16))
    return "the node's limits"


@attack("processes")
def priority_of_node(world: World) -> str:
    """Change the node's priority."""
    priority = os.getpriority(os.PRIO_PROCESS, world.node_pid)
    os.setpriority(os.PRIO_PROCESS, world.node_pid, priority)
    return "set the node's priority"


@attack("processes")
def processors_of_node(world: World) -> str:
    """Move the node to other processors."""
    os.sched_setaffinity(world.node_pid, os.sched_getaffinity(world.node_pid))
    return "set the node's processors"


@attack("processes")
def compare_with_node(world: World) -> str:
    """Compare kernel objects with the node's, which betrays addresses."""
    order = system_call("kcmp", os.getpid(), world.node_pid, 1, 0, 0)
    return f"order {order}"


@attack("processes", needs_root=True)
def real_time(_: World) -> str:
    """Take a processor for itself with a real-time priority."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return "ran in real time"


@attack("processes")
def run_a_program(_: World) -> str:
    """Execute another program."""
    program = sys.executable
    pid = os.posix_spawn(program, [program, "-I", "-S", "-c", "pass"], {})
    return "ran a program" if os.waitpid(pid, 0)[1] == 0 else ""


@attack("processes")
def run_from_memory(_: World) -> str:
    """Execute a program that never was a file."""
    image = os.memfd_create("program")
    os.write(image, Path(sys.executable).resolve().read_bytes())
    if os.fork() == 0:
        with contextlib.suppress(OSError):
            command = ["program", "-I", "-S", "-c", "raise SystemExit(7)"]
            os.execve(image, command, {})  # noqa: S606
        os._exit(1)
    # Whether it finds its library does not matter: that it started does.
    return "ran from memory" if os.waitstatus_to_exitcode(os.wait()[1]) != 1 else ""


@attack("processes")
def fork_bomb(world: World) -> str:
    """Start processes without end."""
    reading, writing = os.pipe()
    started = 0
    try:
        for _ in range(FORKS_TRIED):
            if os.fork() == 0:
                os.close(writing)
                os.read(reading, 1)
                os._exit(0)
            started += 1
    finally:
        os.close(writing)
    return f"{started} processes" if started > world.processes else ""


@attack("processes")
def thread_bomb(world: World) -> str:
    """Start threads without end."""
    gate = threading.Event()
    started = 0
    try:
        for _ in range(THREADS_TRIED):
            threading.Thread(target=gate.wait, daemon=True).start()
            started += 1
    except RuntimeError:
        pass
    gate.set()
    return f"{started} threads" if started > world.processes else ""


@attack("processes")
def descriptor_bomb(world: World) -> str:
    """Open descriptors without end."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    opened = []
    with contextlib.suppress(OSError):
        for _ in range(DESCRIPTORS_TRIED):
            opened += [os.dup(0)]
    for descriptor in opened:
        os.close(descriptor)
    return f"{len(opened)} descriptors" if len(opened) > world.open_files else ""


def _outlive(*, new_session: bool, ignore: bool = False) -> str:
    reading, writing = os.pipe()
    if os.fork() == 0:
        with contextlib.suppress(OSError):
            _leave(writing, new_session=new_session, ignore=ignore)
        os._exit(0)
    os.close(writing)
    os.wait()
    pid = os.read(reading, 16).decode()
    return f"process {pid} goes on" if pid else ""


def _leave(writing: int, *, new_session: bool, ignore: bool) -> None:
    if new_session:
        os.setsid()
    if ignore:
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
    pid = os.fork()
    if pid:
        os.write(writing, str(pid).encode())
        return
    os.close(writing)
    time.sleep(SURVIVOR_S)


@attack("survivors")
def survive_as_orphan(_: World) -> str:
    """Leave a process behind whose parent is gone."""
    return _outlive(new_session=False)


@attack("survivors")
def survive_in_a_session(_: World) -> str:
    """Leave a process behind in a session of its own."""
    return _outlive(new_session=True)


@attack("survivors")
def survive_signals(_: World) -> str:
    """Leave a process behind that ignores every polite signal."""
    return _outlive(new_session=True, ignore=True)
