"""What py-libp2p 0.8.1 gets wrong, and how each is put right.

Every function repairs one fault of the stock library and says which. `tests/gossip/test_fixes_*.py`
shows each stock fault, so that a new release tells us when its fix can go. The functions act on
one host or pubsub object, except where the library offers only a class or a module to act on.
This file decides nothing about our own protocols.
"""

import errno
import ipaddress
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio
from libp2p.abc import IMuxedConn
from libp2p.network.connection import swarm_connection
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.stream_muxer.yamux import yamux

from gossip.core.rates import SeenCache
from gossip.errors import AddressInUseError
from protocol.limits_network import HANDSHAKES_PER_ORIGIN_MAX

log = logging.getLogger(__name__)

QUEUE_MESSAGES_MAX: Final = 4_096
"""Outbound pubsub messages queued for one peer. At 32, a burst of 333 delivered a tenth."""

_SMALL_READ_BYTES: Final = 16 * 1024
_WINDOW_RESERVE_BYTES: Final = 128 * 1024

Fault = Callable[[Any], None]
"""Called with the libp2p id of a peer that sent something malformed."""


def silence_logging() -> None:
    """Keep the library off stderr.

    Stock fault: its logger has neither handlers nor a parent, so Python's last-resort handler
    prints its warnings; and `swarm_connection` logs through `logging.warning`, which installs a
    handler on the root logger and makes every program's log appear on stderr.
    """
    library = logging.getLogger("libp2p")
    if not any(isinstance(handler, logging.NullHandler) for handler in library.handlers):
        library.addHandler(logging.NullHandler())
    swarm_connection.logging = logging.getLogger(swarm_connection.__name__)


def probe_port(host: str, port: int) -> None:
    """Refuse a port on which someone listens already.

    Stock fault: the library listens with SO_REUSEPORT, so that two nodes can be given one port,
    and each gets a random half of the connections, without any error.

    Raises:
        AddressInUseError: Someone listens there, or the address is not one of this machine.
    """
    if port == 0:
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As for any server: a port whose last connections are still timing out is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise AddressInUseError(f"port {port} on {host} is in use") from error
            raise AddressInUseError(f"cannot listen on {host} port {port}: {error}") from error


def contain_stream_handlers(host: Any, on_fault: Fault) -> None:
    """Let a failing stream end alone.

    Stock fault: an exception in the negotiation or the handler of one inbound stream leaves the
    connection's nursery and ends the whole host.
    """
    stock: Callable[[Any], Awaitable[None]] = host._swarm_stream_handler  # noqa: SLF001

    async def contained(stream: Any) -> None:
        try:
            await stock(stream)
        except Exception as error:  # noqa: BLE001  (per-peer boundary)
            log.debug("stream of %s failed: %r", stream.muxed_conn.peer_id, error)
            on_fault(stream.muxed_conn.peer_id)
            await _reset(stream)

    host.get_network().set_stream_handler(contained)


def contain_pubsub(pubsub: Any, on_fault: Fault) -> None:
    """Let garbage on a pubsub stream end that stream alone, and a bad message nothing.

    Stock fault: an RPC that does not parse as protobuf, a malformed `from` or `key`, and any
    exception in a validator leave the service's nursery and end the whole host.
    """
    stock_handler = pubsub.stream_handler
    stock_push = pubsub.push_msg

    async def stream_handler(stream: Any) -> None:
        peer_id = stream.muxed_conn.peer_id
        try:
            await stock_handler(stream)
        except Exception as error:  # noqa: BLE001  (per-peer boundary)
            log.debug("pubsub stream of %s failed: %r", peer_id, error)
            on_fault(peer_id)
            await _reset(stream)
            pubsub._handle_dead_peer(peer_id)  # noqa: SLF001

    async def push_msg(forwarder: Any, message: Any) -> None:
        if forwarder == pubsub.my_id:
            await stock_push(forwarder, message)
            return
        try:
            await stock_push(forwarder, message)
        except Exception as error:  # noqa: BLE001  (per-peer boundary)
            log.debug("pubsub message from %s failed: %r", forwarder, error)
            on_fault(forwarder)

    pubsub.stream_handler = stream_handler
    pubsub.push_msg = push_msg
    for protocol in pubsub.router.get_protocols():
        pubsub.host.set_stream_handler(protocol, stream_handler)


