"""What the runner's tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from node.sandbox import select_sandbox
from tests.node.runner_support import SharedRunner

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedRunner]:
    """One runner for a file's tests: its worker takes seconds to start."""
    shared = SharedRunner(select_sandbox(), tmp_path_factory.mktemp("runner"))
    yield shared
    shared.close()
