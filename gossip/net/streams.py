"""Frames on libp2p streams: requests that we make, and requests that we serve.

A frame is its length as four bytes, most significant first, and that many bytes. Requests have a
time limit each. A request that was cancelled or ran out of time may have stopped inside a write,
which leaves py-libp2p's Noise state out of step with the peer's; the connection is then closed,
for nothing sent over it could be read. This file refuses to know what the frames say.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import trio
from libp2p.connection_types import ConnectionType
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID

from gossip.core.addresses import from_peer_id, to_peer_id
from gossip.errors import AddressError, RequestError
from protocol.errors import WireError
from protocol.limits_network import FRAME_BYTES_MAX, STREAMS_PER_PEER_MAX

log = logging.getLogger(__name__)

_LENGTH_BYTES: Final = 4
_READ_BYTES: Final = 64 * 1024
_CLOSE_S: Final = 2.0

T = TypeVar("T")


class Frames:
    """Length-framed messages over one stream. One task at a time may send."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def send(self, payload: bytes) -> None:
        """Send one frame.

        Raises:
            RequestError: The peer has closed or reset the stream.
        """
        assert len(payload) <= FRAME_BYTES_MAX
        try:
            await self._stream.write(len(payload).to_bytes(_LENGTH_BYTES, "big") + payload)
        except Exception as error:
            raise RequestError(f"peer stopped listening: {type(error).__name__}") from error

    async def receive(self, bytes_max: int = FRAME_BYTES_MAX) -> bytes:
        """Receive one frame.

        Raises:
            RequestError: The peer closed the stream or reset it.
            WireError: The frame is longer than `bytes_max`; nothing of it is read.
        """
        size = int.from_bytes(await self._exactly(_LENGTH_BYTES), "big")
        if size > bytes_max:
            raise WireError(f"frame of {size} bytes is over the limit of {bytes_max}")
        return await self._exactly(size)

    async def _exactly(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            try:
                part = await self._stream.read(min(count - len(parts), _READ_BYTES))
            except Exception as error:
                raise RequestError(f"peer ended the stream: {type(error).__name__}") from error
            if not part:
                raise RequestError("peer ended the stream")
            parts += part
        return bytes(parts)


Conversation = Callable[[Frames], Awaitable[T]]
"""Our side of a request."""

Service = Callable[[bytes, Frames], Awaitable[None]]
"""Our side of a request that a peer makes: its node id, and the stream."""


def node_id_of(peer_id: Any) -> bytes | None:
    """The node id in a libp2p id; None for keys other than Ed25519, which are not nodes."""
    try:
        return from_peer_id(peer_id.to_string())
    except (AddressError, ValueError):
        return None


def libp2p_id(node_id: bytes) -> Any:
    """The libp2p id of a node."""
    return ID.from_string(to_peer_id(node_id))


async def request(
    host: Any, node_id: bytes, protocol: str, timeout_s: float, conversation: Conversation[T]
) -> T:
    """Open a stream to a connected peer, talk, and close it.

    Args:
        host: The libp2p host.
        node_id: A connected peer.
        protocol: Stream protocol to ask for.
        timeout_s: Time for everything, in seconds.
        conversation: What to say and hear; its result is returned.

    Raises:
        RequestError: Not connected, refused, cut, or out of time.
        WireError: The peer broke the protocol.
    """
    peer_id = libp2p_id(node_id)
    # The library would dial by itself, past our own dialer.
    if not host.is_peer_connected(peer_id):
        raise RequestError("peer is not connected")
    settled = False
    try:
        with trio.fail_after(timeout_s):
            stream = await _open(host, peer_id, protocol)
            try:
                result = await conversation(Frames(stream))
                await _finish(stream)
            except trio.TooSlowError:
                raise
            except Exception:
                # The conversation came to an end by itself, between frames.
                await _abandon(stream)
                settled = True
                raise
        settled = True
    except trio.TooSlowError:
        raise RequestError(f"{protocol}: no answer in time") from None
    finally:
        if not settled:
            with trio.CancelScope(shield=True), trio.move_on_after(_CLOSE_S):
                await disconnect(host, node_id)
    return result


def is_direct(host: Any, node_id: bytes) -> bool:
    """Whether a node is connected and some connection to it goes over no relay."""
    connections = host.get_network().get_connections(libp2p_id(node_id))
    return any(one.get_connection_type() != ConnectionType.RELAYED for one in connections)


async def disconnect(host: Any, node_id: bytes) -> None:
    """Close all connections to a peer."""
    try:
        await host.disconnect(libp2p_id(node_id))
    except Exception as error:  # noqa: BLE001  (per-peer boundary)
        log.debug("disconnecting failed: %r", error)


class Server:
    """Serves our stream protocols to peers, bounded in number and time."""

    def __init__(
        self,
        host: Any,
        *,
        refuses: Callable[[bytes], bool],
        on_fault: Callable[[bytes, str], None],
        on_heard: Callable[[bytes], None],
    ) -> None:
        """Serve on a host.

        Args:
            host: The libp2p host.
            refuses: Whether a node's requests are refused, such as when it is banned.
            on_fault: Called with a node id and words when it broke a protocol.
            on_heard: Called with a node id when it asks for something.
        """
        self._host = host
        self._refuses = refuses
        self._on_fault = on_fault
        self._on_heard = on_heard

    def add(
        self,
        protocol: str,
        timeout_s: float,
        service: Service,
        *,
        per_peer_max: int = STREAMS_PER_PEER_MAX,
        total_max: int | None = None,
    ) -> None:
        """Serve a protocol.

        Args:
            protocol: Its name.
            timeout_s: Time for each request, in seconds.
            service: Answers a request.
            per_peer_max: Requests served at once for one peer; further ones are refused.
            total_max: Requests served at once for all; None for no other bound than the peers'.
        """
        serving: Counter[bytes] = Counter()

        async def handle(stream: Any) -> None:
            node_id = node_id_of(stream.muxed_conn.peer_id)
            if (
                node_id is None
                or self._refuses(node_id)
                or serving[node_id] >= per_peer_max
                or (total_max is not None and serving.total() >= total_max)
            ):
                await _abandon(stream)
                return
            serving[node_id] += 1
            self._on_heard(node_id)
            try:
                await self._serve(stream, node_id, timeout_s, service)
            finally:
                serving[node_id] -= 1
                if not serving[node_id]:
                    del serving[node_id]

        self._host.set_stream_handler(TProtocol(protocol), handle)

    async def _serve(self, stream: Any, node_id: bytes, timeout_s: float, service: Service) -> None:
        try:
            with trio.fail_after(timeout_s):
                await service(node_id, Frames(stream))
                await _finish(stream)
        except trio.TooSlowError:
            await disconnect(self._host, node_id)
        except WireError as error:
            self._on_fault(node_id, str(error))
            await _abandon(stream)
        except RequestError as error:
            log.debug("request of %s ended: %s", node_id.hex()[:8], error)
            await _abandon(stream)
        except Exception:
            # Our own fault: the peer is not charged for it, and the node goes on.
            log.exception("serving a request failed")
            await _abandon(stream)


async def _open(host: Any, peer_id: Any, protocol: str) -> Any:
    try:
        return await host.new_stream(peer_id, [TProtocol(protocol)])
    except Exception as error:
        raise RequestError(f"peer refused {protocol}: {type(error).__name__}") from error


async def _finish(stream: Any) -> None:
    try:
        await stream.close()
    except Exception as error:  # noqa: BLE001  (all has been said)
        log.debug("closing a stream failed: %r", error)


async def _abandon(stream: Any) -> None:
    with trio.move_on_after(_CLOSE_S):
        try:
            await stream.reset()
        except Exception as error:  # noqa: BLE001  (the stream is broken anyway)
            log.debug("resetting a stream failed: %r", error)
