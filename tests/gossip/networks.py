"""Real networks on loopback for tests."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import trio

from gossip.interface import NetworkConfig
from gossip.net.host import Network
from tests.gossip.fakes import SWARM, FakeStore

FAST = NetworkConfig(seed=bytes(32), sync_period_s=0.3, hello_period_s=0.5)
"""Short periods: tests wait for real clocks on loopback."""


def make_network(
    number: int, store: FakeStore, config: NetworkConfig = FAST, **changes: object
) -> Network:
    """A network with an identity of its own; nothing runs yet."""
    own = replace(config, seed=number.to_bytes(32, "big"), **changes)  # type: ignore[arg-type]
    return Network(own, store, rng=random.Random(number))


@asynccontextmanager
async def serving(
    number: int,
    store: FakeStore,
    *,
    swarm: bytes | None = SWARM,
    config: NetworkConfig = FAST,
    **changes: object,
) -> AsyncIterator[Network]:
    """A network that is served, and in a swarm, for the length of the block."""
    network = make_network(number, store, config, **changes)
    async with trio.open_nursery() as nursery:
        await nursery.start(network.serve)
        if swarm is not None:
            await network.enter(swarm)
        yield network
        nursery.cancel_scope.cancel()


async def until(holds: Callable[[], bool], timeout_s: float = 20) -> None:
    """Wait until something holds that nothing tells us about."""
    with trio.fail_after(timeout_s):
        while not holds():  # noqa: ASYNC110  (libp2p has no event for it)
            await trio.sleep(0.02)


async def until_members(network: Network, count: int) -> None:
    """Wait until so many peers of our swarm are connected."""
    await until(
        lambda: (
            sum(peer.hello is not None and peer.hello.swarm == SWARM for peer in network.peers())
            >= count
        )
    )


async def until_mesh(network: Network, count: int) -> None:
    """Wait until so many peers have subscribed to our topics."""
    running = network._running
    assert running is not None
    pubsub = running.engine.pubsub
    await until(
        lambda: all(
            len(pubsub.peer_topics.get(topic, ())) >= count for topic in pubsub.allowed_topics
        )
    )
