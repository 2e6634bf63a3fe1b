"""How many workers a machine holds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from node.capacity import RUN_BYTES, available_bytes, cores, default_workers, workers_of
from node.config import WORKERS_MAX, Config

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of eight cores, of which files below it say how much may be used."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    (tmp_path / "proc").mkdir()
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    return tmp_path


def _meminfo(machine: Path, available_bytes: int) -> None:
    (machine / "proc/meminfo").write_text(
        f"MemTotal: 99 kB\nMemAvailable:   {available_bytes >> 10} kB\nBuffers: 1 kB\n"
    )


def test_one_worker_for_each_core(machine: Path) -> None:
    assert default_workers(root=machine) == cores(machine) == 8
    assert available_bytes(machine) is None
    _meminfo(machine, 100 * RUN_BYTES)
    assert default_workers(root=machine) == 8


@pytest.mark.parametrize(("runs", "workers"), [(0.5, 1), (1.5, 1), (3.5, 3), (9, 8)])
def test_their_memory_has_to_fit(machine: Path, runs: float, workers: int) -> None:
    _meminfo(machine, int(runs * RUN_BYTES))
    assert default_workers(root=machine) == workers


def test_a_containers_limits_are_kept(machine: Path) -> None:
    group = machine / "sys/fs/cgroup"
    _meminfo(machine, 100 * RUN_BYTES)
    (group / "cpu.max").write_text("250000 100000\n")
    assert default_workers(root=machine) == 3
    (group / "cpu.max").write_text("max 100000\n")
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("0\n")
    assert default_workers(root=machine) == 8
    (group / "memory.max").write_text(f"{3 * RUN_BYTES}\n")
    (group / "memory.current").write_text(f"{RUN_BYTES}\n")
    assert default_workers(root=machine) == 2
    (group / "memory.current").write_text(f"{4 * RUN_BYTES}\n")
    assert default_workers(root=machine) == 1


def test_nodes_of_one_machine_share_its_cores(machine: Path) -> None:
    assert [default_workers(nodes, machine) for nodes in (1, 2, 3, 8, 9)] == [8, 4, 2, 1, 1]


def test_there_is_a_most(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(500)))
    assert default_workers(root=machine) == WORKERS_MAX


def test_a_node_that_is_not_told_has_one_for_each_core(machine: Path) -> None:
    assert workers_of(Config(), machine) == 8
    assert workers_of(Config(workers=2), machine) == 2
    assert workers_of(Config(gpu=True), machine) == 1
