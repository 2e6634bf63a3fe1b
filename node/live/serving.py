"""Serving a live test until it is stopped."""

import signal
import socket
from collections.abc import AsyncIterator

import trio

from node.live.site import HEADERS, LiveSite
from node.web.http import serve_http


async def serve_site(listening: socket.socket, site: LiveSite) -> None:
    """Serve on a listening socket until SIGINT or SIGTERM."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_end_on_signal, signals, nursery.cancel_scope)
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening.dup()))
            async with listener:
                await serve_http(listener, site.answer, HEADERS, ("GET", "HEAD", "POST"))


async def _end_on_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()
