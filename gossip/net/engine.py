"""One hardened libp2p host with pubsub: the settings, and the fixes applied in order.

This file decides how libp2p is set up. It refuses to know our protocols.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_ID
from libp2p.security.noise.transport import Transport as Noise
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX_ID
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from gossip.core.addresses import Address
from gossip.errors import AddressInUseError
from gossip.net import fixes
from protocol.limits_network import BUNDLE_BYTES_MAX

log = logging.getLogger(__name__)

RPC_BYTES_MAX: Final = 4 * BUNDLE_BYTES_MAX
"""One pubsub RPC: IWANT answers carry several messages."""

_CLOSE_S: Final = 10.0
"""Time to part from all peers."""

_DIAL_TIMEOUT_S: Final = 5.0
_UPGRADE_TIMEOUT_S: Final = 8.0
_NEGOTIATION_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Engine:
    """A running host. The library's types are untyped here and stay inside `gossip.net`."""

    host: Any
    router: Any
    pubsub: Any


def build_engine(
    *,
    seed: bytes,
    listen: Address,
    peers_max: int,
    clock: Callable[[], float],
    on_fault: fixes.Fault,
    transport: Any = None,
) -> Engine:
    """Build a host with pubsub; nothing runs yet.

    Args:
        seed: The node's Ed25519 seed.
        listen: Where it will listen.
        peers_max: Connections at most.
        clock: Monotonic seconds.
        on_fault: Called with a peer's libp2p id when it sent something malformed.
        transport: A libp2p transport to use instead of TCP.
    """
    fixes.silence_logging()
    fixes.batch_window_updates()
    key_pair = create_new_key_pair(seed)
    host = new_host(
        key_pair=key_pair,
        listen_addrs=[Multiaddr(listen.transport)],
        # The defaults would also accept plaintext, SECIO and mplex.
        sec_opt={NOISE_ID: Noise(key_pair, noise_privkey=create_noise_key_pair().private_key)},
        muxer_opt={TProtocol(YAMUX_ID): Yamux},
        transports=None if transport is None else [transport],
        connection_config=ConnectionConfig(
            max_connections=peers_max,
            high_watermark=peers_max,
            # Ours keeps the connections; `stop_auto_dialling` does what zero here does not.
            min_connections=0,
            low_watermark=0,
            max_connections_per_peer=1,
            dial_timeout=_DIAL_TIMEOUT_S,
            inbound_upgrade_timeout=_UPGRADE_TIMEOUT_S,
            outbound_upgrade_timeout=_UPGRADE_TIMEOUT_S,
            outbound_stream_protocol_negotiation_timeout=_NEGOTIATION_TIMEOUT_S,
            inbound_stream_protocol_negotiation_timeout=_NEGOTIATION_TIMEOUT_S,
        ),
    )
    swarm = host.get_network()
    swarm.retry_config = RetryConfig(max_retries=0)
    router = GossipSub(
        # Version 1.2's IDONTWANT doubles the CPU time of a message in this library.
        [PROTOCOL_ID_V11],
        degree=6,
        degree_low=4,
        degree_high=12,
        heartbeat_interval=1,
        gossip_window=10,
        gossip_history=30,
        adaptive_gossip_enabled=False,
        # Ten messages a second per forwarder, itself included, would be dropped silently; our
        # own limit is per author (see `gossip.net.relay`).
        spam_protection_enabled=False,
        eclipse_protection_enabled=False,
    )
    pubsub = Pubsub(
        host,
        router,
        strict_signing=True,
        max_inbound_rpc_size=RPC_BYTES_MAX,
        max_subscriptions_per_rpc=16,
        max_subscriptions_per_peer=16,
    )
    engine = Engine(host=host, router=router, pubsub=pubsub)
    _harden(engine, clock, on_fault)
    return engine


