"""Notices: short-lived, signed, never stored.

A `Claim` says "I am running this now", so that nobody repeats it. A `Presence` says what a peer
is and does. Both only schedule work and inform people; no verdict depends on either.
"""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from protocol import limits
from protocol.errors import WireError
from protocol.ids import NOTICE_SIGNATURE_TAG
from protocol.keys import SigningKey
from protocol.schema import Bool, Bytes, Int, ListOf, OneOf, Text, from_map, to_map, wire
from protocol.signed import parse_statement, seal_statement

_ID: Final = Bytes(limits.ID_BYTES)
_OPTIONAL_ID: Final = Bytes(limits.ID_BYTES, or_empty=True)


PresenceState: TypeAlias = Literal[
    "idle", "proposing", "screening", "verifying", "rechecking", "paused"
]


@dataclass(frozen=True, slots=True)
class Claim:
    """A peer runs this change now.

    Attributes:
        parent: The lineage entry that is changed.
        change: Digest of the normalised changed file.
        lease_s: For how long others should keep off, in seconds from receipt.
    """

    parent: bytes = wire(_ID)
    change: bytes = wire(_ID)
    lease_s: int = wire(Int(1, 24 * 3600))


@dataclass(frozen=True, slots=True)
class Presence:
    """What a peer is and does.

    Attributes:
        role: `agent` takes part, `observer` only watches.
        version: The peer's software version.
        device: Its hardware, in words.
        sandbox: Which sandbox confines others' code there; empty when it runs none.
        head: Its head's entry id; empty before it has one.
        depth: Depth of its head.
        records: Number of records it holds.
        digest: Digest of that set of records.
        state: What its worker does.
        hypothesis: The hypothesis that it runs; empty when none.
        progress_permille: How far the run is.
        wants_admission: Whether it asks to become a member.
        addresses: Multiaddresses under which it can be dialled.
    """

    role: Literal["agent", "observer"] = wire(OneOf(("agent", "observer")))
    version: str = wire(Text(32))
    device: str = wire(Text(limits.DEVICE_BYTES_MAX))
    sandbox: str = wire(Text(32))
    head: bytes = wire(_OPTIONAL_ID)
    depth: int = wire(Int(0, 1_000_000))
    records: int = wire(Int(0, limits.COUNT_MAX))
    digest: bytes = wire(_ID)
    state: PresenceState = wire(
        OneOf(("idle", "proposing", "screening", "verifying", "rechecking", "paused"))
    )
    hypothesis: bytes = wire(_OPTIONAL_ID)
    progress_permille: int = wire(Int(0, 1000))
    wants_admission: bool = wire(Bool())
    addresses: tuple[str, ...] = wire(ListOf(Text(limits.ADDRESS_BYTES_MAX), limits.ADDRESSES_MAX))


NoticeBody: TypeAlias = Claim | Presence

NOTICE_TYPES: Final[dict[str, type[NoticeBody]]] = {"claim": Claim, "presence": Presence}
"""The kinds of notice, as they are written on the wire."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice whose signature has been checked."""

    author: bytes
    created_ms: int
    body: NoticeBody


def seal_notice(body: NoticeBody, *, key: SigningKey, swarm: bytes, created_ms: int) -> bytes:
    """Sign a notice.

    Raises:
        FieldError: A field is outside its bounds, or the notice is too large.
    """
    return seal_statement(
        next(kind for kind, struct in NOTICE_TYPES.items() if type(body) is struct),
        to_map(body),
        key=key,
        swarm=swarm,
        created_ms=created_ms,
        tag=NOTICE_SIGNATURE_TAG,
        bytes_max=limits.NOTICE_BYTES_MAX,
    )


def open_notice(data: bytes, *, swarm: bytes) -> Notice:
    """Check a notice completely and return what it says.

    Raises:
        WireError: Any fault that the bytes prove; nothing else is raised.
    """
    statement = parse_statement(data, bytes_max=limits.NOTICE_BYTES_MAX)
    if statement.swarm != swarm:
        raise WireError("notice of another swarm")
    if statement.kind not in NOTICE_TYPES:
        raise WireError("unknown kind of notice")
    body = from_map(NOTICE_TYPES[statement.kind], statement.body)
    statement.verify(NOTICE_SIGNATURE_TAG)
    return Notice(author=statement.author, created_ms=statement.created_ms, body=body)
