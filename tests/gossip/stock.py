"""Hosts as py-libp2p gives them, for tests that show its faults."""

from typing import Any

from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pubsub import Pubsub
from multiaddr import Multiaddr

LOOPBACK = Multiaddr("/ip4/127.0.0.1/tcp/0")


def bare(number: int) -> Any:
    """A host as it comes."""
    return new_host(key_pair=create_new_key_pair(bytes([number]) * 32), listen_addrs=[LOOPBACK])


def stock(number: int, **settings: Any) -> tuple[Any, Any, Any]:
    """A host with pubsub as it comes; it accepts connections only while pubsub runs."""
    host = bare(number)
    router = GossipSub(
        [PROTOCOL_ID_V11],
        degree=2,
        degree_low=1,
        degree_high=4,
        heartbeat_interval=1,
        **settings,
    )
    return host, router, Pubsub(host, router)


class FakeStream:
    """A stream of a peer whose bytes are given."""

    def __init__(self, data: bytes, peer_id: Any) -> None:
        self.data = data
        self.muxed_conn = type("Connection", (), {"peer_id": peer_id})
        self.metric_send_channel = None
        self.was_reset = False

    async def read(self, count: int) -> bytes:
        part, self.data = self.data[:count], self.data[count:]
        return part

    async def reset(self) -> None:
        self.was_reset = True


def listening(host: Any) -> Any:
    (address,) = [
        address
        for listener in host.get_network().listeners.values()
        for address in listener.get_addrs()
    ]
    return address
