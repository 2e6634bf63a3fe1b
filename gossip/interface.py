"""What the node and the network engine know of each other: types only, no engine.

The engine sees records as opaque envelopes; everything it needs to know about them it asks
through `RecordStore`. Importing this module is cheap: libp2p comes in only when a network serves.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from gossip.core.addresses import parse_address, parse_dialable
from gossip.core.index import RecordIndex
from gossip.core.messages import Hello
from gossip.errors import AddressError

Verdict = Literal["accepted", "known", "held", "deferred", "rejected"]
"""What became of a record: stored; there already; waiting for what it refers to, or for its
author's rate; not taken because we ourselves can store nothing now; proven wrong by its own bytes,
which counts against the peer that sent it."""


class RecordStore(Protocol):
    """What the node gives to the network."""

    async def on_records(self, envelopes: Sequence[bytes], peer: bytes) -> list[Verdict]:
        """Take in received records, in their order; the answers come once all are durable.

        Args:
            envelopes: Bytes from a stranger, at most `ENVELOPE_BYTES_MAX` each.
            peer: Node id of the peer that handed them over, not necessarily their author.

        Returns:
            One verdict an envelope.
        """

    async def on_notice(self, notice: bytes, peer: bytes) -> None:
        """Take in a short-lived notice, at most `NOTICE_BYTES_MAX` bytes from a stranger."""

    def index(self) -> RecordIndex:
        """The sorted set of all records here; the store keeps adding to it."""

    async def envelopes(self, ids: Sequence[bytes]) -> list[bytes]:
        """Envelopes of those records that are here, in the order asked."""

    async def open_blob(self, digest: bytes) -> Path | None:
        """File that holds a blob's bytes, or None."""

    def hello(self) -> Hello:
        """What to say about this node now. The engine fills in the swarm id after `enter`."""


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """How the engine is to run.

    Attributes:
        seed: 32-byte Ed25519 seed of the node's own key.
        listen: Where to listen, such as `/ip4/127.0.0.1/tcp/0` (port 0: any free one).
        advertise: Addresses told to others instead of those listened on, without or with our
            peer id.
        bootstrap: Addresses of peers to start from, with their peer ids.
        wanted_peers: Connections that the dialer tries to keep.
        peers_max: Connections accepted at most.
        sync_period_s: Mean time between reconciliations with a random peer.
        hello_period_s: Time between hellos to each peer, which also find dead connections.

    Raises:
        AddressError: An address cannot be used for its purpose.
    """

    seed: bytes = field(repr=False)
    listen: str = "/ip4/127.0.0.1/tcp/0"
    advertise: tuple[str, ...] = ()
    bootstrap: tuple[str, ...] = ()
    wanted_peers: int = 8
    peers_max: int = 64
    sync_period_s: float = 5.0
    hello_period_s: float = 10.0

    def __post_init__(self) -> None:
        assert len(self.seed) == 32
        assert 0 < self.wanted_peers <= self.peers_max
        if parse_address(self.listen).kind not in {"ip4", "ip6"}:
            raise AddressError(f"{self.listen!r}: listen on an IP address")
        for text in self.bootstrap:
            parse_dialable(text)
        for text in self.advertise:
            address = parse_address(text)
            if address.port == 0 or address.unspecified:
                raise AddressError(f"{text!r} cannot be advertised: host and port must be concrete")


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """A connected peer, as `status` shows it.

    Attributes:
        node_id: Its Ed25519 public key.
        addresses: Where it says it can be dialled.
        direct: Whether the connection is direct, not over a relay.
        rtt_ms: Round trip of the last hello that we sent; None before the first.
        last_seen_s: Seconds since it last said anything to us.
        hello: Its last hello; None until it has introduced itself.
    """

    node_id: bytes
    addresses: tuple[str, ...]
    direct: bool
    rtt_ms: float | None
    last_seen_s: float
    hello: Hello | None


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What one reconciliation brought.

    Attributes:
        received: Records that were new here.
        sent: Records handed to the peer.
        complete: Whether the whole set was compared and every difference was handled.
    """

    received: int
    sent: int
    complete: bool
