from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.core.addresses import from_peer_id, parse_address, parse_dialable, to_peer_id
from gossip.errors import AddressError
from protocol.limits_network import ADDRESS_CHARS_MAX

# The peer id of the key in RFC 8032, section 7.1, test 1, as libp2p prints it.
RFC_KEY = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


def test_peer_id_agrees_with_libp2p() -> None:
    from libp2p.crypto.ed25519 import Ed25519PublicKey
    from libp2p.peer.id import ID

    theirs = ID.from_pubkey(Ed25519PublicKey.from_bytes(RFC_KEY)).to_string()
    assert to_peer_id(RFC_KEY) == theirs
    assert from_peer_id(theirs) == RFC_KEY


@given(st.binary(min_size=32, max_size=32))
def test_peer_id_round_trip(node_id: bytes) -> None:
    assert from_peer_id(to_peer_id(node_id)) == node_id


@given(st.text(max_size=80))
def test_any_other_text_is_refused_as_a_peer_id(text: str) -> None:
    with suppress(AddressError):
        assert to_peer_id(from_peer_id(text)) == text


PEER = to_peer_id(RFC_KEY)


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/127.0.0.1/tcp/4001",
        f"/ip4/10.0.0.7/tcp/1/p2p/{PEER}",
        f"/ip6/2001:db8::1/tcp/65535/p2p/{PEER}",
        f"/dns/node.example.org/tcp/80/p2p/{PEER}",
        f"/dns4/founder/tcp/4001/p2p/{PEER}",
    ],
)
def test_addresses_round_trip(text: str) -> None:
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:4001",
        "/ip4/127.0.0.1",
        "/ip4/300.0.0.1/tcp/4001",
        "/ip4/127.0.0.1/udp/4001",
        "/ip4/127.0.0.1/tcp/65536",
        "/ip4/127.0.0.1/tcp/-1",
        "/ip4/127.0.0.1/tcp/٣",
        "/ip6/127.0.0.1/tcp/1",
        "/dns/-bad-/tcp/1",
        "/dns/a b/tcp/1",
        "/unix/x/tcp/1",
        "/ip4/127.0.0.1/tcp/1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        f"/ip4/127.0.0.1/tcp/1/ipfs/{PEER}",
        f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}/p2p-circuit",
        "/dns/" + "a" * ADDRESS_CHARS_MAX + "/tcp/1",
    ],
)
def test_other_text_is_refused_in_words(text: str) -> None:
    with pytest.raises(AddressError, match=r"\w+ \w+"):
        parse_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/127.0.0.1/tcp/4001",
        f"/ip4/127.0.0.1/tcp/0/p2p/{PEER}",
        f"/ip4/0.0.0.0/tcp/4001/p2p/{PEER}",
        f"/ip6/::/tcp/4001/p2p/{PEER}",
    ],
)
def test_what_cannot_be_dialled_is_refused(text: str) -> None:
    parse_address(text)
    with pytest.raises(AddressError):
        parse_dialable(text)
