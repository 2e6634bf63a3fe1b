"""A full disk: the node says so, goes on, loses nothing it acknowledged, and catches up."""

import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from node.home import Home
from tests.e2e.peers import hypothesis, peer_of
from tests.e2e.processes import NodeProcess, cli, found, running, until

pytestmark = pytest.mark.e2e

_DISK_BYTES = 8 << 20

Fill = Callable[[NodeProcess], AbstractContextManager[None]]


@contextlib.contextmanager
def _filled_disk(node: NodeProcess) -> Iterator[None]:
    """Use up the rest of the small file system that the home is on."""
    filler = node.home.root.parent / "filler"
    with filler.open("wb") as file, contextlib.suppress(OSError):
        while True:
            os.write(file.fileno(), bytes(4096))
    yield
    filler.unlink()


@contextlib.contextmanager
def _limited_files(node: NodeProcess) -> Iterator[None]:
    """Let no file of the node grow: what a quota does, and possible for everybody."""
    before = resource.prlimit(node.pid, resource.RLIMIT_FSIZE)
    log = node.home.database.with_name(node.home.database.name + "-wal")
    resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (log.stat().st_size, before[1]))
    yield
    resource.prlimit(node.pid, resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def _small_disk(directory: Path) -> Iterator[Fill]:
    """A file system of a few megabytes where this user may mount one, else an ordinary one."""
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(directory)]
    mounted = not subprocess.run(mount, capture_output=True, check=False).returncode
    try:
        yield _filled_disk if mounted else _limited_files
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(directory)], check=True)


async def test_full_disk(tmp_path: Path, tiny_task: Path) -> None:
    with _small_disk(tmp_path / "disk") as fill:
        home = Home(tmp_path / "disk" / "home")
        found(home, tiny_task)
        # What it says must not need the disk that is full.
        with running(home, "--agent", "none", errors=tmp_path / "stderr") as node:
            async with peer_of(node.address, 400, tmp_path) as author:

                async def publish(first: int) -> set[bytes]:
                    """A few hundred kilobytes of records."""
                    return {
                        await author.publish(
                            hypothesis(author.root, bytes(31) + bytes([number]), "x", "y" * 4000)
                        )
                        for number in range(first, first + 60)
                    }

                # What trains shares the limit on files, so it has to be done first.
                await until(lambda: node.status()["worker"]["state"] == "idle", "rest", node)
                wanted = await publish(0)
                await until(lambda: node.stored().keys() >= wanted, "the first records", node)
                with fill(node):
                    late = await publish(100)
                    await until(lambda: "records not stored" in node.errors, "a complaint", node)
                    # It runs on and answers, with everything that it had acknowledged.
                    assert cli("status", "--home", str(home.root)).code == 0
                    assert node.status()["records"] > len(wanted)
                    assert node.stored().keys() >= wanted
                    assert not node.stored().keys() >= late
                await until(lambda: node.stored().keys() >= wanted | late, "catching up", node)
                await until(
                    lambda: node.status()["records"] == len(node.stored()), "the count", node
                )
            before = node.stored()
            assert node.end(signal.SIGKILL) == -signal.SIGKILL
            node.start()
            assert node.stored() == before
            assert node.status()["records"] == len(before)
            assert "Traceback" not in node.errors
