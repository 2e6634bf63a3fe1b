"""Real libp2p hosts on loopback: joining, publishing, catching up, parting."""

import gc
import socket
import sys
from collections.abc import Sequence

import pytest
import trio
from libp2p.connection_types import ConnectionType

from gossip.core.addresses import parse_address, to_peer_id
from gossip.errors import (
    AddressError,
    AddressInUseError,
    RequestError,
    UnreachableError,
    WrongSwarmError,
)
from gossip.interface import NetworkConfig, Verdict
from gossip.net.host import Network
from tests.gossip.fakes import SWARM, FakeStore, make_envelope
from tests.gossip.networks import make_network, serving, until_members, until_mesh

OTHER_SWARM = b"\x08" * 32


async def test_three_nodes_that_know_only_the_first() -> None:
    one, two, three = FakeStore(), FakeStore(), FakeStore()
    async with (
        serving(1, one) as first,
        serving(2, two, bootstrap=first.addresses) as second,
        serving(3, three, bootstrap=first.addresses) as third,
    ):
        # Peer exchange joins the two that never heard of each other.
        for network in (first, second, third):
            await until_members(network, 2)
            await until_mesh(network, 2)
        record = make_envelope(1)
        two.add(record)
        await second.publish_record(record)
        await three.wait_for(records=1)
        await one.wait_for(records=1)
        await third.publish_notice(b"here I am")
        await one.wait_for(notices=1)
        await two.wait_for(notices=1)
        assert one.notices == two.notices == [b"here I am"]
        assert three.notices == []
        info = next(peer for peer in third.peers() if peer.node_id == first.node_id)
        assert info.addresses == first.addresses
        assert info.direct
        assert info.rtt_ms is not None
        assert 0 < info.rtt_ms < 5_000
        assert info.last_seen_s < 20
        assert info.hello is not None
        assert info.hello.role == "agent"


async def test_who_asked_for_the_genesis_first_is_heard_by_the_node_it_asked() -> None:
    # The first node's subscriptions came before the second one knew what to listen for.
    quiet = NetworkConfig(seed=bytes(32), sync_period_s=600, hello_period_s=600)
    one, two = FakeStore(), FakeStore()
    one.genesis = make_envelope(0)
    async with (
        serving(1, one, config=quiet) as first,
        serving(2, two, config=quiet, swarm=None) as second,
    ):
        await second.fetch_genesis(first.addresses[0])
        await second.enter(SWARM)
        await until_mesh(second, 1)
        await second.publish_notice(b"from the second")
        await one.wait_for(notices=1)
        await first.publish_notice(b"from the first")
        await two.wait_for(notices=1)


async def test_equal_sets_count_as_reconciled() -> None:
    slow = NetworkConfig(seed=bytes(32), sync_period_s=600)
    async with (
        serving(1, FakeStore(), config=slow) as first,
        serving(2, FakeStore(), config=slow, bootstrap=first.addresses) as second,
    ):
        with trio.fail_after(20):
            await second.wait_reconciled()


async def test_one_peer_alone_does_not_count_as_two() -> None:
    slow = NetworkConfig(seed=bytes(32), sync_period_s=600)
    async with serving(1, FakeStore(), config=slow) as first:
        bootstrap = first.addresses
        async with serving(2, FakeStore(), config=slow, bootstrap=bootstrap) as second:
            with trio.fail_after(20):
                await second.wait_reconciled()
            with trio.move_on_after(0.5) as alone:
                await second.wait_reconciled(peers=2)
            assert alone.cancelled_caught
            async with serving(3, FakeStore(), config=slow, bootstrap=second.addresses):
                with trio.fail_after(20):
                    await second.wait_reconciled(peers=2)


async def test_publishing_many_at_once_loses_nothing() -> None:
    # Reconciliation is switched off by its period, so that pubsub alone must deliver.
    slow = NetworkConfig(seed=bytes(32), sync_period_s=600, hello_period_s=600)
    one, two = FakeStore(), FakeStore()
    async with (
        serving(1, one, config=slow) as first,
        serving(2, two, config=slow, bootstrap=first.addresses) as second,
    ):
        await until_mesh(first, 1)
        await until_mesh(second, 1)
        for number in range(2_000):
            record = make_envelope(number)
            two.add(record)
            await second.publish_record(record)
        await one.wait_for(records=2_000)


