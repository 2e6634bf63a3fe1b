"""Messages on our stream protocols: typed values and their canonical MessagePack.

This file decides the form of every frame, and checks each one that arrives before anything else
sees it. It refuses to know streams, libp2p and what a record means. The bytes are documented in
`docs/protocol-network.md`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gossip.core.addresses import parse_dialable
from gossip.errors import AddressError
from protocol.canonical import decode, encode
from protocol.errors import WireError
from protocol.limits import COUNT_MAX, ENVELOPE_BYTES_MAX, NAME_BYTES_MAX
from protocol.limits_network import (
    ADDRESS_CHARS_MAX,
    FRAME_BYTES_MAX,
    HELLO_BYTES_MAX,
    PEER_ADDRESSES_MAX,
    PEER_EXCHANGE_MAX,
    SYNC_GET_IDS_MAX,
    SYNC_MESSAGE_BYTES_MAX,
)

_ID_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Hello:
    """What a node says about itself when it meets another.

    Attributes:
        version: Version of its software.
        swarm: Its swarm id, 32 bytes; None while it looks for one.
        role: Such as `agent` or `leaderboard`; words for people.
        head: Id of its lineage head, 32 bytes, if it has one.
        records: How many records it has.
        digest: Digest of its set of records; at most 32 bytes, only ever compared.
    """

    version: str
    swarm: bytes | None
    role: str
    head: bytes | None
    records: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Greeting:
    """First frame of a hello stream, and its answer.

    Attributes:
        hello: What the node's application says.
        addresses: Where the node can be dialled, with its peer id.
        genesis: Whether the sender wants the swarm's genesis envelope as the next frame.
    """

    hello: Hello
    addresses: tuple[str, ...]
    genesis: bool


@dataclass(frozen=True, slots=True)
class Ranges:
    """A reconciliation message, either way."""

    message: bytes


@dataclass(frozen=True, slots=True)
class Get:
    """Asks for records by id."""

    ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Records:
    """Envelopes: the answer to a `Get`, or an offer by the initiator.

    Attributes:
        answered: How many of the ids asked for this answers, in the order asked; the rest did
            not fit. In an offer, the number of envelopes.
        envelopes: The records found; ids that the sender lacks are passed over.
    """

    answered: int
    envelopes: tuple[bytes, ...]


SyncMessage = Ranges | Get | Records


@dataclass(frozen=True, slots=True)
class BlobRequest:
    """Asks for a blob's bytes from an offset on."""

    digest: bytes
    offset: int


@dataclass(frozen=True, slots=True)
class BlobAnswer:
    """Whole size of the blob; None when the sender lacks it. Chunks follow."""

    size: int | None


def encode_greeting(greeting: Greeting) -> bytes:
    """Encode the first frame of a hello stream."""
    hello = greeting.hello
    return encode(
        {
            "addresses": greeting.addresses,
            "digest": hello.digest,
            "genesis": greeting.genesis,
            "head": hello.head,
            "records": hello.records,
            "role": hello.role,
            "swarm": hello.swarm,
            "version": hello.version,
        }
    )


def decode_greeting(data: bytes, *, sender: bytes) -> Greeting:
    """Decode a greeting.

    Args:
        data: The frame.
        sender: Node id that the connection proved; addresses of anyone else are refused.

    Raises:
        WireError: Not a greeting.
    """
    fields = _fields(decode(data, bytes_max=HELLO_BYTES_MAX), _GREETING_FIELDS)
    addresses = _addresses(fields["addresses"], PEER_ADDRESSES_MAX)
    if any(parse_dialable(address).node_id != sender for address in addresses):
        raise WireError("a hello offers an address of another node")
    digest = _bytes(fields["digest"])
    if len(digest) > _ID_BYTES:
        raise WireError("digest is too long")
    genesis = fields["genesis"]
    if not isinstance(genesis, bool):
        raise WireError("genesis is not a boolean")
    hello = Hello(
        version=_name(fields["version"]),
        swarm=None if fields["swarm"] is None else _id(fields["swarm"]),
        role=_name(fields["role"]),
        head=None if fields["head"] is None else _id(fields["head"]),
        records=_count(fields["records"]),
        digest=digest,
    )
    return Greeting(hello=hello, addresses=addresses, genesis=genesis)


