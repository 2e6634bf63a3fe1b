"""What a peer sends to end a stock host, and the fixes: when a first half fails, a fix can go."""

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from libp2p.pubsub.pb import rpc_pb2
from libp2p.tools.anyio_service import background_trio_service

from gossip.net import fixes
from tests.gossip.stock import LOOPBACK, FakeStream, bare, stock

GARBAGE_RPC = b"\x05" + b"\xff" * 5


async def test_garbage_protobuf_on_a_pubsub_stream() -> None:
    host, router, pubsub = stock(1)
    peer_id = bare(2).get_id()
    async with host.run([LOOPBACK]), background_trio_service(router):
        async with background_trio_service(pubsub):
            await pubsub.wait_until_ready()
            with pytest.raises(DecodeError):
                await pubsub.stream_handler(FakeStream(GARBAGE_RPC, peer_id))
            faults: list[Any] = []
            fixes.contain_pubsub(pubsub, faults.append)
            stream = FakeStream(GARBAGE_RPC, peer_id)
            await pubsub.stream_handler(stream)
            assert stream.was_reset
            assert faults == [peer_id]
        await fixes.close_host(host)


async def test_exception_in_a_validator_or_a_malformed_key() -> None:
    host, router, pubsub = stock(1)
    peer_id = bare(2).get_id()
    # A `from` that names no key makes the signature check read `key`, which is no key either.
    message = rpc_pb2.Message(
        data=b"x", topicIDs=["t"], from_id=b"\x12\x20" + bytes(32), seqno=b"1", key=b"\xff"
    )
    message.signature = b"s"
    async with host.run([LOOPBACK]), background_trio_service(router):
        async with background_trio_service(pubsub):
            await pubsub.wait_until_ready()
            with pytest.raises(DecodeError):
                await pubsub.push_msg(peer_id, message)
            faults: list[Any] = []
            fixes.contain_pubsub(pubsub, faults.append)
            await pubsub.push_msg(peer_id, message)
            assert faults == [peer_id]
            # Our own message that fails is our own fault, and is not hidden.
            pubsub.validate_msg = broken
            with pytest.raises(ZeroDivisionError):
                await pubsub.publish("t", b"x")
        await fixes.close_host(host)


async def broken(*_: object) -> None:
    raise ZeroDivisionError


async def test_exception_in_a_stream_handler() -> None:
    host = bare(1)
    peer_id = bare(2).get_id()

    async def handler(stream: object) -> None:
        raise ZeroDivisionError

    async def negotiate(*_: object) -> tuple[str, Any]:
        return "/broken/1", handler

    host.multiselect.negotiate = negotiate
    host.set_stream_handler("/broken/1", handler)

    class Stream(FakeStream):
        def set_protocol(self, protocol: str) -> None:
            assert protocol == "/broken/1"

    with pytest.raises(ZeroDivisionError):
        await host.get_network().common_stream_handler(Stream(b"", peer_id))
    faults: list[Any] = []
    fixes.contain_stream_handlers(host, faults.append)
    stream = Stream(b"", peer_id)
    await host.get_network().common_stream_handler(stream)
    assert stream.was_reset
    assert faults == [peer_id]
