"""Memory groups on a made-up system: where one is made, and what is written there."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from node.sandbox import make_group
from tests.node.sandbox_support import ROOT
from trainer.confinement.enter import EntryPlan

HYBRID = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n"
UNIFIED = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n"


def system(root: Path, *, mounts: str, own: str, accounted: tuple[str, ...]) -> Path:
    """Lay out a system with some groups, of which some account for their children's memory."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mounts").write_text(mounts, encoding="ascii")
    (root / "proc/self/cgroup").write_text(f"4:memory:/x\n0::{own}\n", encoding="ascii")
    top = root / "sys/fs/cgroup"
    parts = [Path(own.lstrip("/")), *Path(own.lstrip("/")).parents]
    for part in parts:
        (top / part).mkdir(parents=True, exist_ok=True)
        (top / part / "cgroup.procs").touch()
        name = "/" + ("" if part == Path() else str(part))
        controllers = "cpu memory pids" if name in accounted else "cpu pids"
        (top / part / "cgroup.subtree_control").write_text(controllers, encoding="ascii")
    return top


def test_a_group_is_made_beside_ones_own(tmp_path: Path) -> None:
    top = system(tmp_path, mounts=UNIFIED, own="/user/app/shell", accounted=("/user/app", "/"))
    group = make_group(tmp_path, pid=7)
    assert group is not None
    made = [path for path in (top / "user/app").iterdir() if path.name.startswith("swarm-node-7-")]
    assert len(made) == 1
    assert (made[0] / "memory.swap.max").read_text(encoding="ascii").strip() == "0"
    group.limit(800)
    assert (made[0] / "memory.max").read_text(encoding="ascii").strip() == "900"


def test_the_top_group_can_hold_groups_itself(tmp_path: Path) -> None:
    top = system(tmp_path, mounts=UNIFIED, own="/", accounted=("/",))
    assert make_group(tmp_path, pid=7) is not None
    assert [path for path in top.iterdir() if path.name.startswith("swarm-node-7-")]


@pytest.mark.parametrize(
    ("mounts", "accounted"),
    [(UNIFIED, ()), (HYBRID, ("/user/app",)), (UNIFIED, ("/",)), ("", ("/user/app",))],
)
def test_no_group_where_memory_is_not_accounted(
    tmp_path: Path, mounts: str, accounted: tuple[str, ...]
) -> None:
    system(tmp_path, mounts=mounts, own="/user/app/shell", accounted=accounted)
    assert make_group(tmp_path) is None


def test_no_group_on_a_system_without_any(tmp_path: Path) -> None:
    assert make_group(tmp_path) is None


def test_a_group_counts_the_kernels_kills(tmp_path: Path) -> None:
    top = system(tmp_path, mounts=UNIFIED, own="/", accounted=("/",))
    group = make_group(tmp_path, pid=7)
    assert group is not None
    assert group.kills() == 0
    path = next(path for path in top.iterdir() if path.name.startswith("swarm-node-7-"))
    events = "low 0\nhigh 0\nmax 90\noom 2\noom_kill 2\n"
    (path / "memory.events").write_text(events, encoding="ascii")
    assert group.kills() == 2


def test_the_entry_program_moves_itself_through_the_door_and_closes_it(tmp_path: Path) -> None:
    system(tmp_path, mounts=UNIFIED, own="/", accounted=("/",))
    group = make_group(tmp_path, pid=7)
    assert group is not None
    procs = next((tmp_path / "sys/fs/cgroup").glob("swarm-node-7-*")) / "cgroup.procs"
    procs.touch()
    door = group.open_door()
    look = f"import os\ntry: os.fstat({door}); print('open')\nexcept OSError: print('closed')"
    plan = EntryPlan(
        argv=(sys.executable, "-I", "-S", "-c", look),
        memory_bytes=1 << 30,
        file_bytes=1 << 20,
        open_files=64,
        group_fd=door,
    )
    assert json.loads(plan.to_bytes())["group_fd"] == door
    descriptor = os.memfd_create("plan")
    os.write(descriptor, plan.to_bytes())
    os.lseek(descriptor, 0, os.SEEK_SET)
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv[1:] = ['{descriptor}']\n"
        "from trainer.confinement.enter import main\nsys.exit(main())"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        pass_fds=(descriptor, door),
    )
    os.close(descriptor)
    os.close(door)
    assert (ran.stdout.strip(), ran.stderr) == ("closed", "")
    assert procs.read_text(encoding="ascii") == "0"
    group.remove()


def test_a_group_whose_processes_are_still_ending_is_removed_by_the_next(tmp_path: Path) -> None:
    system(tmp_path, mounts=UNIFIED, own="/", accounted=("/",))
    group = make_group(tmp_path, pid=7)
    assert group is not None
    # On this made-up system a group with files in it cannot be removed, as one with members.
    group.remove()
    assert group._path.exists()
    shutil.rmtree(group._path)
    group._path.mkdir()
    assert make_group(tmp_path, pid=7) is not None
    assert not group._path.exists()
