"""How a stock host listens, dials, closes and logs, and the fixes.

Each test first shows the fault: when that half fails, a fix can go.
"""

import logging
import socket
import subprocess
import sys
from contextlib import suppress
from typing import Any

import pytest
import trio
from libp2p.network.connection import swarm_connection
from libp2p.pubsub.pb import rpc_pb2
from multiaddr import Multiaddr

from gossip.errors import AddressInUseError
from gossip.net import fixes
from tests.gossip.networks import until
from tests.gossip.stock import LOOPBACK, bare, listening, stock


async def connections_kept(*, repair: bool) -> int:
    """Inbound slots still taken after five connections came and went."""
    host = bare(1)
    swarm = host.get_network()
    if repair:
        fixes.release_inbound_slots(swarm)
    async with host.run([LOOPBACK]):
        address = listening(host)
        for number in range(10, 15):
            guest = bare(number)
            async with guest.run([LOOPBACK]):
                with trio.fail_after(10):
                    await guest.get_network().dial_addr(address, host.get_id())
                await fixes.close_host(guest)
        with trio.move_on_after(2 if repair else 0.5):
            await until(lambda: not swarm._inbound_limiter.borrowed_tokens)
        kept = int(swarm._inbound_limiter.borrowed_tokens)
        await fixes.close_host(host)
    return kept


async def test_inbound_slots_leak() -> None:
    assert await connections_kept(repair=False) == 5
    assert await connections_kept(repair=True) == 0


async def test_a_failed_dial_bars_a_peer_for_a_minute() -> None:
    host = bare(1)
    swarm = host.get_network()
    swarm._negative_peer_cache.mark_failed("peer")
    assert swarm._negative_peer_cache.is_blocked("peer")
    fixes.forget_failed_dials(swarm)
    cache = swarm._negative_peer_cache
    cache.mark_failed("peer")
    assert not cache.is_blocked("peer")
    cache.evict("peer")
    cache.clear()


async def test_two_listeners_on_one_port() -> None:
    one, two = bare(1), bare(2)
    async with one.run([LOOPBACK]):
        address = listening(one)
        port = int(address.value_for_protocol("tcp"))
        async with two.run([address]):
            assert two.get_network().listeners
            await fixes.close_host(two)
        with pytest.raises(AddressInUseError, match=str(port)):
            fixes.probe_port("127.0.0.1", port)
        await fixes.close_host(one)
    fixes.probe_port("127.0.0.1", port)
    fixes.probe_port("127.0.0.1", 0)
    with pytest.raises(AddressInUseError, match="cannot listen"):
        fixes.probe_port("192.0.2.1", port)


def test_probe_finds_a_plain_listener_too() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(AddressInUseError):
            fixes.probe_port("127.0.0.1", taken.getsockname()[1])


async def test_auto_connector_dials_though_both_minima_are_zero() -> None:
    from libp2p.network.config import ConnectionConfig

    for repair in (False, True):
        host = bare(1)
        swarm = host.get_network()
        swarm.connection_config = ConnectionConfig(
            min_connections=0, low_watermark=0, high_watermark=4, max_connections=4
        )
        connector = swarm.auto_connector
        looked: list[int] = []

        async def candidates(looked: list[int] = looked) -> list[Any]:
            looked.append(1)
            return []

        connector._get_candidate_peers = candidates
        connector._started = True
        if repair:
            fixes.stop_auto_dialling(swarm)
        await connector.maybe_connect()
        assert bool(looked) is not repair


async def test_a_prune_makes_the_router_dial() -> None:
    for repair in (False, True):
        host, router, _ = stock(1, do_px=False)
        other = bare(2).get_id()
        stranger = bare(3).get_id()
        host.get_peerstore().add_addrs(stranger, [Multiaddr("/ip4/127.0.0.1/tcp/9")], 60)
        dialled: list[Any] = []

        async def connect(info: Any, dialled: list[Any] = dialled) -> None:
            dialled.append(info.peer_id)

        host.connect = connect
        if repair:
            fixes.refuse_peer_exchange(router)
        prune = rpc_pb2.ControlPrune(topicID="t")
        prune.peers.add(peerID=stranger.to_bytes())
        router.mesh["t"] = {other}
        await router.handle_prune(prune, other)
        assert dialled == ([] if repair else [stranger])


