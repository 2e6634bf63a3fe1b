"""Confinement on this kernel, in processes of its own."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from trainer.confinement.enter import EXIT_NOT_ENTERED, EntryPlan
from trainer.confinement.errors import ConfinementError
from trainer.confinement.kernel import become_ordinary_user, system_call
from trainer.confinement.tightening import address_space_bytes

pytestmark = pytest.mark.sandbox

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 60


def run_python(code: str, *, fds: tuple[int, ...] = ()) -> subprocess.CompletedProcess[str]:
    prelude = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", prelude + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
        pass_fds=fds,
    )


CHILD = """
import os, resource, json
from trainer.confinement import ConfinementError, TightLimits, tighten
def in_child(body, limits=TightLimits(memory_bytes=1 << 30, file_bytes=1 << 16), parent=None):
    me = os.getpid() if parent is None else parent
    pid = os.fork()
    if pid == 0:
        try:
            tighten(limits, parent_pid=me, keep_fds=(0, 1, 2))
            body()
            os._exit(0)
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(9)
    return os.waitpid(pid, 0)[1]
"""


def test_limits_are_the_kernels() -> None:
    ran = run_python(
        CHILD
        + """
def body():
    kinds = ("DATA", "AS", "FSIZE", "NOFILE", "CORE", "CPU", "MEMLOCK", "MSGQUEUE")
    values = {k: resource.getrlimit(getattr(resource, "RLIMIT_" + k)) for k in kinds}
    os.write(1, json.dumps(values).encode())
in_child(body, TightLimits(memory_bytes=1 << 29, file_bytes=12345, open_files=33, cpu_s=7))
"""
    )
    values = json.loads(ran.stdout)
    expected = {"DATA": 1 << 29, "FSIZE": 12345, "NOFILE": 33, "CORE": 0, "CPU": 7}
    expected |= {"AS": address_space_bytes(1 << 29), "MEMLOCK": 0, "MSGQUEUE": 0}
    assert values == {kind: [value, value] for kind, value in expected.items()}, ran.stderr


def test_cpu_time_ends_a_busy_child() -> None:
    ran = run_python(
        CHILD
        + """
def body():
    while True: pass
print(in_child(body, TightLimits(memory_bytes=1 << 30, file_bytes=1, cpu_s=1)))
"""
    )
    assert os.WTERMSIG(int(ran.stdout)) in {signal.SIGKILL, signal.SIGXCPU}, ran.stderr


def test_memory_beyond_the_limit_is_an_error_not_a_crash() -> None:
    ran = run_python(
        CHILD
        + """
def body():
    try: bytearray(1 << 30)
    except MemoryError: os.write(1, b"refused")
in_child(body, TightLimits(memory_bytes=1 << 28, file_bytes=1))
"""
    )
    assert ran.stdout == "refused", ran.stderr


def test_every_other_descriptor_is_closed() -> None:
    # Neighbours of the kept ones included: an empty range between two must not close all.
    reading, writing = os.pipe()
    ran = run_python(
        CHILD
        + f"""
def body():
    found = []
    for descriptor in range(256):
        try: os.fstat(descriptor)
        except OSError: continue
        found.append(descriptor)
    os.write(1, json.dumps(found).encode())
for high in (50, 90): os.dup2({reading}, high)
in_child(body)
""",
        fds=(reading, writing),
    )
    os.close(reading)
    os.close(writing)
    assert ran.stdout == "[0, 1, 2]", ran.stderr


def test_a_file_cannot_grow_past_its_limit(tmp_path: Path) -> None:
    target = tmp_path / "output"
    ran = run_python(
        CHILD
        + f"""
descriptor = os.open({str(target)!r}, os.O_WRONLY | os.O_CREAT)
os.dup2(descriptor, 1)
def body():
    for _ in range(64): os.write(1, bytes(4096))
in_child(body)
"""
    )
    assert "File too large" in ran.stderr
    assert target.stat().st_size == 1 << 16


def test_a_child_whose_parent_is_gone_refuses_to_go_on() -> None:
    ran = run_python(CHILD + "print(in_child(lambda: None, parent=os.getpid() + 1))")
    assert "the parent process died first" in ran.stderr
    assert os.waitstatus_to_exitcode(int(ran.stdout)) == 9


def test_a_tightened_child_dies_with_its_parent() -> None:
    # The child holds the pipe open for ever; only its death ends the reading below.
    ran = run_python(
        CHILD
        + """
import signal
middle = os.fork()
if middle == 0:
    reading, writing = os.pipe()
    me = os.getpid()
    if os.fork() == 0:
        limits = TightLimits(memory_bytes=1 << 30, file_bytes=1)
        tighten(limits, parent_pid=me, keep_fds=(1, writing))
        never, _held = os.pipe()
        os.write(writing, b"x")
        os.read(never, 1)
    os.read(reading, 1)
    os.kill(me, signal.SIGKILL)
os.waitpid(middle, 0)
"""
    )
    # Standard output is a pipe that the grandchild kept: reading to its end took its death.
    assert ran.returncode == 0, ran.stderr


def test_an_unknown_call_is_an_error_of_ours() -> None:
    with pytest.raises(ConfinementError, match="no system call"):
        system_call("frobnicate")


def test_root_is_not_an_ordinary_user() -> None:
    with pytest.raises(ConfinementError, match="positive"):
        become_ordinary_user(0)


def test_plans_survive_encoding() -> None:
    plan = EntryPlan(
        argv=("/bin/true", "-x"),
        memory_bytes=1,
        file_bytes=2,
        open_files=3,
        uid=4,
        read=("/usr",),
        list_only=("/",),
    )
    assert EntryPlan.from_bytes(plan.to_bytes()) == plan


def test_a_sandbox_that_cannot_be_entered_says_so_and_runs_nothing() -> None:
    plan = EntryPlan(
        argv=("/nonexistent/program",), memory_bytes=1 << 30, file_bytes=1, open_files=64
    )
    descriptor = os.memfd_create("plan")
    os.write(descriptor, plan.to_bytes())
    os.lseek(descriptor, 0, os.SEEK_SET)
    code = f"sys.argv[1:] = ['{descriptor}']\n"
    code += "from trainer.confinement.enter import main\nsys.exit(main())"
    ran = run_python(code, fds=(descriptor,))
    os.close(descriptor)
    assert ran.returncode == EXIT_NOT_ENTERED
    assert "sandbox not entered" in ran.stderr
    assert "No such file" in ran.stderr


def test_the_plans_limits_are_set_and_never_raised() -> None:
    soft = 100
    plan = EntryPlan(
        argv=(sys.executable, "-I", "-S", "-c", PRINT_LIMITS),
        memory_bytes=1 << 30,
        file_bytes=1 << 20,
        open_files=500,
    )
    descriptor = os.memfd_create("plan")
    os.write(descriptor, plan.to_bytes())
    os.lseek(descriptor, 0, os.SEEK_SET)
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {soft}))
sys.argv[1:] = ['{descriptor}']
from trainer.confinement.enter import main
sys.exit(main())
"""
    ran = run_python(code, fds=(descriptor,))
    os.close(descriptor)
    assert ran.stdout.split() == [str(soft), str(1 << 20)], ran.stderr


PRINT_LIMITS = (
    "import resource as r; print(r.getrlimit(r.RLIMIT_NOFILE)[1], r.getrlimit(r.RLIMIT_FSIZE)[1])"
)
