"""Ten real hosts over a memory transport, in virtual time."""

import random
from collections.abc import Callable

import trio
import trio.testing

from gossip.core.addresses import to_peer_id
from gossip.interface import NetworkConfig
from gossip.net.host import Network
from gossip.net.memory_transport import MemoryWire, Place
from tests.gossip.fakes import SWARM, FakeStore, make_envelope

SEED = 11
NODES = 10
CONFIG = NetworkConfig(seed=bytes(32))


def place(number: int) -> Place:
    return f"10.0.0.{number + 1}", 4001


class Simulation:
    """Nodes that know only the first one, on one wire."""

    def __init__(self, nodes: int = NODES) -> None:
        rng = random.Random(SEED)
        self.wire = MemoryWire(lambda _a, _b: rng.uniform(0.005, 0.08))
        self.stores = [FakeStore() for _ in range(nodes)]
        self.networks: list[Network] = []
        for number in range(nodes):
            host, port = place(number)
            bootstrap: tuple[str, ...] = ()
            if self.networks:
                first_host, first_port = place(0)
                peer = to_peer_id(self.networks[0].node_id)
                bootstrap = (f"/ip4/{first_host}/tcp/{first_port}/p2p/{peer}",)
            config = NetworkConfig(
                seed=(number + 1).to_bytes(32, "big"),
                listen=f"/ip4/{host}/tcp/{port}",
                bootstrap=bootstrap,
                wanted_peers=6,
            )
            transport = self.wire.transport(host, port)
            self.networks.append(
                Network(config, self.stores[number], rng=random.Random(number), transport=transport)
            )

    async def start(self, nursery: trio.Nursery) -> None:
        for network in self.networks:
            await nursery.start(network.serve)
            await network.enter(SWARM)

    async def publish(self, number: int, record: int) -> None:
        envelope = make_envelope(record)
        self.stores[number].add(envelope)
        await self.networks[number].publish_record(envelope)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Let virtual seconds pass until something holds."""
        with trio.fail_after(120):
            while not holds():  # noqa: ASYNC110  (virtual time costs nothing)
                await trio.sleep(0.5)

    def counts(self, numbers: list[int] | None = None) -> set[int]:
        return {len(self.stores[number].records) for number in numbers or range(NODES)}


def test_ten_nodes_find_each_other_and_heal_after_a_partition() -> None:
    async def main() -> None:
        simulation = Simulation()
        async with trio.open_nursery() as nursery:
            await simulation.start(nursery)
            # Peer exchange makes a mesh out of a star.
            await simulation.until(
                lambda: min(len(network.peers()) for network in simulation.networks) >= 6
            )
            await trio.sleep(3)
            for number in range(NODES):
                for record in range(5):
                    await simulation.publish(number, 100 * number + record)
            await trio.sleep(2)
            assert simulation.counts() == {50}
            # Two halves lose each other, and go on.
            left, right = list(range(5)), list(range(5, NODES))
            for one in left:
                for other in right:
                    await simulation.wire.cut(place(one), place(other))
            await trio.sleep(3)
            await simulation.publish(1, 5_001)
            await simulation.publish(7, 5_002)
            await trio.sleep(8)
            assert simulation.counts(left) == simulation.counts(right) == {51}
            for one in left:
                for other in right:
                    simulation.wire.mend(place(one), place(other))
            await simulation.until(lambda: simulation.counts() == {52})
            digests = {store.hello().digest for store in simulation.stores}
            assert len(digests) == 1
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_a_peer_whose_power_goes_is_noticed_and_replaced(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A half-open connection: nothing is closed, and nothing answers."""
    simulation = Simulation(4)
    async with trio.open_nursery() as nursery:
        await simulation.start(nursery)
        await simulation.until(lambda: all(len(one.peers()) == 3 for one in simulation.networks))
        lost, others = simulation.networks[2], [simulation.networks[n] for n in (0, 1, 3)]
        simulation.wire.lose(place(2))
        started_s = trio.current_time()
        await simulation.until(
            lambda: all(
                lost.node_id not in {peer.node_id for peer in one.peers()} for one in others
            )
        )
        # One hello that is not answered: its period and its time limit, with jitter.
        assert trio.current_time() - started_s < 30
        # The others go on among themselves.
        await simulation.publish(1, 77)
        await simulation.until(
            lambda: all(len(simulation.stores[n].records) == 1 for n in (0, 1, 3))
        )
        nursery.cancel_scope.cancel()
