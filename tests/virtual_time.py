"""Virtual time for code that works in threads too."""

import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing


def virtually(test: Callable[[], Awaitable[None]]) -> None:
    """Run on a clock that jumps whenever nothing is to do, threads included."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    in_thread = trio.to_thread.run_sync
    running = 0

    async def held(*arguments: Any, **options: Any) -> Any:
        nonlocal running
        running += 1
        clock.autojump_threshold = math.inf
        try:
            return await in_thread(*arguments, **options)
        finally:
            running -= 1
            clock.autojump_threshold = math.inf if running else 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trio.to_thread, "run_sync", held)
        trio.run(test, clock=clock)
