"""Fixtures of the end-to-end tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.home import Home
from tests.e2e.processes import NodeProcess, found, running
from tests.trainer.tiny import write_task


@pytest.fixture(scope="session")
def tiny_task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task whose runs take a fraction of a second."""
    return write_task(tmp_path_factory.mktemp("task"))


@pytest.fixture
def home(tmp_path: Path, tiny_task: Path) -> Home:
    """A home that has founded a swarm of its own; nothing runs on it."""
    return found(Home(tmp_path / "home"), tiny_task)


@pytest.fixture(scope="session")
def founder(tmp_path_factory: pytest.TempPathFactory, tiny_task: Path) -> Iterator[NodeProcess]:
    """A running node that several tests look at and none may harm: it proposes nothing itself."""
    home = found(Home(tmp_path_factory.mktemp("founder") / "home"), tiny_task)
    with running(home, "--agent", "none") as node:
        yield node