async def test_late_joiner_gets_two_thousand_records_and_gives_its_own() -> None:
    one, two = FakeStore(), FakeStore()
    for number in range(2_000):
        one.add(make_envelope(number))
    for number in range(5_000, 5_300):
        two.add(make_envelope(number))
    async with serving(1, one) as first, serving(2, two, bootstrap=first.addresses) as second:
        with trio.fail_after(20):
            await second.wait_reconciled()
        await two.wait_for(records=2_300)
        await one.wait_for(records=2_300)
        assert one.hello().digest == two.hello().digest


async def test_a_node_that_was_away_catches_up() -> None:
    one, two = FakeStore(), FakeStore()
    async with serving(1, one) as first:
        async with serving(2, two, bootstrap=first.addresses):
            one.add(make_envelope(1))
            await two.wait_for(records=1)
        for number in range(2, 40):
            one.add(make_envelope(number))
        async with serving(2, two, bootstrap=first.addresses):
            await two.wait_for(records=39)


async def test_reconciliation_moves_large_records() -> None:
    one, two = FakeStore(), FakeStore()
    for number in range(40):
        one.add(make_envelope(number) + bytes(60_000))
        two.add(make_envelope(100 + number) + bytes(60_000))
    async with serving(1, one) as first, serving(2, two, bootstrap=first.addresses):
        await one.wait_for(records=80)
        await two.wait_for(records=80)


async def test_held_records_are_not_fetched_again_at_once() -> None:
    one, two = FakeStore(), FakeStore()
    one.plant(make_envelope(5, mark=b"HELD"), 5)
    one.add(make_envelope(6))
    async with serving(1, one) as first, serving(2, two, bootstrap=first.addresses) as second:
        await two.wait_for(records=1)
        for _ in range(3):
            await second.reconcile(first.node_id)
        held = [envelope for envelope, _ in two.taken if b"HELD" in envelope[:90]]
        assert len(held) == 1
        assert [peer.node_id for peer in second.peers()] == [first.node_id]


class BrokenStore(FakeStore):
    """A store whose disk is full until it is repaired."""

    def __init__(self) -> None:
        super().__init__()
        self.full = True

    async def on_records(self, envelopes: Sequence[bytes], peer: bytes) -> list[Verdict]:
        if self.full:
            raise OSError(28, "No space left on device")
        return await super().on_records(envelopes, peer)


async def test_a_failing_store_costs_nothing_but_time() -> None:
    one, two = FakeStore(), BrokenStore()
    async with serving(1, one) as first, serving(2, two, bootstrap=first.addresses) as second:
        await until_mesh(first, 1)
        for number in range(6):
            one.add(make_envelope(number))
            await first.publish_record(make_envelope(number))
            await trio.sleep(0.2)
        assert two.records == {}
        two.full = False
        await two.wait_for(records=6)
        # The peer was not charged for our disk.
        assert [peer.node_id for peer in second.peers()] == [first.node_id]


async def test_joiner_without_a_swarm_fetches_the_genesis() -> None:
    one, two = FakeStore(), FakeStore()
    one.genesis = make_envelope(0)
    async with serving(1, one) as first, serving(2, two, swarm=None) as second:
        assert await second.fetch_genesis(first.addresses[0]) == one.genesis
        one.add(make_envelope(1))
        await second.enter(SWARM)
        # The joiner was told no bootstrap address: the connection it has is enough.
        await two.wait_for(records=1)
        async with serving(3, FakeStore(), swarm=None) as third:
            with pytest.raises(WrongSwarmError, match="not joined"):
                await first.fetch_genesis(third.addresses[0])


async def test_wrong_swarm_is_said_and_parted_from() -> None:
    async with (
        serving(1, FakeStore()) as first,
        serving(2, FakeStore(), swarm=OTHER_SWARM) as second,
    ):
        with pytest.raises(WrongSwarmError, match=OTHER_SWARM.hex()[:12]):
            await first.meet(second.addresses[0])
        assert first.peers() == []
        # As a bootstrap address it is given up, not dialled for ever.
        async with serving(3, FakeStore(), bootstrap=second.addresses) as third:
            await trio.sleep(1.5)
            assert third.peers() == []


async def test_unreachable_says_what_was_tried() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    address = f"/ip4/127.0.0.1/tcp/{port}/p2p/{to_peer_id(b'1' * 32)}"
    async with serving(1, FakeStore()) as network:
        with pytest.raises(UnreachableError, match=rf"{port}/.* \(Connection refused\)"):
            await network.meet(address)
        with pytest.raises(AddressError, match="itself"):
            await network.meet(network.addresses[0])
        # Somebody answers there, but it is not the node that was asked for.
        async with serving(2, FakeStore()) as other:
            impostor = (
                parse_address(other.addresses[0]).transport + address[address.index("/p2p") :]
            )
            with pytest.raises(UnreachableError):
                await network.meet(impostor)
            # A failure does not keep the right address from working at once.
            await network.meet(other.addresses[0])


