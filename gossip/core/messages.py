"""Messages on our stream protocols: typed values and their canonical MessagePack.

This file decides the form of every frame, and checks each one that arrives before anything else
sees it. It refuses to know streams, libp2p and what a record means. The bytes are documented in
`docs/protocol-network.md`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from gossip.core.addresses import parse_dialable
from gossip.core.index import FINGERPRINT_BYTES
from gossip.errors import AddressError
from protocol.canonical import decode, encode
from protocol.errors import FieldError, WireError
from protocol.limits import COUNT_MAX, ENVELOPE_BYTES_MAX, ID_BYTES, NAME_BYTES_MAX
from protocol.limits_network import (
    ADDRESS_CHARS_MAX,
    FRAME_BYTES_MAX,
    HELLO_BYTES_MAX,
    PEER_ADDRESSES_MAX,
    PEER_EXCHANGE_MAX,
    SYNC_GET_IDS_MAX,
    SYNC_MESSAGE_BYTES_MAX,
)
from protocol.schema import (
    Bool,
    Bytes,
    Int,
    ListOf,
    Optional,
    Spec,
    Text,
    from_map,
    to_map,
    wire,
)

_ID: Final = Bytes(ID_BYTES)
_COUNT: Final = Int(0, COUNT_MAX)
_NAME: Final = Text(NAME_BYTES_MAX)
_ADDRESS: Final = Text(ADDRESS_CHARS_MAX)
_IDS: Final = ListOf(_ID, SYNC_GET_IDS_MAX, count_min=1)
_EXCHANGE: Final = ListOf(_ADDRESS, PEER_EXCHANGE_MAX)


@dataclass(frozen=True, slots=True)
class Hello:
    """What a node says about itself when it meets another.

    Attributes:
        version: Version of its software.
        swarm: Its swarm id, 32 bytes; None while it looks for one.
        role: Such as `agent` or `leaderboard`; words for people.
        head: Id of its lineage head, 32 bytes, if it has one.
        records: How many records it has.
        digest: Digest of its set of records, only ever compared; empty while it has none.
    """

    version: str = wire(_NAME)
    swarm: bytes | None = wire(Optional(_ID))
    role: str = wire(_NAME)
    head: bytes | None = wire(Optional(_ID))
    records: int = wire(_COUNT)
    digest: bytes = wire(Bytes(FINGERPRINT_BYTES, or_empty=True))


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
class _Meeting:
    """What a greeting says besides the hello; on the wire both are one map."""

    addresses: tuple[str, ...] = wire(ListOf(_ADDRESS, PEER_ADDRESSES_MAX))
    genesis: bool = wire(Bool())


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

    digest: bytes = wire(_ID)
    offset: int = wire(_COUNT)


@dataclass(frozen=True, slots=True)
class BlobAnswer:
    """Whole size of the blob; None when the sender lacks it. Chunks follow."""

    size: int | None = wire(Optional(_COUNT))


def encode_greeting(greeting: Greeting) -> bytes:
    """Encode the first frame of a hello stream."""
    meeting = _Meeting(greeting.addresses, greeting.genesis)
    return encode(to_map(greeting.hello) | to_map(meeting))


def decode_greeting(data: bytes, *, sender: bytes) -> Greeting:
    """Decode a greeting.

    Args:
        data: The frame.
        sender: Node id that the connection proved; addresses of anyone else are refused.

    Raises:
        WireError: Not a greeting.
    """
    fields = decode(data, bytes_max=HELLO_BYTES_MAX)
    if not isinstance(fields, dict):
        raise WireError("a greeting must be a map")
    said = {name: fields.pop(name) for name in _MEETING_FIELDS if name in fields}
    meeting = from_map(_Meeting, said)
    addresses = _dialable(meeting.addresses)
    if any(parse_dialable(address).node_id != sender for address in addresses):
        raise WireError("a hello offers an address of another node")
    return Greeting(from_map(Hello, fields), addresses, meeting.genesis)


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
            return Get(_checked(_IDS, ids))
        case ["records", answered, list(envelopes)]:
            if len(envelopes) > SYNC_GET_IDS_MAX:
                raise WireError(f"sends {len(envelopes)} records at once")
            return Records(
                _checked(_COUNT, answered), tuple(_envelope(value) for value in envelopes)
            )
        case _:
            raise WireError("unknown sync message")


def encode_blob_request(request: BlobRequest) -> bytes:
    """Encode the one request of a blob stream."""
    return encode(to_map(request))


def decode_blob_request(data: bytes) -> BlobRequest:
    """Decode the request of a blob stream.

    Raises:
        WireError: Not a blob request.
    """
    return from_map(BlobRequest, decode(data, bytes_max=HELLO_BYTES_MAX))


def encode_blob_answer(answer: BlobAnswer) -> bytes:
    """Encode the head of a blob answer."""
    return encode(to_map(answer))


def decode_blob_answer(data: bytes) -> BlobAnswer:
    """Decode the head of a blob answer.

    Raises:
        WireError: Not a blob answer.
    """
    return from_map(BlobAnswer, decode(data, bytes_max=HELLO_BYTES_MAX))


def encode_addresses(addresses: Sequence[str]) -> bytes:
    """Encode an answer of the peer exchange."""
    return encode(list(addresses))


def decode_addresses(data: bytes) -> tuple[str, ...]:
    """Decode an answer of the peer exchange.

    Raises:
        WireError: Not a list of dialable addresses.
    """
    return _dialable(_checked(_EXCHANGE, decode(data, bytes_max=HELLO_BYTES_MAX)))


_MEETING_FIELDS: Final = ("addresses", "genesis")


def _checked(spec: Spec, value: object) -> Any:
    """A value that keeps a rule, outside of any map."""
    try:
        return spec.decode(value)
    except FieldError as error:
        raise WireError(str(error)) from error


def _envelope(value: object) -> bytes:
    if not isinstance(value, bytes) or not 0 < len(value) <= ENVELOPE_BYTES_MAX:
        raise WireError("expected an envelope")
    return value


def _dialable(addresses: Sequence[str]) -> tuple[str, ...]:
    try:
        return tuple(str(parse_dialable(address)) for address in addresses)
    except AddressError as error:
        raise WireError(str(error)) from error
