"""Meeting other nodes: dialling, hellos, and the exchange of addresses.

`/swarm-node/hello/1` carries a greeting each way, and the genesis envelope to one who asks.
`/swarm-node/peers/1` answers with addresses of other nodes. This file decides who counts as met
and whom we part from. It refuses to know when meetings are due.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

import trio
from multiaddr import Multiaddr

from gossip.core.addresses import Address, parse_dialable
from gossip.core.dialer import Dialer
from gossip.core.messages import (
    Greeting,
    decode_addresses,
    decode_greeting,
    encode_addresses,
    encode_greeting,
)
from gossip.core.rates import FAULT_FRAME
from gossip.errors import RequestError, UnreachableError, WrongSwarmError
from gossip.interface import RecordStore
from gossip.net.peers import PeerTable
from gossip.net.streams import (
    Conversation,
    Frames,
    disconnect,
    is_direct,
    libp2p_id,
    node_id_of,
    request,
)
from protocol.errors import WireError
from protocol.limits import ENVELOPE_BYTES_MAX
from protocol.limits_network import HELLO_BYTES_MAX, HELLO_TIMEOUT_S, PEER_EXCHANGE_MAX

log = logging.getLogger(__name__)

HELLO_PROTOCOL: Final = "/swarm-node/hello/1"
PEERS_PROTOCOL: Final = "/swarm-node/peers/1"

T = TypeVar("T")


class Meetings:
    """Connects us to other nodes and introduces us."""

    def __init__(self, host: Any, store: RecordStore, peers: PeerTable, dialer: Dialer) -> None:
        self._host = host
        self._store = store
        self._peers = peers
        self._dialer = dialer
        self.own_addresses: tuple[str, ...] = ()

    async def ask(
        self, node_id: bytes, protocol: str, timeout_s: float, conversation: Conversation[T]
    ) -> T:
        """Make a request to a connected peer and charge it for broken protocol.

        Raises:
            RequestError: The request failed, for whatever reason.
        """
        try:
            result = await request(self._host, node_id, protocol, timeout_s, conversation)
        except WireError as error:
            self._peers.fault(node_id, FAULT_FRAME, f"{protocol}: {error}")
            raise RequestError(f"peer broke {protocol}: {error}") from error
        self._peers.heard(node_id)
        return result

    async def meet(
        self, node_id: bytes, addresses: Sequence[Address], *, genesis: bool = False
    ) -> tuple[Address | None, Greeting, bytes | None]:
        """Connect to a node, unless we are connected, and exchange hellos.

        Returns:
            The address that answered (None if we were connected), the node's greeting, and the
            genesis envelope if it was wanted and the node has one.

        Raises:
            UnreachableError: No address answered as that node.
            WrongSwarmError: It belongs to another swarm; the connection is closed.
        """
        address = None
        if not self._host.is_peer_connected(libp2p_id(node_id)):
            address = await self._dial(node_id, addresses)
        try:
            greeting, envelope = await self.greet(node_id, genesis=genesis)
        except RequestError as error:
            await self.part_from(node_id)
            places = ", ".join(str(place) for place in addresses)
            raise UnreachableError(f"{places} does not answer as a swarm-node: {error}") from error
        return address, greeting, envelope

    async def greet(
        self, node_id: bytes, *, genesis: bool = False
    ) -> tuple[Greeting, bytes | None]:
        """Exchange hellos with a connected peer.

        Raises:
            RequestError: It did not answer.
            WrongSwarmError: It belongs to another swarm; the connection is closed.
        """
        rtt_s = 0.0

        async def conversation(frames: Frames) -> tuple[Greeting, bytes | None]:
            nonlocal rtt_s
            start_s = trio.current_time()
            await frames.send(encode_greeting(self._greeting(genesis=genesis)))
            answer = decode_greeting(await frames.receive(HELLO_BYTES_MAX), sender=node_id)
            rtt_s = trio.current_time() - start_s
            envelope = None
            if genesis and answer.genesis:
                envelope = await frames.receive(ENVELOPE_BYTES_MAX)
            return answer, envelope

        greeting, envelope = await self.ask(node_id, HELLO_PROTOCOL, HELLO_TIMEOUT_S, conversation)
        self._peers.greeted(node_id, greeting, rtt_s * 1e3)
        ours, theirs = self._peers.swarm_id, greeting.hello.swarm
        if ours is not None and theirs is not None and ours != theirs:
            self._dialer.forget(node_id)
            await self.part_from(node_id)
            raise WrongSwarmError(
                f"the peer belongs to swarm {theirs.hex()[:12]}, not to {ours.hex()[:12]}"
            )
        self._dialer.learn(map(parse_dialable, greeting.addresses))
        return greeting, envelope

    async def exchange(self, node_id: bytes) -> None:
        """Ask a peer for addresses of others.

        Raises:
            RequestError: It did not answer.
        """

        async def conversation(frames: Frames) -> tuple[str, ...]:
            return decode_addresses(await frames.receive(HELLO_BYTES_MAX))

        addresses = await self.ask(node_id, PEERS_PROTOCOL, HELLO_TIMEOUT_S, conversation)
        self._dialer.learn(
            address
            for address in map(parse_dialable, addresses)
            if address.node_id is not None and not self._peers.refused(address.node_id)
        )

    async def serve_hello(self, node_id: bytes, frames: Frames) -> None:
        """Answer a hello."""
        theirs = decode_greeting(await frames.receive(HELLO_BYTES_MAX), sender=node_id)
        self._peers.greeted(node_id, theirs, None)
        envelopes = []
        if theirs.genesis and self._peers.swarm_id is not None:
            envelopes = await self._store.envelopes([self._peers.swarm_id])
        await frames.send(encode_greeting(self._greeting(genesis=bool(envelopes))))
        for envelope in envelopes[:1]:
            await frames.send(envelope)
        if self._peers.same_swarm(node_id):
            self._dialer.learn(map(parse_dialable, theirs.addresses))

    async def serve_peers(self, node_id: bytes, frames: Frames) -> None:
        """Answer a peer that asks for addresses."""
        if not self._peers.same_swarm(node_id):
            raise RequestError("not of our swarm")
        # Connected members vouch for their own addresses: whoever dials one checks its key.
        shared = [
            peer.greeting.addresses[0]
            for peer in self._peers.members()
            if peer.node_id != node_id and peer.greeting is not None and peer.greeting.addresses
        ]
        shared += map(str, self._dialer.share(PEER_EXCHANGE_MAX, asker=node_id))
        await frames.send(encode_addresses(list(dict.fromkeys(shared))[:PEER_EXCHANGE_MAX]))

    async def part_from(self, node_id: bytes) -> None:
        """Close the connections to a peer."""
        await disconnect(self._host, node_id)
        self._peers.disconnected(node_id)

    def is_direct(self, node_id: bytes) -> bool:
        """Whether a peer is reached without a relay, as far as the engine knows."""
        return is_direct(self._host, node_id)

    async def connected(self, peer_id: Any) -> None:
        """The engine has made or accepted a connection."""
        node_id = node_id_of(peer_id)
        if node_id is None or self._peers.refused(node_id):
            await self._host.disconnect(peer_id)
            return
        self._peers.connected(node_id)

    async def disconnected(self, peer_id: Any) -> None:
        """A peer's last connection has ended."""
        node_id = node_id_of(peer_id)
        if node_id is not None:
            self._peers.disconnected(node_id)

    def own_greeting(self) -> Greeting:
        """What we say about ourselves now."""
        return self._greeting(genesis=False)

    def _greeting(self, *, genesis: bool) -> Greeting:
        hello = self._store.hello()
        if self._peers.swarm_id is not None:
            hello = replace(hello, swarm=self._peers.swarm_id)
        return Greeting(hello=hello, addresses=self.own_addresses, genesis=genesis)

    async def _dial(self, node_id: bytes, addresses: Sequence[Address]) -> Address:
        """Try a node's addresses one after the other; the library would try only one."""
        peer_id = libp2p_id(node_id)
        swarm = self._host.get_network()
        failures = []
        for address in addresses:
            try:
                with trio.fail_after(HELLO_TIMEOUT_S):
                    await swarm.dial_addr(Multiaddr(address.transport), peer_id)
            except Exception as error:  # noqa: BLE001  (per-peer boundary)
                failures.append(f"{address} ({_reason(error)})")
            else:
                self._peers.connected(node_id).outbound = True
                return address
        raise UnreachableError(f"no answer from {', '.join(failures)}")


def _reason(error: BaseException) -> str:
    """The innermost cause, which is the one that a person can act on."""
    inner: BaseException | None = error
    while inner is not None:
        error = inner
        inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
