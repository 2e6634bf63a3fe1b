"""Serving a live test until it is stopped."""

import socket

import trio

from node.live.site import HEADERS, LiveSite
from node.signals import until_signalled
from node.web.http import serve_http


async def serve_site(listening: socket.socket, site: LiveSite) -> None:
    """Serve on a listening socket until SIGINT or SIGTERM."""
    async with until_signalled():
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening.dup()))
        async with listener:
            await serve_http(listener, site.answer, HEADERS, ("GET", "HEAD", "POST"))