def deliver_in_validator(pubsub: Any, admit: Callable[[Any, Any], bool]) -> None:
    """Validate each message once, and bound what is in validation.

    Stock faults: a message is marked as seen only after its validation, so that copies from
    several peers are validated, delivered and relayed several times; there is no bound on
    waiting validations; and a subscription's channel of 32 messages drops the rest silently.
    Our validators deliver the messages themselves, so the channel is not used at all.

    Args:
        pubsub: The pubsub object.
        admit: Called with the forwarder's id and the message before its signature is checked;
            False drops the message without a trace, so that another copy may still pass.
    """
    stock_push = pubsub.push_msg
    in_flight: set[bytes] = set()

    async def push_msg(forwarder: Any, message: Any) -> None:
        if forwarder == pubsub.my_id:
            await stock_push(forwarder, message)
            return
        message_id = pubsub.get_message_id(message)
        if message_id in in_flight or pubsub.seen_messages.has(message_id):
            return
        if not admit(forwarder, message):
            return
        in_flight.add(message_id)
        try:
            await stock_push(forwarder, message)
        finally:
            in_flight.discard(message_id)

    def notify_subscriptions(message: Any) -> None:
        del message

    pubsub.push_msg = push_msg
    pubsub.notify_subscriptions = notify_subscriptions
    pubsub.validations_in_flight = in_flight


class _EnlargedQueues(dict[Any, Any]):
    """Peer queues that grow to our size as they are registered."""

    def __setitem__(self, peer_id: Any, queue: Any) -> None:
        queue._queue.max_size = QUEUE_MESSAGES_MAX  # noqa: SLF001
        super().__setitem__(peer_id, queue)


def enlarge_queues(pubsub: Any) -> None:
    """Let bursts wait instead of losing them.

    Stock fault: at most 32 messages wait for a peer; further ones are dropped silently.
    """
    pubsub.peer_queues = _EnlargedQueues(pubsub.peer_queues)