def encode_sync(message: SyncMessage) -> bytes:
    """Encode one frame of a sync stream."""
    match message:
        case Ranges(data):
            return encode(["ranges", data])
        case Get(ids):
            return encode(["get", ids])
        case Records(answered, envelopes):
            return encode(["records", answered, envelopes])


def decode_sync(data: bytes) -> SyncMessage:
    """Decode one frame of a sync stream.

    Raises:
        WireError: None of the messages, or over their limits.
    """
    match decode(data, bytes_max=FRAME_BYTES_MAX):
        case ["ranges", bytes(message)]:
            if len(message) > SYNC_MESSAGE_BYTES_MAX:
                raise WireError("reconciliation message is too long")
            return Ranges(message)
        case ["get", list(ids)]:
            if not 0 < len(ids) <= SYNC_GET_IDS_MAX:
                raise WireError(f"asks for {len(ids)} records at once")
            return Get(tuple(_id(value) for value in ids))
        case ["records", answered, list(envelopes)]:
            if len(envelopes) > SYNC_GET_IDS_MAX:
                raise WireError(f"sends {len(envelopes)} records at once")
            return Records(_count(answered), tuple(_envelope(value) for value in envelopes))
        case _:
            raise WireError("unknown sync message")


def encode_blob_request(request: BlobRequest) -> bytes:
    """Encode the one request of a blob stream."""
    return encode({"digest": request.digest, "offset": request.offset})


def decode_blob_request(data: bytes) -> BlobRequest:
    """Decode the request of a blob stream.

    Raises:
        WireError: Not a blob request.
    """
    fields = _fields(decode(data, bytes_max=HELLO_BYTES_MAX), ("digest", "offset"))
    return BlobRequest(digest=_id(fields["digest"]), offset=_count(fields["offset"]))


def encode_blob_answer(answer: BlobAnswer) -> bytes:
    """Encode the head of a blob answer."""
    return encode({"size": answer.size})


def decode_blob_answer(data: bytes) -> BlobAnswer:
    """Decode the head of a blob answer.

    Raises:
        WireError: Not a blob answer.
    """
    size = _fields(decode(data, bytes_max=HELLO_BYTES_MAX), ("size",))["size"]
    return BlobAnswer(size=None if size is None else _count(size))


def encode_addresses(addresses: Sequence[str]) -> bytes:
    """Encode an answer of the peer exchange."""
    return encode(list(addresses))


def decode_addresses(data: bytes) -> tuple[str, ...]:
    """Decode an answer of the peer exchange.

    Raises:
        WireError: Not a list of dialable addresses.
    """
    return _addresses(decode(data, bytes_max=HELLO_BYTES_MAX), PEER_EXCHANGE_MAX)


_GREETING_FIELDS: Final = (
    "addresses",
    "digest",
    "genesis",
    "head",
    "records",
    "role",
    "swarm",
    "version",
)


def _fields(value: object, names: Sequence[str]) -> dict[str, object]:
    """A map with exactly these keys."""
    if not isinstance(value, dict) or set(value) != set(names):
        raise WireError(f"expected a map of {', '.join(names)}")
    return value


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise WireError("expected bytes")
    return value


def _id(value: object) -> bytes:
    if not isinstance(value, bytes) or len(value) != _ID_BYTES:
        raise WireError(f"expected an id of {_ID_BYTES} bytes")
    return value


def _envelope(value: object) -> bytes:
    if not isinstance(value, bytes) or not 0 < len(value) <= ENVELOPE_BYTES_MAX:
        raise WireError("expected an envelope")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= COUNT_MAX:
        raise WireError("expected a count")
    return value


def _name(value: object) -> str:
    if (
        not isinstance(value, str)
        or len(value.encode()) > NAME_BYTES_MAX
        or not value.isprintable()
    ):
        raise WireError("expected a short printable name")
    return value


def _addresses(value: object, count_max: int) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > count_max:
        raise WireError(f"expected at most {count_max} addresses")
    addresses = []
    for item in value:
        if not isinstance(item, str) or len(item) > ADDRESS_CHARS_MAX:
            raise WireError("expected an address")
        try:
            addresses.append(str(parse_dialable(item)))
        except AddressError as error:
            raise WireError(str(error)) from error
    return tuple(addresses)
