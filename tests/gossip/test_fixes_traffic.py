"""Messages that a stock host loses, repeats or forgets, and the fixes.

Each test first shows the fault: when that half fails, a fix can go.
"""

from typing import Any

import pytest
import trio
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import SUBSCRIPTION_CHANNEL_SIZE
from libp2p.pubsub.rpc_queue import RpcQueue
from libp2p.stream_muxer.yamux.yamux import YamuxStream

from gossip.net import fixes
from tests.gossip.stock import bare, stock


async def test_small_queues() -> None:
    queue = RpcQueue()
    assert sum(queue.push(rpc_pb2.RPC()) for _ in range(100)) == 32
    assert SUBSCRIPTION_CHANNEL_SIZE == 32
    host, _, pubsub = stock(1)
    fixes.enlarge_queues(pubsub)
    queue = RpcQueue()
    pubsub.peer_queues[host.get_id()] = queue
    assert pubsub.peer_queues == {host.get_id(): queue}
    assert sum(queue.push(rpc_pb2.RPC()) for _ in range(10_000)) == fixes.QUEUE_MESSAGES_MAX


async def test_spam_limit_drops_bursts_silently() -> None:
    _, router, _ = stock(1)
    peer_id = bare(2).get_id()
    messages = [rpc_pb2.Message(topicIDs=["t"], seqno=bytes([n])) for n in range(30)]
    assert sum(router._check_spam_protection(peer_id, message) for message in messages) == 10
    _, router, _ = stock(1, spam_protection_enabled=False)
    assert all(router._check_spam_protection(peer_id, message) for message in messages)


async def test_copies_are_validated_and_delivered_several_times() -> None:
    for repair, expected in ((False, 3), (True, 1)):
        host, router, pubsub = stock(1)
        author, _, author_pubsub = stock(2)
        pushed: list[Any] = []

        async def keep(forwarder: object, message: Any, pushed: list[Any] = pushed) -> None:
            pushed.append(message)

        author_pubsub.push_msg = keep
        await author_pubsub.publish("t", b"x")
        validated: list[bytes] = []
        delivered: list[object] = []

        async def validate(
            forwarder: object, message: Any, validated: list[bytes] = validated
        ) -> bool:
            validated.append(message.data)
            await trio.sleep(0.05)
            return True

        async def publish(*_: object, delivered: list[object] = delivered) -> None:
            delivered.append(1)

        router.publish = publish
        pubsub.set_topic_validator("t", validate, True)
        if repair:
            fixes.deliver_in_validator(pubsub, lambda _forwarder, _message: True)
        async with trio.open_nursery() as nursery:
            for number in range(3, 6):
                nursery.start_soon(pubsub.push_msg, bare(number).get_id(), pushed[0])
        assert len(validated) == len(delivered) == expected
        # Whatever comes later is a known message in both.
        await pubsub.push_msg(author.get_id(), pushed[0])
        assert len(validated) == expected
        assert host.get_id() != author.get_id()
        pubsub.seen_messages.stop()


async def test_seen_cache_reads_wall_time_grows_and_leaves_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import time

    _, _, pubsub = stock(1)
    cache = pubsub.seen_messages
    assert cache._thread.is_alive()
    cache.add(b"message")
    monkeypatch.setattr(time, "time", lambda: 1e11)
    cache._sweep()
    assert not cache.has(b"message")
    for number in range(100_000):
        cache.add(number.to_bytes(8, "big"))
    assert cache.length() == 100_000
    now_s = 50.0
    fixes.bound_seen_cache(pubsub, lambda: now_s)
    assert not cache._thread.is_alive()
    ours = pubsub.seen_messages
    assert ours.add(b"message")
    assert ours.has(b"message")
    for number in range(100_000):
        ours.add(number.to_bytes(8, "big"))
    assert ours.length() < 70_000


async def test_every_small_read_sends_a_window_update() -> None:
    class Connection:
        def __init__(self) -> None:
            self.stream_buffers: dict[int, bytes] = {}

        def rtt(self) -> float:
            return 0.0

    for method, expected in (
        (fixes.STOCK_WINDOW_UPDATE, 100),
        (fixes._batched_window_update, 0),
    ):
        stream: Any = YamuxStream(1, Connection(), True)
        sent: list[int] = []

        async def send(increment: int, *, skip_lock: bool, sent: list[int] = sent) -> None:
            sent.append(increment)

        stream.send_window_update = send
        for _ in range(100):
            stream.recv_window -= 1
            await method(stream, bytes_read=1)
        assert len(sent) == expected
    for _ in range(40):
        stream.recv_window -= 1_000
        await fixes._batched_window_update(stream, bytes_read=1_000)
    assert 0 < len(sent) < 5
    fixes.batch_window_updates()
    fixes.batch_window_updates()
    assert YamuxStream._auto_tune_and_send_window_update is fixes._batched_window_update
