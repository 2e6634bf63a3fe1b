"""Statements changed and signed again: what a dishonest author, not a bystander, can send."""

from collections.abc import Callable
from typing import Any

from protocol import ids, limits
from protocol.canonical import decode, encode
from protocol.keys import SigningKey
from tests.protocol.samples import NoticeSample, RecordSample


def resigned(
    sample: RecordSample | NoticeSample,
    change: Callable[[dict[str, Any]], None],
    *,
    tag: bytes = ids.RECORD_SIGNATURE_TAG,
    key: SigningKey | None = None,
) -> bytes:
    """Change the map of a statement and sign it again, as its author could."""
    value = decode(sample.envelope[limits.SIGNATURE_BYTES :])
    assert isinstance(value, dict)
    change(value)
    signed = encode(value)
    return (key or sample.key).sign(tag + signed) + signed


def nothing(value: dict[str, Any]) -> None:
    pass


def set_field(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(statement: dict[str, Any]) -> None:
        statement[name] = value

    return change


def remove_field(name: str) -> Callable[[dict[str, Any]], None]:
    def change(statement: dict[str, Any]) -> None:
        del statement[name]

    return change