def _harden(engine: Engine, clock: Callable[[], float], on_fault: fixes.Fault) -> None:
    """Apply the fixes that act on one host."""
    swarm = engine.host.get_network()
    fixes.contain_stream_handlers(engine.host, on_fault)
    fixes.enlarge_queues(engine.pubsub)
    fixes.bound_seen_cache(engine.pubsub, clock)
    fixes.forget_failed_dials(swarm)
    fixes.release_inbound_slots(swarm)
    fixes.stop_auto_dialling(swarm)
    fixes.refuse_peer_exchange(engine.router)


@asynccontextmanager
async def run_engine(engine: Engine, listen: Address, *, probe: bool = True) -> AsyncIterator[None]:
    """Listen and run until the block ends, then close everything.

    Args:
        engine: From `build_engine`.
        listen: The same address.
        probe: Whether to check first that nobody listens there.

    Raises:
        AddressInUseError: The port is taken.
    """
    if probe:
        fixes.probe_port(listen.host, listen.port)
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(_run_until, engine, listen, stop)
        try:
            yield
        finally:
            stop.set()


async def _run_until(
    engine: Engine,
    listen: Address,
    stop: trio.Event,
    *,
    task_status: Any = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the host until `stop`, out of reach of cancellation so that it can close in order."""
    with trio.CancelScope(shield=True) as scope:
        async with (
            engine.host.run([Multiaddr(listen.transport)]),
            background_trio_service(engine.router),
            background_trio_service(engine.pubsub),
        ):
            # `host.run` says nothing when it could not listen.
            if not engine.host.get_network().listeners:
                raise AddressInUseError(f"cannot listen on {listen}")
            await engine.pubsub.wait_until_ready()
            task_status.started()
            await stop.wait()
            scope.deadline = trio.current_time() + _CLOSE_S
            await fixes.close_host(engine.host)


def listening_addresses(engine: Engine) -> list[Address]:
    """Concrete addresses that the host listens on, interface by interface."""
    found: list[Address] = []
    for listener in engine.host.get_network().listeners.values():
        for multiaddr in listener.get_addrs():
            names = {protocol.name for protocol in multiaddr.protocols()}
            kind = "ip6" if "ip6" in names else "ip4"
            address = Address(
                kind=kind,  # type: ignore[arg-type]
                host=str(multiaddr.value_for_protocol(kind)),
                port=int(multiaddr.value_for_protocol("tcp")),
            )
            found += _concrete(address) if address.unspecified else [address]
    return found


def _concrete(address: Address) -> list[Address]:
    """Every interface's address in place of 0.0.0.0 or ::."""
    from multiaddr.utils import get_network_addrs

    # Told to another machine, a loopback address would lead it to itself.
    loopback = "127.0.0.1" if address.kind == "ip4" else "::1"
    found = get_network_addrs(4 if address.kind == "ip4" else 6)
    hosts = [host for host in found if host != loopback] or [loopback]
    return [Address(kind=address.kind, host=host, port=address.port) for host in hosts]


Watcher = Callable[[Any], Awaitable[None]]
"""Called with a peer's libp2p id."""


class _Notifee:
    """Tells our side about connections, and the library nothing it did not ask."""

    def __init__(self, connected: Watcher, disconnected: Watcher) -> None:
        self._connected = connected
        self._disconnected = disconnected

    async def connected(self, network: Any, connection: Any) -> None:
        """A connection was made."""
        del network
        await self._connected(connection.muxed_conn.peer_id)

    async def disconnected(self, network: Any, connection: Any) -> None:
        """A connection ended; the peer may have another."""
        peer_id = connection.muxed_conn.peer_id
        if not network.get_connections(peer_id):
            await self._disconnected(peer_id)

    async def opened_stream(self, network: Any, stream: Any) -> None:
        """Not of interest."""

    async def closed_stream(self, network: Any, stream: Any) -> None:
        """Not of interest."""

    async def listen(self, network: Any, multiaddr: Any) -> None:
        """Not of interest."""

    async def listen_close(self, network: Any, multiaddr: Any) -> None:
        """Not of interest."""


def watch_connections(engine: Engine, connected: Watcher, disconnected: Watcher) -> None:
    """Have our side told when a peer's first connection is made and its last one ends."""
    engine.host.get_network().register_notifee(_Notifee(connected, disconnected))
