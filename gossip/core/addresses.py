"""Text forms of node ids and addresses: peer ids and the multiaddresses that we dial.

A node id is the node's 32-byte Ed25519 public key. Its libp2p peer id is the identity multihash
of the key's protobuf form, in base58 (libp2p specification "Peer Ids and Keys"). The multiaddress
subset is one host, one TCP port and, where it names a peer, one peer id. This module refuses to
know sockets and name resolution.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, Literal, get_args

from gossip.errors import AddressError
from protocol.limits_network import ADDRESS_CHARS_MAX

HostKind = Literal["ip4", "ip6", "dns", "dns4", "dns6"]

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_PEER_ID_PREFIX: Final = bytes.fromhex("002408011220")
"""Identity multihash (00) of 36 bytes (24): key type Ed25519 (0801), 32 bytes of data (1220)."""

_PEER_ID_CHARS_MAX: Final = 64
_NAME: Final = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){0,8}\.?")


def to_peer_id(node_id: bytes) -> str:
    """The libp2p peer id (`12D3Koo…`) of a node id."""
    assert len(node_id) == 32
    number = int.from_bytes(_PEER_ID_PREFIX + node_id, "big")
    digits = ""
    while number:
        number, digit = divmod(number, 58)
        digits = _ALPHABET[digit] + digits
    # The prefix starts with exactly one zero byte, which base58 writes as one "1".
    return "1" + digits


def from_peer_id(text: str) -> bytes:
    """The node id in a libp2p peer id.

    Raises:
        AddressError: The text is not the peer id of an Ed25519 key.
    """
    if not 0 < len(text) <= _PEER_ID_CHARS_MAX:
        raise AddressError("a peer id has 52 characters")
    number = 0
    for char in text:
        digit = _ALPHABET.find(char)
        if digit < 0:
            raise AddressError(f"peer id {text!r} is not base58")
        number = number * 58 + digit
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    node_id = data[len(_PEER_ID_PREFIX) - 1 :]
    if len(node_id) != 32 or to_peer_id(node_id) != text:
        raise AddressError(f"peer id {text!r} does not name an Ed25519 key")
    return node_id


@dataclass(frozen=True, slots=True)
class Address:
    """Where a node listens.

    Attributes:
        kind: The multiaddress protocol of the host.
        host: IP address or domain name.
        port: TCP port; 0 means any free one and is good for listening only.
        node_id: The node that answers there; None where that is not stated.
    """

    kind: HostKind
    host: str
    port: int
    node_id: bytes | None = None

    def __str__(self) -> str:
        peer = "" if self.node_id is None else f"/p2p/{to_peer_id(self.node_id)}"
        return f"/{self.kind}/{self.host}/tcp/{self.port}{peer}"

    @property
    def transport(self) -> str:
        """The address without its peer id."""
        return f"/{self.kind}/{self.host}/tcp/{self.port}"

    @property
    def unspecified(self) -> bool:
        """Whether the host means "every interface" instead of one."""
        return self.host in {"0.0.0.0", "::"}  # noqa: S104  (compared, not bound)


def parse_address(text: str) -> Address:
    """Parse `/ip4/HOST/tcp/PORT[/p2p/PEER]` (or ip6, dns, dns4, dns6).

    Raises:
        AddressError: Anything else, said in words that name the address.
    """
    if len(text) > ADDRESS_CHARS_MAX:
        raise AddressError(f"address is longer than {ADDRESS_CHARS_MAX} characters")
    parts = text.split("/")
    if len(parts) not in {5, 7} or parts[0] or parts[3] != "tcp":
        raise AddressError(f"{text!r} is not of the form /ip4/HOST/tcp/PORT/p2p/PEER")
    if len(parts) == 7 and parts[5] != "p2p":
        raise AddressError(f"{text!r} is not of the form /ip4/HOST/tcp/PORT/p2p/PEER")
    kind = next((known for known in get_args(HostKind) if known == parts[1]), None)
    if kind is None:
        raise AddressError(f"{text!r}: only ip4, ip6 and dns addresses over tcp are understood")
    host = _checked_host(kind, parts[2], text)
    if not (parts[4].isascii() and parts[4].isdigit() and len(parts[4]) <= 5):
        raise AddressError(f"{text!r}: {parts[4]!r} is not a port")
    port = int(parts[4])
    if port > 65535:
        raise AddressError(f"{text!r}: {parts[4]!r} is not a port")
    node_id = from_peer_id(parts[6]) if len(parts) == 7 else None
    return Address(kind=kind, host=host, port=port, node_id=node_id)


def parse_dialable(text: str) -> Address:
    """Parse an address that names one node at one place.

    Raises:
        AddressError: Not an address, or without peer id, port or concrete host.
    """
    address = parse_address(text)
    if address.node_id is None:
        raise AddressError(f"{text!r} lacks the peer id (/p2p/PEER) of the node to reach")
    if address.port == 0 or address.unspecified:
        raise AddressError(f"{text!r} cannot be dialled: host and port must be concrete")
    return address


def _checked_host(kind: str, host: str, text: str) -> str:
    """Check a host against its kind; IP addresses come back in their normal form."""
    try:
        match kind:
            case "ip4":
                return str(ipaddress.IPv4Address(host))
            case "ip6":
                return str(ipaddress.IPv6Address(host))
            case _:
                if _NAME.fullmatch(host) is None:
                    raise AddressError(f"{text!r}: {host!r} is not a domain name")
                return host
    except ValueError as error:
        raise AddressError(f"{text!r}: {host!r} is not an address of kind {kind}") from error
