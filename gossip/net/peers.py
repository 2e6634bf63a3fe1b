"""The connected peers: who they are, what they last said, and their standing.

This file decides whom we refuse. It refuses to know how bytes travel.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from gossip.core.messages import Greeting
from gossip.core.rates import Standings
from gossip.interface import PeerInfo

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Peer:
    """One connected peer.

    Attributes:
        node_id: Its Ed25519 public key.
        connected_s: When its connection was made.
        seen_s: When it last said anything.
        greeting: What it last said about itself.
        rtt_ms: Round trip of our last hello.
        outbound: Whether we dialled it.
        greeted_s: When hellos were last exchanged, whoever began.
        greeting_now: Whether a hello of ours is under way.
        failures: Hellos in a row that it did not answer.
        synced_s: When we last began to reconcile with it.
        sync_failures: Reconciliations in a row that it did not see through.
        sync_again_s: Before then it is not asked again.
        exchanged_s: When we last asked it for addresses.
        agreed: Whether its set of records was once found, or made, equal to ours.
    """

    node_id: bytes
    connected_s: float
    seen_s: float
    greeting: Greeting | None = None
    rtt_ms: float | None = None
    outbound: bool = False
    greeted_s: float | None = None
    greeting_now: bool = False
    failures: int = 0
    synced_s: float | None = None
    sync_failures: int = 0
    sync_again_s: float = 0.0
    exchanged_s: float | None = None
    agreed: bool = False


class PeerTable:
    """All connected peers, and the standing of all that ever were."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        """Start empty.

        Args:
            clock: Monotonic seconds.
        """
        self._clock = clock
        self.on_ban: Callable[[bytes], None] = ignore_ban
        self._standings = Standings()
        self._peers: dict[bytes, Peer] = {}
        self.swarm_id: bytes | None = None

    def connected(self, node_id: bytes) -> Peer:
        """Note a connection."""
        now_s = self._clock()
        return self._peers.setdefault(node_id, Peer(node_id, now_s, now_s))

    def disconnected(self, node_id: bytes) -> None:
        """Note the end of a peer's last connection."""
        self._peers.pop(node_id, None)

    def get(self, node_id: bytes) -> Peer | None:
        """The peer, while it is connected."""
        return self._peers.get(node_id)

    def all(self) -> list[Peer]:
        """All connected peers."""
        return list(self._peers.values())

    def ids(self) -> set[bytes]:
        """Node ids of all connected peers."""
        return set(self._peers)

    def members(self) -> list[Peer]:
        """Connected peers that have said they belong to our swarm."""
        return [peer for peer in self._peers.values() if self.same_swarm(peer.node_id)]

    def agreed(self, node_id: bytes) -> None:
        """Note that a peer's set of records is ours."""
        peer = self._peers.get(node_id)
        if peer is not None:
            peer.agreed = True

    def agreeing(self) -> int:
        """How many connected members once had the same set of records as we."""
        return sum(peer.agreed for peer in self.members())

    def dialled(self) -> int:
        """How many members we have dialled ourselves.

        Only these count as enough: anybody can fill our table with connections made to us.
        """
        return sum(peer.outbound for peer in self.members())

    def same_swarm(self, node_id: bytes) -> bool:
        """Whether a peer is connected and has said that it belongs to our swarm."""
        peer = self._peers.get(node_id)
        return (
            self.swarm_id is not None
            and peer is not None
            and peer.greeting is not None
            and peer.greeting.hello.swarm == self.swarm_id
        )

    def heard(self, node_id: bytes) -> None:
        """A peer said something."""
        peer = self._peers.get(node_id)
        if peer is not None:
            peer.seen_s = self._clock()

    def greeted(self, node_id: bytes, greeting: Greeting, rtt_ms: float | None) -> None:
        """Note a peer's hello; with a round trip when it answered one of ours."""
        peer = self._peers.get(node_id)
        if peer is None:
            return
        peer.greeting = greeting
        peer.seen_s = self._clock()
        peer.greeted_s = peer.seen_s
        peer.failures = 0
        if rtt_ms is not None:
            peer.rtt_ms = rtt_ms

    def greet_all_again(self) -> None:
        """Let every peer be greeted now, such as after we entered a swarm."""
        for peer in self._peers.values():
            peer.greeted_s = None

    def refused(self, node_id: bytes) -> bool:
        """Whether a node is banned at present."""
        return self._standings.banned(node_id, self._clock())

    def fault(self, node_id: bytes, points: float, words: str) -> None:
        """Charge a peer for a fault; it may lead to a ban."""
        log.info("peer %s: %s", node_id.hex()[:8], words)
        if self._standings.fault(node_id, points, self._clock()):
            log.warning("peer %s is banned for a while: %s", node_id.hex()[:8], words)
            self.on_ban(node_id)

    def infos(self, is_direct: Callable[[bytes], bool]) -> list[PeerInfo]:
        """What `status` shows.

        Args:
            is_direct: Whether a peer's connection goes over no relay.
        """
        now_s = self._clock()
        return [
            PeerInfo(
                node_id=peer.node_id,
                addresses=() if peer.greeting is None else peer.greeting.addresses,
                direct=is_direct(peer.node_id),
                rtt_ms=peer.rtt_ms,
                last_seen_s=max(0.0, now_s - peer.seen_s),
                hello=None if peer.greeting is None else peer.greeting.hello,
            )
            for peer in sorted(self._peers.values(), key=lambda peer: peer.node_id)
        ]


def ignore_ban(node_id: bytes) -> None:
    """Do nothing about a ban: there is no connection to close."""
    del node_id
