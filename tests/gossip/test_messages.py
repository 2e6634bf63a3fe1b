from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.core.addresses import to_peer_id
from gossip.core.messages import (
    BlobAnswer,
    BlobRequest,
    Get,
    Greeting,
    Hello,
    Ranges,
    Records,
    SyncMessage,
    decode_addresses,
    decode_blob_answer,
    decode_blob_request,
    decode_greeting,
    decode_sync,
    encode_addresses,
    encode_blob_answer,
    encode_blob_request,
    encode_greeting,
    encode_sync,
)
from protocol.canonical import encode
from protocol.errors import WireError
from protocol.limits import ENVELOPE_BYTES_MAX
from protocol.limits_network import (
    PEER_ADDRESSES_MAX,
    PEER_EXCHANGE_MAX,
    SYNC_GET_IDS_MAX,
    SYNC_MESSAGE_BYTES_MAX,
)

SENDER = b"\x11" * 32
ADDRESS = f"/ip4/10.0.0.7/tcp/4001/p2p/{to_peer_id(SENDER)}"


def greeting(**changes: object) -> dict[str, object]:
    fields: dict[str, object] = {
        "addresses": [ADDRESS],
        "digest": b"d" * 16,
        "genesis": False,
        "head": None,
        "records": 3,
        "role": "agent",
        "swarm": b"s" * 32,
        "version": "0.1.0",
    }
    return fields | changes


def test_greeting_round_trip() -> None:
    hello = Hello("0.1.0", b"s" * 32, "agent", b"h" * 32, 7, b"d" * 16)
    message = Greeting(hello, (ADDRESS,), genesis=True)
    assert decode_greeting(encode_greeting(message), sender=SENDER) == message
    lonely = Greeting(Hello("", None, "", None, 0, b""), (), genesis=False)
    assert decode_greeting(encode_greeting(lonely), sender=SENDER) == lonely


@pytest.mark.parametrize(
    "changes",
    [
        {"swarm": b"s" * 31},
        {"swarm": "s" * 32},
        {"head": 5},
        {"records": -1},
        {"records": True},
        {"records": 1 << 60},
        {"digest": bytes(33)},
        {"digest": None},
        {"role": "x" * 65},
        {"role": "two\nlines"},
        {"version": b"0.1.0"},
        {"version": "\x1b[31m"},
        {"genesis": 1},
        {"addresses": ADDRESS},
        {"addresses": [7]},
        {"addresses": ["/ip4/10.0.0.7/tcp/4001"]},
        {"addresses": ["x" * 10_000]},
        {"addresses": [ADDRESS] * (PEER_ADDRESSES_MAX + 1)},
        {"addresses": [f"/ip4/10.0.0.7/tcp/4001/p2p/{to_peer_id(bytes(32))}"]},
        {"more": 1},
    ],
)
def test_wrong_greetings_are_refused(changes: dict[str, object]) -> None:
    decode_greeting(encode(greeting()), sender=SENDER)
    with pytest.raises(WireError):
        decode_greeting(encode(greeting(**changes)), sender=SENDER)


@pytest.mark.parametrize(
    ("message", "head"),
    [
        (Ranges(b"\x61"), "92a672616e676573c40161"),
        (Get((b"\1" * 32,)), "92a367657491c420" + "01" * 32),
        (Records(2, (b"e",)), "93a77265636f72647302" + "91c40165"),
        (Records(0, ()), "93a77265636f7264730090"),
    ],
)
def test_sync_golden_bytes(message: SyncMessage, head: str) -> None:
    assert encode_sync(message).hex() == head
    assert decode_sync(bytes.fromhex(head)) == message


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        ["get"],
        ["get", []],
        ["get", [b"short"]],
        ["get", [bytes(32)] * (SYNC_GET_IDS_MAX + 1)],
        ["records", [b"e"]],
        ["records", -1, [b"e"]],
        ["records", 1, [b""]],
        ["records", 1, [bytes(ENVELOPE_BYTES_MAX + 1)]],
        ["records", 300, [b"e"] * (SYNC_GET_IDS_MAX + 1)],
        ["ranges", bytes(SYNC_MESSAGE_BYTES_MAX + 1)],
        ["ranges", "a"],
        ["other", b""],
        {"ranges": b"a"},
    ],
)
def test_wrong_sync_messages_are_refused(value: object) -> None:
    with pytest.raises(WireError):
        decode_sync(encode(value))


def test_blob_messages_round_trip() -> None:
    request = BlobRequest(b"\2" * 32, 70_000)
    assert decode_blob_request(encode_blob_request(request)) == request
    for size in (None, 0, 1 << 40):
        answer = BlobAnswer(size)
        assert decode_blob_answer(encode_blob_answer(answer)) == answer
    with pytest.raises(WireError):
        decode_blob_request(encode({"digest": b"\2" * 32, "offset": -1}))
    with pytest.raises(WireError):
        decode_blob_answer(encode({"size": "big"}))


def test_addresses_round_trip_and_bound() -> None:
    assert decode_addresses(encode_addresses([ADDRESS])) == (ADDRESS,)
    with pytest.raises(WireError):
        decode_addresses(encode_addresses([ADDRESS] * (PEER_EXCHANGE_MAX + 1)))


@given(st.binary(max_size=300))
def test_hostile_bytes_raise_wire_error_only(noise: bytes) -> None:
    with suppress(WireError):
        decode_greeting(noise, sender=SENDER)
    for decode in (decode_sync, decode_blob_request, decode_blob_answer, decode_addresses):
        with suppress(WireError):
            decode(noise)


@given(st.data())
def test_mutated_greetings_raise_wire_error_or_mean_something_else(data: st.DataObject) -> None:
    raw = bytearray(encode(greeting()))
    before = bytes(raw)
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with suppress(WireError):
        decoded = decode_greeting(bytes(raw), sender=SENDER)
        assert encode_greeting(decoded) == bytes(raw)
        assert (bytes(raw) == before) == (decoded == decode_greeting(before, sender=SENDER))