async def test_bootstrap_that_comes_up_later_is_found() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    one, two = FakeStore(), FakeStore()
    one.add(make_envelope(1))
    first = make_network(1, one, listen=f"/ip4/127.0.0.1/tcp/{port}")
    address = f"/ip4/127.0.0.1/tcp/{port}/p2p/{to_peer_id(first.node_id)}"
    async with serving(2, two, bootstrap=(address,)), trio.open_nursery() as nursery:
        await trio.sleep(0.7)
        await nursery.start(first.serve)
        await first.enter(SWARM)
        await two.wait_for(records=1)
        nursery.cancel_scope.cancel()


async def test_port_in_use() -> None:
    async with serving(1, FakeStore()) as first:
        listen = parse_address(first.addresses[0]).transport
        second = make_network(2, FakeStore(), listen=listen)
        async with trio.open_nursery() as nursery:
            with pytest.raises(AddressInUseError, match="in use"):
                await nursery.start(second.serve)


@pytest.mark.parametrize(
    "changes",
    [
        {"listen": "/ip4/127.0.0.1"},
        {"listen": "/dns/example.org/tcp/1"},
        {"bootstrap": ("/ip4/127.0.0.1/tcp/4001",)},
        {"bootstrap": ("nonsense",)},
        {"advertise": ("/ip4/0.0.0.0/tcp/4001",)},
    ],
)
def test_bad_addresses_are_refused_before_anything_starts(changes: dict[str, object]) -> None:
    with pytest.raises(AddressError):
        NetworkConfig(seed=bytes(32), **changes)  # type: ignore[arg-type]


async def test_advertised_addresses_are_concrete() -> None:
    async with serving(1, FakeStore(), listen="/ip4/0.0.0.0/tcp/0") as network:
        addresses = [parse_address(text) for text in network.addresses]
        assert addresses
        assert all(not address.unspecified and address.port for address in addresses)
        # Loopback is told to others only where there is nothing else to tell.
        loopback = [address for address in addresses if address.host == "127.0.0.1"]
        assert not loopback or len(loopback) == len(addresses)
        assert all(address.node_id == network.node_id for address in addresses)
    told = "/dns4/founder/tcp/4001"
    async with serving(1, FakeStore(), advertise=(told,)) as network:
        assert network.addresses == (f"{told}/p2p/{to_peer_id(network.node_id)}",)


async def test_clean_shutdown_leaves_no_task_thread_or_socket(
    capfd: pytest.CaptureFixture[str],
) -> None:
    import threading

    async def once() -> None:
        one, two = FakeStore(), FakeStore()
        one.add(make_envelope(1))
        async with serving(1, one) as first, serving(2, two, bootstrap=first.addresses):
            await two.wait_for(records=1)

    await once()
    gc.collect()
    tasks, threads = trio.lowlevel.current_statistics().tasks_living, threading.active_count()
    for _ in range(3):
        await once()
    await trio.sleep(0.1)
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    assert threading.active_count() <= threads
    # An unclosed socket would be a ResourceWarning, which fails the test run.
    gc.collect()
    out, err = capfd.readouterr()
    assert not out
    assert not err


async def test_a_network_that_is_not_served_says_so() -> None:
    network = make_network(1, FakeStore())
    with pytest.raises(RequestError, match="not being served"):
        await network.publish_record(make_envelope(1))
    assert network.peers() == []


def test_importing_the_api_does_not_import_libp2p() -> None:
    import subprocess

    code = (
        "import sys, gossip.net.host, gossip.interface; "
        "sys.exit(any(m.split('.')[0] in {'libp2p', 'multiaddr'} for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_seed_is_not_printed() -> None:
    config = NetworkConfig(seed=b"\xaa" * 32)
    assert "aa" not in repr(config)
    assert "seed" not in repr(config)
    assert Network(config, FakeStore()).addresses == ()


async def test_a_relayed_connection_is_told_apart() -> None:
    async with (
        serving(1, FakeStore()) as first,
        serving(2, FakeStore(), bootstrap=first.addresses) as second,
    ):
        await until_members(second, 1)
        assert [peer.direct for peer in second.peers()] == [True]
        running = second._running
        assert running is not None
        swarm = running.engine.host.get_network()
        for connection in swarm.get_connections():
            connection.set_transport_info([], ConnectionType.RELAYED)
        assert [peer.direct for peer in second.peers()] == [False]
