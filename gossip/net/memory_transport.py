"""A libp2p transport without sockets, so that many hosts run in one thread under a mock clock.

A `MemoryWire` is the whole network of one simulation: who listens where, how long bytes take, and
which links are cut. Everything above it (Noise, Yamux, pubsub, our protocols) is the real thing.
This file decides nothing about protocols.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import trio
from libp2p.abc import IListener, ITransport
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.transport.exceptions import OpenConnectionError
from multiaddr import Multiaddr

Place = tuple[str, int]
"""IP address and port."""

_WRITES_MAX: Final = 1_024
"""Writes under way in one direction; a writer waits beyond."""


class MemoryWire:
    """The network of one simulation."""

    def __init__(self, latency_s: Callable[[Place, Place], float] = lambda _a, _b: 0.02) -> None:
        """Start with nobody listening.

        Args:
            latency_s: Seconds that bytes take from one place to another.
        """
        self.latency_s = latency_s
        self.listeners: dict[Place, MemoryListener] = {}
        self._cut: set[frozenset[Place]] = set()
        self._lost: set[Place] = set()
        self._streams: list[tuple[frozenset[Place], MemoryStream]] = []

    def transport(self, host: str, port: int) -> "MemoryTransport":
        """A transport for a node at a place."""
        return MemoryTransport(self, (host, port))

    async def cut(self, one: Place, other: Place) -> None:
        """Break the connections between two places and refuse new ones until `mend`."""
        link = frozenset((one, other))
        self._cut.add(link)
        for at, stream in self._streams:
            if at == link:
                await stream.close()
        self._streams = [item for item in self._streams if item[0] != link]

    def lose(self, place: Place) -> None:
        """Have all bytes to and from a place vanish, and nobody told: its power has gone."""
        self._lost.add(place)

    def is_lost(self, one: Place, other: Place) -> bool:
        """Whether bytes between two places vanish."""
        return bool(self._lost & {one, other})

    def mend(self, one: Place, other: Place) -> None:
        """Let two places connect again."""
        self._cut.discard(frozenset((one, other)))

    def is_cut(self, one: Place, other: Place) -> bool:
        """Whether two places cannot connect."""
        return frozenset((one, other)) in self._cut

    def note(self, one: Place, other: Place, *streams: "MemoryStream") -> None:
        """Remember the ends of a connection."""
        self._streams += [(frozenset((one, other)), stream) for stream in streams]


class MemoryStream(ReadWriteCloser):
    """One end of a connection."""

    def __init__(
        self,
        send: "trio.MemorySendChannel[tuple[float, bytes]]",
        receive: "trio.MemoryReceiveChannel[tuple[float, bytes]]",
        remote: Place,
        latency_s: float,
        vanishes: Callable[[], bool],
    ) -> None:
        self._vanishes = vanishes
        self._send = send
        self._receive = receive
        self._remote = remote
        self._latency_s = latency_s
        self._buffer = bytearray()

    async def write(self, data: bytes) -> None:
        """Send bytes; they arrive a latency later, in order."""
        if self._vanishes():
            await trio.lowlevel.checkpoint()
            return
        try:
            await self._send.send((trio.current_time() + self._latency_s, bytes(data)))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionClosedError("memory stream is closed", transport="tcp") from error

    async def read(self, n: int | None = None) -> bytes:
        """Read what is there, at most `n` bytes; nothing at the end."""
        if n == 0:
            return b""
        if not self._buffer:
            try:
                arrives_s, data = await self._receive.receive()
            except (trio.EndOfChannel, trio.ClosedResourceError):
                return b""
            await trio.sleep_until(arrives_s)
            self._buffer += data
        count = len(self._buffer) if n is None else min(n, len(self._buffer))
        part = bytes(self._buffer[:count])
        del self._buffer[:count]
        return part

    async def close(self) -> None:
        """Close both directions; an end that nobody hears of stays open on the other side."""
        if not self._vanishes():
            self._send.close()
        self._receive.close()

    def get_remote_address(self) -> Place:
        """The other end's place."""
        return self._remote


class MemoryListener(IListener):
    """A place where a node listens."""

    def __init__(self, transport: "MemoryTransport", wire: MemoryWire, handler: Any) -> None:
        self.transport = transport
        self.handler = handler
        self._wire = wire
        self._places: list[Place] = []

    async def listen(self, maddr: Any) -> None:
        """Take a place."""
        place = _place(maddr)
        if place in self._wire.listeners:
            raise OpenConnectionError(f"{place} is taken")
        self._wire.listeners[place] = self
        self._places.append(place)

    def get_addrs(self) -> tuple[Any, ...]:
        """The places, as multiaddresses."""
        return tuple(Multiaddr(f"/ip4/{host}/tcp/{port}") for host, port in self._places)

    async def close(self) -> None:
        """Give the places back."""
        for place in self._places:
            self._wire.listeners.pop(place, None)


class MemoryTransport(ITransport):
    """How one node reaches the wire."""

    def __init__(self, wire: MemoryWire, place: Place) -> None:
        self._wire = wire
        self._place = place
        self._nursery: trio.Nursery | None = None

    def set_background_nursery(self, nursery: trio.Nursery) -> None:
        """Take the nursery for accepted connections; the library's swarm calls this."""
        self._nursery = nursery

    def accept(self, handler: Any, stream: MemoryStream) -> None:
        """Run the handler of an accepted connection."""
        assert self._nursery is not None
        self._nursery.start_soon(handler, stream)

    async def dial(self, maddr: Any) -> Any:
        """Connect to a place."""
        place = _place(maddr)
        latency_s = self._wire.latency_s(self._place, place)
        await trio.sleep(latency_s)
        listener = self._wire.listeners.get(place)
        if self._wire.is_lost(self._place, place):
            await trio.sleep_forever()
        if listener is None or self._wire.is_cut(self._place, place):
            raise OpenConnectionError(f"nobody answers at {place}")
        there, from_here = trio.open_memory_channel[tuple[float, bytes]](_WRITES_MAX)
        here, from_there = trio.open_memory_channel[tuple[float, bytes]](_WRITES_MAX)
        vanishes = partial(self._wire.is_lost, self._place, place)
        mine = MemoryStream(there, from_there, place, latency_s, vanishes)
        theirs = MemoryStream(here, from_here, self._place, latency_s, vanishes)
        self._wire.note(self._place, place, mine, theirs)
        listener.transport.accept(listener.handler, theirs)
        return RawConnection(mine, True)

    def create_listener(self, handler_function: Any) -> "MemoryListener":
        """A listener that is not listening yet."""
        return MemoryListener(self, self._wire, handler_function)

    def can_dial(self, maddr: Any) -> bool:
        """Whether an address is one of plain TCP, which this stands in for."""
        names = {protocol.name for protocol in maddr.protocols()}
        return "tcp" in names and not names & {"ws", "wss"}

    def can_listen(self, maddr: Any) -> bool:
        """The same as for dialling."""
        return self.can_dial(maddr)

    def protocols(self) -> list[str]:
        """Protocols that this stands in for."""
        return ["tcp"]


def _place(maddr: Any) -> Place:
    return str(maddr.value_for_protocol("ip4")), int(maddr.value_for_protocol("tcp"))