class _MonotonicSeenCache:
    """The library's cache interface over our bounded one."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen = SeenCache()

    def has(self, key: bytes) -> bool:
        """Whether a message id is remembered."""
        return self._seen.has(key, self._clock())

    def add(self, key: bytes) -> bool:
        """Remember a message id."""
        return self._seen.add(key, self._clock())

    def length(self) -> int:
        """How many ids are remembered."""
        return len(self._seen)


def bound_seen_cache(pubsub: Any, clock: Callable[[], float]) -> None:
    """Remember message ids by a monotonic clock, in bounded memory, without a thread.

    Stock faults: the cache reads wall time, so that a step of the clock forgets everything; it
    has no bound on its size; and each host leaves a thread behind for ever.
    """
    pubsub.seen_messages.stop()
    pubsub.seen_messages = _MonotonicSeenCache(clock)


class _NoNegativeCache:
    """Remembers no failure."""

    def mark_failed(self, peer_id: str) -> None:
        """Ignore a failure."""

    def is_blocked(self, peer_id: str) -> bool:
        """Never."""
        del peer_id
        return False

    def evict(self, peer_id: str) -> None:
        """Nothing to forget."""

    def clear(self) -> None:
        """Nothing to forget."""


def forget_failed_dials(swarm: Any) -> None:
    """Leave back-off to our dialer.

    Stock fault: after one failed dial, a peer is refused for 60 seconds, even at an address that
    would answer.
    """
    swarm._negative_peer_cache = _NoNegativeCache()  # noqa: SLF001


def release_inbound_slots(swarm: Any) -> None:
    """Give an inbound connection's slot back when the connection ends, and hand slots out fairly.

    Stock faults: the inbound handler waits for the *swarm* to end, so that each connection ever
    accepted keeps a slot, four tasks and a file descriptor; after some hundreds the node is deaf.
    And whoever opens connections and says nothing holds a slot each for as long as a handshake may
    take, so that one machine can keep all others out.
    """
    stock = swarm._do_handle_inbound_connection  # noqa: SLF001
    shaking_hands: Counter[str] = Counter()

    async def handle(reader_writer: Any, listen_address: Any, failure_event: Any) -> None:
        if isinstance(reader_writer, IMuxedConn):
            await stock(reader_writer, listen_address, failure_event)
            return
        remote = swarm._build_remote_multiaddr(reader_writer)  # noqa: SLF001
        if remote is not None and not await swarm.connection_gate.is_allowed(remote):
            await reader_writer.close()
            return
        origin = origin_of(reader_writer)
        if shaking_hands[origin] >= HANDSHAKES_PER_ORIGIN_MAX:
            log.info("too many handshakes at once from %s", origin)
            await reader_writer.close()
            return
        raw = RawConnection(reader_writer, False)
        try:
            shaking_hands[origin] += 1
            try:
                connection = await swarm.upgrade_inbound_raw_conn(raw, listen_address)
            finally:
                shaking_hands[origin] -= 1
                if not shaking_hands[origin]:
                    del shaking_hands[origin]
            await connection.event_closed.wait()
        except Exception as error:  # noqa: BLE001  (per-peer boundary)
            log.debug("inbound connection from %s failed: %r", remote, error)
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(1):
                await _close(raw)

    swarm._do_handle_inbound_connection = handle  # noqa: SLF001


def origin_of(reader_writer: Any) -> str:
    """Who answers for a connection: an IPv4 address, or the /64 network of an IPv6 address."""
    remote = reader_writer.get_remote_address()
    if remote is None:
        return ""
    try:
        address = ipaddress.ip_address(remote[0].partition("%")[0])
    except ValueError:
        return str(remote[0])
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.version == 4:
        return str(address)
    # Whoever has one address of such a network has all of them.
    return str(ipaddress.ip_network((address, 64), strict=False))


def stop_auto_dialling(swarm: Any) -> None:
    """Leave the choice of peers to our dialer.

    Stock fault: the auto-connector dials whatever address a peer once mentioned until there are
    (low + high watermark) / 2 connections, also when both minima are zero.
    """

    async def maybe_connect() -> None:
        """Dial nobody."""

    swarm.auto_connector.maybe_connect = maybe_connect


def refuse_peer_exchange(router: Any) -> None:
    """Dial nobody because a pubsub peer said so.

    Stock fault: any peer's PRUNE may name peers, and the router connects to them, one after the
    other, while that peer's pubsub stream waits; switching `do_px` off only stops it from naming
    peers itself.
    """

    async def do_px(peers: Any) -> None:
        del peers

    router._do_px = do_px  # noqa: SLF001


STOCK_WINDOW_UPDATE: Final = yamux.YamuxStream._auto_tune_and_send_window_update  # noqa: SLF001


async def _batched_window_update(self: Any, *, bytes_read: int = 0) -> None:
    pending = getattr(self, "_small_reads_bytes", 0) + bytes_read
    if pending < _SMALL_READ_BYTES and self.recv_window > _WINDOW_RESERVE_BYTES:
        self._small_reads_bytes = pending
        return
    self._small_reads_bytes = 0
    await STOCK_WINDOW_UPDATE(self, bytes_read=pending)


def batch_window_updates() -> None:
    """Send window updates for 16 KiB, not for every read.

    Stock fault: every `read`, even of the one byte of a length, sends a frame of its own, which
    is encrypted, written and answered by a wake-up on the other side. It acts on the class; doing
    it twice is the same as once.
    """
    yamux.YamuxStream._auto_tune_and_send_window_update = _batched_window_update  # noqa: SLF001


async def close_host(host: Any) -> None:
    """Close what `host.run()` leaves open: connections, sockets, and system tasks.

    Stock faults: leaving `host.run()` alone leaks the listener's system task; when it is left by
    cancellation, closing a connection is itself cancelled and its socket stays open; and each
    connection takes .2 s to close, one after the other. So this has to be called while the host
    still runs, in a scope that is shielded from cancellation.
    """
    swarm = host.get_network()
    async with trio.open_nursery() as nursery:
        for peer_id in list(swarm.connections):
            nursery.start_soon(_close_peer, swarm, peer_id)
    await host.close()


async def _close_peer(swarm: Any, peer_id: Any) -> None:
    try:
        await swarm.close_peer(peer_id)
    except Exception as error:  # noqa: BLE001  (per-peer boundary)
        log.debug("closing the connection to %s failed: %r", peer_id, error)


async def _reset(stream: Any) -> None:
    with trio.move_on_after(1):
        try:
            await stream.reset()
        except Exception as error:  # noqa: BLE001  (the stream is broken anyway)
            log.debug("reset failed: %r", error)


async def _close(raw: Any) -> None:
    try:
        await raw.close()
    except Exception as error:  # noqa: BLE001  (the connection is broken anyway)
        log.debug("close failed: %r", error)
