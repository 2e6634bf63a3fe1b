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


def reproducibly(work: Callable[[], Awaitable[None]], seed: int) -> None:
    """Run on a clock that jumps, in one thread and in an order that follows from a seed.

    What is meant for a thread holds up everything, in no time at all; so a long piece of work that
    was cut off comes to the same again.
    """

    async def here(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        del options
        await trio.lowlevel.checkpoint()
        return function(*arguments)

    clock = trio.testing.MockClock(autojump_threshold=0)
    order = trio._core._run  # type: ignore[attr-defined]
    state = order._r.getstate()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trio.to_thread, "run_sync", here)
        patch.setattr(order, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
        order._r.seed(seed)
        try:
            trio.run(work, clock=clock)
        finally:
            order._r.setstate(state)
