"""Signed statements: what records and notices have in common on the wire.

A statement is a 64-byte Ed25519 signature followed by the canonical bytes of a map with six
fields: `v, swarm, kind, author, created_ms, body`. Signing covers a tag and those exact bytes;
nothing is serialised again between signing and checking.
"""

from dataclasses import dataclass
from typing import Any, Final

from protocol import canonical, limits
from protocol.errors import FieldError, WireError
from protocol.keys import SigningKey, verify
from protocol.schema import Bytes, Int, Spec, Text

_HEADER: Final[dict[str, Spec]] = {
    "v": Int(limits.WIRE_VERSION, limits.WIRE_VERSION),
    "swarm": Bytes(limits.ID_BYTES),
    "kind": Text(limits.NAME_BYTES_MAX, empty=False),
    "author": Bytes(limits.KEY_BYTES),
    "created_ms": Int(0, limits.TIME_MS_MAX),
}


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement whose form is right and whose signature has not been checked yet."""

    signature: bytes
    signed: bytes
    swarm: bytes
    kind: str
    author: bytes
    created_ms: int
    body: object

    def verify(self, tag: bytes) -> None:
        """Check the author's signature.

        Raises:
            SignatureError: It does not match.
        """
        verify(self.author, self.signature, tag + self.signed)


def seal_statement(
    kind: str,
    body: dict[str, Any],
    *,
    key: SigningKey,
    swarm: bytes,
    created_ms: int,
    tag: bytes,
    bytes_max: int,
) -> bytes:
    """Sign the map of a struct as a statement.

    Raises:
        FieldError: A header field is outside its bounds, or the whole is too large.
    """
    header = {
        "v": limits.WIRE_VERSION,
        "swarm": swarm,
        "kind": kind,
        "author": key.public,
        "created_ms": created_ms,
    }
    for name, spec in _HEADER.items():
        try:
            spec.encode(header[name])
        except FieldError as error:
            raise FieldError(f"{name}: {error}") from error
    signed = canonical.encode({**header, "body": body})
    data = key.sign(tag + signed) + signed
    if len(data) > bytes_max:
        raise FieldError(f"{kind} of {len(data)} bytes; the limit is {bytes_max}")
    return data


def parse_statement(data: bytes, *, bytes_max: int) -> Statement:
    """Check size, canonical form and header of a statement.

    Raises:
        WireError: Any fault that the bytes prove.
    """
    if not limits.SIGNATURE_BYTES < len(data) <= bytes_max:
        raise WireError(f"a statement cannot have {len(data)} bytes")
    signed = data[limits.SIGNATURE_BYTES :]
    value = canonical.decode(signed)
    if not isinstance(value, dict) or value.keys() != {*_HEADER, "body"}:
        raise WireError("not the header of a statement")
    header: dict[str, Any] = {}
    for name, spec in _HEADER.items():
        try:
            header[name] = spec.decode(value[name])
        except FieldError as error:
            raise WireError(f"{name}: {error}") from error
    return Statement(
        signature=data[: limits.SIGNATURE_BYTES],
        signed=signed,
        swarm=header["swarm"],
        kind=header["kind"],
        author=header["author"],
        created_ms=header["created_ms"],
        body=value["body"],
    )
