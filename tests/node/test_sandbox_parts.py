"""The parts of the sandbox that need no sandbox: view, staging, user ids, supervision."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from node.sandbox import (
    MemoryWatch,
    SandboxError,
    descendants,
    kill_tree,
    minimal_environment,
    process_memory_bytes,
    stage,
    staging_home,
    tree_rss_bytes,
)
from node.sandbox.interpreter import (
    Interpreter,
    carve,
    executable_chain,
    interpreter_view,
    outermost,
)
from node.sandbox.staging import PRIVATE_HOME_FALLBACK, enterable_by_all
from node.sandbox.users import SMALL_RANGE_START, UNUSED_RANGE_START, next_sandbox_uid

FULL_MAP = "         0          0 4294967295\n"
DOCKER_MAP = "         0     100000      65536\n"


def make_files(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def environment(root: Path) -> Interpreter:
    """Lay out an installation and a virtual environment, our packages in both."""
    packages = "lib/python3.11/site-packages"
    make_files(
        root,
        "base/bin/python3.11",
        "base/lib/python3.11/os.py",
        f"base/{packages}/trainer/data.bin",
        f"base/{packages}/other.py",
        "venv/pyvenv.cfg",
        "venv/pip.conf",
        "venv/bin/pip",
        f"venv/{packages}/trainer/tasks/data.bin",
        f"venv/{packages}/node/__init__.py",
        f"venv/{packages}/torch/__init__.py",
    )
    (root / "venv/lib64").symlink_to("lib")
    (root / "venv/bin/python").symlink_to("python3")
    (root / "venv/bin/python3").symlink_to(root / "base/bin/python3.11")
    return Interpreter(
        root / "venv/bin/python", root / "venv", root / "base", (root / f"venv/{packages}",)
    )


def readable(interpreter: Interpreter, path: Path) -> bool:
    """Whether a backend that only allows would let ``path`` be read."""
    view = interpreter_view(interpreter)
    read = [r for tree in view.trees for r in carve(tree.resolve(), view.masked)[0]]
    return any(path == r or r in path.parents for r in read)


def test_the_view_holds_what_python_needs_and_nothing_of_ours(tmp_path: Path) -> None:
    interpreter = environment(tmp_path)
    packages = "lib/python3.11/site-packages"
    shown = ["base/bin/python3.11", "base/lib/python3.11/os.py", "venv/pyvenv.cfg"]
    shown += [f"venv/{packages}/torch/__init__.py"]
    hidden = [f"venv/{packages}/trainer/tasks/data.bin", f"venv/{packages}/node/__init__.py"]
    hidden += [f"base/{packages}/trainer/data.bin", f"base/{packages}/other.py"]
    hidden += ["venv/pip.conf", "venv/bin/pip"]
    assert [name for name in shown if not readable(interpreter, tmp_path / name)] == []
    assert [name for name in hidden if readable(interpreter, tmp_path / name)] == []


def test_masks_hold_under_every_name_of_a_directory(tmp_path: Path) -> None:
    view = interpreter_view(environment(tmp_path))
    assert all(masked == masked.resolve() for masked in view.masked)
    assert tmp_path / "venv/lib64" in view.trees


def test_a_tree_inside_our_own_packages_is_not_shown(tmp_path: Path) -> None:
    interpreter = environment(tmp_path)
    trainer = interpreter.search_path[0] / "trainer"
    view = interpreter_view(
        Interpreter(
            interpreter.executable,
            interpreter.prefix,
            interpreter.base_prefix,
            (*interpreter.search_path, trainer, trainer / "tasks"),
        )
    )
    assert trainer in view.masked
    assert not {trainer, trainer / "tasks"} & set(view.trees)


def test_carving_leaves_out_links_and_lists_what_imports_list(tmp_path: Path) -> None:
    make_files(tmp_path, "packages/a/x", "packages/trainer/y", "packages/b.py", "elsewhere/z")
    (tmp_path / "packages/link").symlink_to(tmp_path / "elsewhere")
    packages = tmp_path / "packages"
    read, list_only = carve(packages, [packages / "trainer"])
    assert read == [packages / "a", packages / "b.py"]
    assert list_only == [packages]
    assert carve(packages, [packages]) == ([], [])
    assert carve(packages / "a", [packages]) == ([], [])
    assert carve(packages, [tmp_path / "elsewhere"]) == ([packages], [])


def test_links_to_a_program_are_all_shown(tmp_path: Path) -> None:
    interpreter = environment(tmp_path)
    chain = executable_chain(interpreter.executable)
    names = ["venv/bin/python", "venv/bin/python3", "base/bin/python3.11"]
    assert [p.relative_to(tmp_path).as_posix() for p in dict.fromkeys(chain)] == names


def test_outermost_keeps_order_and_drops_what_is_inside() -> None:
    paths = [Path(p) for p in ("/b/c", "/a", "/b", "/a/x/y", "/ab", "/a")]
    assert outermost(paths) == (Path("/a"), Path("/b"), Path("/ab"))


def test_a_sandbox_user_is_new_each_time_and_outside_known_ranges() -> None:
    uids = [next_sandbox_uid(FULL_MAP, launch, 4242) for launch in range(1000)]
    assert len(set(uids)) == 1000
    assert min(uids) >= UNUSED_RANGE_START
    assert max(uids) < 2**31
    assert next_sandbox_uid(FULL_MAP, 0, 4242) != next_sandbox_uid(FULL_MAP, 0, 4243)


def test_a_small_container_gets_a_small_id_or_a_clear_error() -> None:
    assert SMALL_RANGE_START <= next_sandbox_uid(DOCKER_MAP, 0, 1) < 65_536
    with pytest.raises(SandboxError, match="too few user ids"):
        next_sandbox_uid("0 1000 1\n", 0, 1)


def test_staging_copies_by_content(tmp_path: Path) -> None:
    source = tmp_path / "job.py"
    source.write_text("x = 1", encoding="ascii")
    home = tmp_path / "home"
    first = stage({"trainer/job.py": source}, home)
    assert (first / "trainer/job.py").read_text(encoding="ascii") == "x = 1"
    assert stage({"trainer/job.py": source}, home) == first
    source.write_text("x = 2", encoding="ascii")
    second = stage({"trainer/job.py": source}, home)
    assert second != first
    assert stage({"trainer/other.py": source}, home) != second
    assert len(list(home.iterdir())) == 3, "no drafts are left behind"
    for path in second.rglob("*"):
        assert not path.stat().st_mode & 0o022


@pytest.mark.parametrize("name", ["../escape.py", "/absolute.py", "a/../../b.py", ""])
def test_staging_stays_in_its_directory(name: str, tmp_path: Path) -> None:
    source = tmp_path / "job.py"
    source.touch()
    with pytest.raises(SandboxError, match="not a path inside"):
        stage({name: source}, tmp_path / "home")


def test_staging_trusts_no_copy_that_was_changed(tmp_path: Path) -> None:
    source = tmp_path / "job.py"
    source.write_text("honest", encoding="ascii")
    copy = stage({"job.py": source}, tmp_path / "home")
    (copy / "extra.py").touch()
    with pytest.raises(SandboxError, match="other files"):
        stage({"job.py": source}, tmp_path / "home")
    (copy / "extra.py").unlink()
    (copy / "job.py").chmod(0o644)
    (copy / "job.py").write_text("forged", encoding="ascii")
    with pytest.raises(SandboxError, match="not what was staged"):
        stage({"job.py": source}, tmp_path / "home")
    (copy / "job.py").write_text("honest", encoding="ascii")
    copy.chmod(0o777)
    with pytest.raises(SandboxError, match="changed by another user"):
        stage({"job.py": source}, tmp_path / "home")


def test_staging_reports_a_missing_source_and_a_bad_home(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="cannot read"):
        stage({"job.py": tmp_path / "missing.py"}, tmp_path / "home")
    source = tmp_path / "job.py"
    source.touch()
    with pytest.raises(SandboxError, match="cannot stage"):
        stage({"job.py": source}, source / "not-a-directory")


def test_root_stages_where_others_can_enter(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert not enterable_by_all(closed / "stage")
    assert enterable_by_all(Path("/usr/lib/not-there-yet"))
    expected = PRIVATE_HOME_FALLBACK if os.geteuid() == 0 else closed / "stage"
    assert staging_home(closed / "stage") == expected
    assert staging_home(Path("/usr/lib")) == Path("/usr/lib")


def test_the_environment_holds_nothing_of_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret")
    environment_inside = minimal_environment({"OMP_NUM_THREADS": "1"})
    assert "secret" not in environment_inside.values()
    assert "PATH" not in environment_inside
    assert environment_inside["OMP_NUM_THREADS"] == "1"


FAMILY = """
import os, sys
block = bytearray(b"x") * (32 << 20)
reading, writing = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        mine = bytearray(b"y") * (16 << 20)
        os.write(1, b"ready\\n")
    os.read(reading, 1)
os.read(reading, 1)
"""


def test_a_tree_is_measured_and_ended_as_a_whole() -> None:
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", FAMILY], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"ready\n"
        below = descendants(process.pid)
        assert len(below) == 2
        assert process_memory_bytes(process.pid) >= 32 << 20
        assert process_memory_bytes(below[-1]) >= 48 << 20
        assert tree_rss_bytes(process.pid) >= (32 + 48) << 20
        kill_tree(process)
        # Nobody is left to hold the pipe open.
        assert process.stdout.read() == b""
    assert process.returncode == -signal.SIGKILL
    kill_tree(process)  # a second time does no harm
    assert process_memory_bytes(process.pid) == 0


def test_a_memory_watch_forgives_a_moment_and_no_more() -> None:
    watch = MemoryWatch(limit_bytes=100, allowed_samples=1)
    over, history = 0, []
    for sample in (50, 101, 99, 101, 102, 103):
        over = watch.next_over_count(over, sample)
        history.append(watch.exceeded(over))
    assert history == [False, False, False, False, True, True]
