"""Both backends against real attacks, as root and as an ordinary user."""

import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.sandbox import SandboxError, SandboxLimits, descendants, kill_tree, tree_rss_bytes
from node.sandbox.bubblewrap import Bubblewrap
from node.sandbox.interpreter import Interpreter
from node.sandbox.landlock import Landlock
from node.sandbox.selftest import PROMISES, examine_backend
from tests.node.sandbox_support import (
    BACKENDS,
    LIMIT_S,
    ROOT,
    Inside,
    as_root,
    copy_for_all,
    interpreter_for_all,
    make_backend,
    run_as_ordinary_user,
)

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def public() -> Iterator[Path]:
    """A directory that every user may enter; pytest's own are for one user."""
    with tempfile.TemporaryDirectory(prefix="sandbox-tests-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture(scope="module")
def interpreter(public: Path) -> Interpreter:
    return interpreter_for_all(public)


@pytest.fixture(params=BACKENDS)
def inside(request: pytest.FixtureRequest, interpreter: Interpreter) -> Inside:
    name = str(request.param)
    shown = Interpreter.current() if name == "bubblewrap" else interpreter
    return Inside(make_backend(name, interpreter), shown.executable)


@pytest.mark.parametrize("name", BACKENDS)
def test_every_promise_is_kept(name: str, interpreter: Interpreter) -> None:
    shown = Interpreter.current() if name == "bubblewrap" else interpreter
    report = examine_backend(lambda: make_backend(name, interpreter), name, shown)
    assert report.problem is None
    assert [r for r in report.results if not r.kept] == []
    assert len(report.results) == len(PROMISES)
    assert report.usable


EXAMINE = """
import dataclasses, json, os, sys
sys.path.insert(0, os.getcwd())
from node.sandbox import examine
print(json.dumps([os.getuid(), dataclasses.asdict(examine())]))
"""


def test_an_ordinary_user_gets_both_backends(public: Path, interpreter: Interpreter) -> None:
    code = public / "code"
    code.mkdir()
    ran = run_as_ordinary_user(interpreter.executable, EXAMINE, copy_for_all(code))
    uid, report = json.loads(ran.stdout or f'"{ran.stderr}"')
    assert uid != 0
    assert [backend["name"] for backend in report["backends"]] == list(BACKENDS)
    for backend in report["backends"]:
        assert backend["problem"] is None
        assert [r for r in backend["results"] if not r["kept"]] == []


OLDER = """

_newest = version


def version() -> int:
    return min(MINIMUM_VERSION, _newest())
"""


def test_the_oldest_landlock_keeps_every_promise_too(
    public: Path, interpreter: Interpreter
) -> None:
    """Before version 4 nothing but the filter stops sockets, and before 6 signals."""
    code = public / "older"
    code.mkdir()
    copy_for_all(code)
    with (code / "trainer/confinement/landlock.py").open("a", encoding="utf-8") as module:
        module.write(OLDER)
    ran = run_as_ordinary_user(interpreter.executable, EXAMINE, code)
    _, report = json.loads(ran.stdout or f'"{ran.stderr}"')
    landlock = report["backends"][1]
    assert landlock["problem"] is None
    assert [r for r in landlock["results"] if not r["kept"]] == []


def test_root_becomes_an_unused_user_for_each_sandbox(inside: Inside) -> None:
    code = "import os; print(*os.getresuid(), *os.getresgid(), *os.getgroups())"
    first, second = (inside.run(code)[1].split() for _ in range(2))
    if as_root():
        assert len(set(first)) == 1, "one id for all, and no supplementary group"
        assert int(first[0]) > 1000
        assert first != second
    else:
        assert 0 not in map(int, first)


def test_the_kernel_sees_no_root_and_no_capability(inside: Inside) -> None:
    code = "import sys; print('ready', flush=True); sys.stdin.close(); import os; os.read(3, 1)"
    reading, writing = os.pipe()
    try:
        os.dup2(reading, 3)
        with inside.running(code, pass_fds=(3,)) as (process, next_line):
            assert next_line() == "ready"
            last = descendants(process.pid)[-1:] or [process.pid]
            status = Path(f"/proc/{last[0]}/status").read_text(encoding="utf-8")
    finally:
        os.close(reading)
        os.close(writing)
    fields = dict(line.split(":", 1) for line in status.splitlines())
    assert "0" not in fields["Uid"].split()
    for kind in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
        assert int(fields[kind], 16) == 0
    assert fields["NoNewPrivs"].strip() == "1"
    assert fields["Seccomp"].strip() == "2"
    if as_root():
        assert int(fields["CapBnd"], 16) == 0


def test_the_environment_is_what_the_spec_says(inside: Inside) -> None:
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    _, output = inside.run(code, env={"ONLY": "this"})
    found = json.loads(output)
    assert found.pop("PWD", "/") == "/"
    found.pop("LC_CTYPE", None)  # the interpreter sets it itself when the locale is C
    assert found == {"ONLY": "this"}


def test_the_namespaces_show_no_other_process(interpreter: Interpreter) -> None:
    inside = Inside(make_backend("bubblewrap", interpreter), Interpreter.current().executable)
    code = "import os, socket; print(os.getpid() < 9, os.listdir('/proc'), socket.gethostname())"
    _, output = inside.run(code)
    assert output.split(maxsplit=1)[0] == "True"
    assert "cpuinfo" in output
    assert "self" not in output
    assert output.split()[-1] == "sandbox"


def test_standard_input_is_empty_and_the_session_new(inside: Inside) -> None:
    code = "import os, sys; print(len(sys.stdin.read()), os.getsid(0))"
    _, output = inside.run(code)
    length, session = output.split()
    assert length == "0"
    assert int(session) != os.getsid(0)


def test_what_is_listed_can_be_read_and_nothing_beside_it(inside: Inside, public: Path) -> None:
    shown, hidden = public / "shown.txt", public / "hidden.txt"
    for path in (shown, hidden):
        path.write_text("content", encoding="ascii")
        path.chmod(0o644)
    code = f"print(open({str(shown)!r}).read(), flush=True); open({str(hidden)!r})"
    status, output = inside.run(code, read_only=(shown,))
    assert output.startswith("content\n")
    assert "PermissionError" in output or "FileNotFoundError" in output
    assert status == 1


@pytest.fixture(scope="module")
def installation(public: Path) -> Path:
    """A package directory that holds our packages with their data beside another package."""
    packages = public / "env" / "site-packages"
    for name in ("trainer/tasks/data", "node", "other"):
        (packages / name).mkdir(parents=True)
    (packages / "trainer" / "__init__.py").touch()
    (packages / "trainer" / "tasks" / "data" / "validation.bin").write_bytes(b"the answers")
    (packages / "other" / "__init__.py").write_text("VALUE = 'imported'", encoding="ascii")
    return packages


@pytest.mark.parametrize("name", BACKENDS)
def test_our_installed_packages_are_masked(
    name: str, interpreter: Interpreter, installation: Path
) -> None:
    view = Interpreter(
        interpreter.executable, interpreter.prefix, interpreter.base_prefix, (installation,)
    )
    sandbox = Bubblewrap(interpreter=view) if name == "bubblewrap" else Landlock(view)
    data = installation / "trainer" / "tasks" / "data" / "validation.bin"
    code = (
        f"import sys; sys.path.insert(0, {str(installation)!r}); import other; print(other.VALUE)\n"
        f"for path in ({str(data)!r}, {str(installation / 'trainer' / '__init__.py')!r}):\n"
        "  try: print('BROKEN', open(path, 'rb').read())\n"
        "  except OSError as error: print('refused')"
    )
    status, output = Inside(sandbox, interpreter.executable).run(code)
    assert output.split() == ["imported", "refused", "refused"]
    assert status == 0
    assert data.read_bytes() == b"the answers", "the control: outside it can be read"


def test_output_leaves_through_a_memfd_of_fixed_size(inside: Inside) -> None:
    descriptor = os.memfd_create("output", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, 4096)
    fcntl.fcntl(
        descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    )
    code = (
        f"import mmap, os; shared = mmap.mmap({descriptor}, 4096); shared[:5] = b'hello'\n"
        f"for size in (0, 8192):\n"
        f"  try: os.ftruncate({descriptor}, size); print('BROKEN')\n"
        "  except PermissionError: print('fixed')"
    )
    _, output = inside.run(code, pass_fds=(descriptor,))
    assert output.split() == ["fixed", "fixed"]
    assert os.pread(descriptor, 5, 0) == b"hello"
    os.close(descriptor)


FORK_BOMB = """
import os
count, (reading, writing) = 0, os.pipe()
while True:
    try: pid = os.fork()
    except OSError: break
    if pid == 0: os.read(reading, 1)
    count += 1
    assert count < 2000
print(count, flush=True)
os.read(reading, 1)
"""


def test_a_fork_bomb_is_bounded_and_leaves_nothing(inside: Inside) -> None:
    with inside.running(FORK_BOMB) as (process, next_line):
        count = int(next_line())
        tree = [process.pid, *descendants(process.pid)]
        assert 0 < count <= 32
        assert len(tree) > count
        kill_tree(process)
    assert [pid for pid in tree if is_running(pid)] == []


def is_running(pid: int) -> bool:
    """Whether a process exists and is more than a corpse that its parent has yet to collect."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in {"Z", "X"}


MEMORY_BOMB = """
import os
reading, writing = os.pipe()
for _ in range(3):
    if os.fork() == 0:
        block = bytearray(b"x") * (64 << 20)
        os.write(writing, b"!")
        os.read(reading, 0)
        import signal
        signal.sigwait([signal.SIGUSR1])
for _ in range(3): os.read(reading, 1)
try: bytearray(2 << 30); print("BROKEN", flush=True)
except MemoryError: print("refused", flush=True)
os.wait()
"""


def test_memory_is_limited_per_process_and_measured_for_the_tree(inside: Inside) -> None:
    with inside.running(MEMORY_BOMB) as (process, next_line):
        assert next_line() == "refused"
        assert tree_rss_bytes(process.pid) >= 3 * (64 << 20)
        kill_tree(process)
        assert tree_rss_bytes(process.pid) == 0


DIE_WITH_NODE = """
import os, sys
sys.path.insert(0, {root!r})
from node.sandbox.interpreter import Interpreter
from node.sandbox.bubblewrap import Bubblewrap
from node.sandbox.landlock import Landlock
from node.sandbox import SandboxLimits, SandboxSpec
from pathlib import Path
shown = Interpreter(*map(Path, {interpreter!r}), ())
sandbox = Bubblewrap(interpreter=shown) if {name!r} == "bubblewrap" else Landlock(shown)
code = "import os; os.write({fd}, b'started'); reading, _ = os.pipe(); os.read(reading, 1)"
spec = SandboxSpec(
    argv=(str(shown.executable), "-I", "-S", "-c", code),
    limits=SandboxLimits(memory_bytes=1 << 30), env={{}}, pass_fds=({fd},), stderr_fd=2)
sandbox.popen(spec).wait()
"""


@pytest.mark.parametrize("name", BACKENDS)
def test_a_sandbox_dies_with_its_node(name: str, interpreter: Interpreter) -> None:
    reading, writing = os.pipe()
    shown = tuple(map(str, (interpreter.executable, interpreter.prefix, interpreter.base_prefix)))
    code = DIE_WITH_NODE.format(root=str(ROOT), interpreter=shown, name=name, fd=writing)
    with subprocess.Popen([sys.executable, "-c", code], pass_fds=(writing,)) as node:
        os.close(writing)
        with os.fdopen(reading, "rb") as output:
            assert output.read(7) == b"started"
            node.send_signal(signal.SIGKILL)
            # The end of the pipe comes when its last holder, the sandboxed program, is dead.
            assert output.read() == b""
        assert node.wait(LIMIT_S) == -signal.SIGKILL


def test_a_program_that_is_not_there_is_told_apart(inside: Inside) -> None:
    status, output = inside.run("", argv=("/nonexistent/program",))
    assert status == 125
    assert "sandbox not entered" in output


def test_workers_start_from_the_main_thread_only(inside: Inside) -> None:
    errors: list[BaseException] = []

    def start() -> None:
        try:
            inside.sandbox.popen(inside.spec("pass"))
        except SandboxError as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(errors[0])


def test_limits_reach_the_program(inside: Inside) -> None:
    code = (
        "import resource as r; print(*(r.getrlimit(k)[1] for k in "
        "(r.RLIMIT_DATA, r.RLIMIT_FSIZE, r.RLIMIT_NOFILE, r.RLIMIT_CPU)))"
    )
    limits = SandboxLimits(
        memory_bytes=1 << 29, processes=64, file_bytes=777, open_files=55, cpu_s=9
    )
    assert inside.run(code, limits=limits)[1].split() == [str(1 << 29), "777", "55", "9"]


def test_a_sandbox_shows_no_program_to_run(interpreter: Interpreter) -> None:
    inside = Inside(make_backend("bubblewrap", interpreter), Interpreter.current().executable)
    _, output = inside.run(
        "import os; print(os.path.exists('/bin'), os.path.exists('/usr/bin/sh'))"
    )
    assert output.split() == ["False", "False"]


def test_landlock_refuses_what_its_user_could_not_read(
    public: Path, interpreter: Interpreter
) -> None:
    closed = public / "closed"
    closed.mkdir(mode=0o700)
    (closed / "file").touch()
    inside = Inside(make_backend("landlock", interpreter), interpreter.executable)
    assert not closed.stat().st_mode & stat.S_IXOTH
    if as_root():
        with pytest.raises(SandboxError, match="closed to other users"):
            inside.run("pass", read_only=(closed / "file",))
    else:
        assert inside.run("pass", read_only=(closed / "file",)) == (0, "")
