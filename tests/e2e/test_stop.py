"""A node and a demo end when they are told to, and leave no process behind."""

import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from node.control import ask
from node.errors import NotRunningError
from node.home import Home
from tests.e2e.processes import (
    POLL_S,
    ROOT,
    STOP_TIMEOUT_S,
    NodeProcess,
    cli,
    command,
    descendants,
    environment,
    running,
    still_there,
    until,
)

pytestmark = pytest.mark.e2e


def has_worker(pid: int) -> bool:
    """Whether a sandboxed worker runs below a process."""
    return any(
        b"trainer.worker" in Path(f"/proc/{child}/cmdline").read_bytes()
        for child in descendants(pid)
        if Path(f"/proc/{child}/cmdline").exists()
    )


def ends_clean(node: NodeProcess, number: signal.Signals) -> None:
    below = descendants(node.pid)
    started_s = time.monotonic()
    assert node.end(number) == 0, node.errors
    assert time.monotonic() - started_s < STOP_TIMEOUT_S
    assert still_there(below) == set()
    assert not node.home.address.exists()
    assert not node.home.control.exists()
    assert "Traceback" not in node.errors


async def test_sigterm_then_sigint_end_a_node_that_trains(home: Home) -> None:
    with running(home) as node:
        await until(lambda: node.status()["hypotheses"]["proposed"] > 0, "a hypothesis", node)
        await until(lambda: has_worker(node.pid), "a worker", node)
        acknowledged = node.status()["records"]
        ends_clean(node, signal.SIGTERM)
        records = node.stored()
        assert len(records) >= acknowledged
        # The same home goes on with everything; it now waits for a peer before it trains.
        node.start()
        assert node.status()["records"] == len(records)
        ends_clean(node, signal.SIGINT)
        assert node.stored() == records


def test_a_node_that_still_looks_for_its_swarm_can_be_stopped(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        peer = "12D3KooWGRUfyMFHzDoG8NXtFzeDKyDWdPXP4CtVo5YQPAqYTTzP"
        node = NodeProcess(
            Home(tmp_path / "home"), "--bootstrap", f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer}"
        )
        node.launch()
        try:
            # Once it has dialled, it waits for an answer that never comes.
            silent.settimeout(30)
            connection, _ = silent.accept()
            with connection:
                assert node.end(signal.SIGINT) == 0
        finally:
            node.clean_up()
        assert "Traceback" not in node.errors


async def test_killed_node_leaves_no_worker(home: Home) -> None:
    with running(home) as node:
        await until(lambda: has_worker(node.pid), "a worker", node)
        below = descendants(node.pid)
        assert node.end(signal.SIGKILL) == -signal.SIGKILL
        await until(lambda: not still_there(below), "the end of the worker", timeout_s=10)


def test_killed_demo_leaves_no_node(tmp_path: Path, tiny_task: Path) -> None:
    homes = [Home(tmp_path / "demo" / f"node-{number}") for number in (1, 2)]
    arguments = ["demo", "--nodes", "2", "--task", str(tiny_task), "--home", str(tmp_path / "demo")]
    demo = subprocess.Popen(
        command(*arguments),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline_s = time.monotonic() + 60
        while not (all(map(answers, homes)) and has_worker(demo.pid)):
            assert demo.poll() is None
            assert time.monotonic() < deadline_s, "the demo did not start"
            time.sleep(POLL_S)
        below = descendants(demo.pid)
    finally:
        demo.kill()
        demo.wait()
    deadline_s = time.monotonic() + STOP_TIMEOUT_S
    while still_there(below) and time.monotonic() < deadline_s:
        time.sleep(POLL_S)
    assert still_there(below) == set()
    # They were stopped in order, not cut off.
    assert not any(home.address.exists() for home in homes)


def answers(home: Home) -> bool:
    try:
        return bool(ask(home.control, "status"))
    except NotRunningError:
        return False


async def test_a_node_rests_goes_on_and_ends_after_what_it_runs(home: Home) -> None:
    at_home = ("--home", str(home.root))
    with running(home) as node:
        assert cli("pause", *at_home).code == 0
        await until(lambda: node.status()["worker"]["state"] == "paused", "rest", node)
        assert cli("resume", *at_home).code == 0
        await until(lambda: node.status()["worker"]["state"] == "screening", "work", node)
        assert cli("finish", *at_home).code == 0
        await until(lambda: not node.alive, "the end")
        assert node.end() == 0, node.errors
        assert "Traceback" not in node.errors
    assert cli("pause", *at_home).code == 3
