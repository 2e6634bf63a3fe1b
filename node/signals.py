"""Ctrl-C and a service manager's stop become an ordinary cancellation: all ends in order."""

import contextlib
import signal
from collections.abc import AsyncIterator

import trio


@contextlib.asynccontextmanager
async def until_signalled() -> AsyncIterator[trio.Nursery]:
    """A nursery that is cancelled by SIGINT or SIGTERM, from the moment it is entered."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on_signal, signals, nursery.cancel_scope)
            yield nursery


async def _cancel_on_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()