async def test_leaving_the_host_leaks_its_listener_task() -> None:
    for repair in (False, True):
        before = trio.lowlevel.current_statistics().tasks_living
        host = bare(1)
        async with host.run([LOOPBACK]):
            listeners = list(host.get_network().listeners.values())
            if repair:
                with trio.CancelScope() as scope:
                    scope.cancel()
                    with trio.CancelScope(shield=True):
                        await fixes.close_host(host)
        await trio.sleep(0.05)
        open_sockets = [
            socket_listener.socket.fileno() >= 0
            for listener in listeners
            for socket_listener in listener.listeners
        ]
        if repair:
            assert not any(open_sockets)
            assert trio.lowlevel.current_statistics().tasks_living == before


def test_the_library_writes_to_stderr_and_takes_the_root_logger() -> None:
    show = (
        "import logging, sys; import libp2p; "
        "from libp2p.network.connection import swarm_connection; "
        "{}"
        "logging.getLogger('libp2p.x').warning('LEAK-ONE'); "
        "swarm_connection.logging.warning('LEAK-TWO'); "
        "sys.exit(len(logging.getLogger().handlers))"
    )

    def run(repair: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", show.format(repair)], capture_output=True, text=True, check=False
        )

    before = run("")
    assert "LEAK-ONE" in before.stderr
    assert "LEAK-TWO" in before.stderr
    assert before.returncode == 1
    after = run("from gossip.net import fixes; fixes.silence_logging(); ")
    assert "LEAK" not in after.stderr
    assert not after.stdout
    assert after.returncode == 0
    fixes.silence_logging()
    assert isinstance(swarm_connection.logging, logging.Logger)


async def silent_connections(monkeypatch: pytest.MonkeyPatch, *, repair: bool) -> tuple[int, bool]:
    """How many of sixty-four silent connections are kept, and whether a peer still gets in."""
    host, guest = bare(1), bare(2)
    swarm = host.get_network()
    swarm._inbound_limiter = trio.CapacityLimiter(64)
    if repair:
        fixes.release_inbound_slots(swarm)
    async with host.run([LOOPBACK]), guest.run([LOOPBACK]):
        address = listening(host)
        port = int(address.value_for_protocol("tcp"))
        streams = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(64)]
        with trio.move_on_after(1):
            await until(lambda: swarm._inbound_limiter.borrowed_tokens == 64)
        kept = int(swarm._inbound_limiter.borrowed_tokens)
        # Comes from elsewhere, as far as the host can tell.
        monkeypatch.setattr(fixes, "origin_of", lambda _: "elsewhere")
        entered = False
        with trio.move_on_after(5), suppress(Exception):
            await guest.get_network().dial_addr(address, host.get_id())
            entered = True
        monkeypatch.undo()
        for stream in streams:
            await stream.aclose()
        await fixes.close_host(guest)
        await fixes.close_host(host)
    return kept, entered


async def test_silent_connections_take_every_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await silent_connections(monkeypatch, repair=False) == (64, False)
    kept, entered = await silent_connections(monkeypatch, repair=True)
    assert kept <= 16
    assert entered


@pytest.mark.parametrize(
    ("remote", "origin"),
    [
        (("10.0.0.7", 1), "10.0.0.7"),
        (("::ffff:10.0.0.7", 1), "10.0.0.7"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (("2001:db8:1:2:ffff::1", 1), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 1), "fe80::/64"),
        (None, ""),
    ],
)
def test_the_origin_of_a_connection(remote: tuple[str, int] | None, origin: str) -> None:
    class Connection:
        def get_remote_address(self) -> tuple[str, int] | None:
            return remote

    assert fixes.origin_of(Connection()) == origin
