"""Canonical MessagePack: one byte string for one value.

The subset: None, booleans, integers of 64 bits, UTF-8 text, bytes, lists, and maps whose keys are
text in ascending order of their UTF-8 bytes; every length and integer in its shortest form. Floats
and extension types do not exist here, because two machines may print them differently.

The rule that makes it canonical is checked, not trusted: `decode` encodes what it read and
compares it with what it was given.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

import msgpack

from protocol.errors import FieldError, WireError
from protocol.limits import DEPTH_MAX, ENVELOPE_BYTES_MAX

Value: TypeAlias = "bool | int | str | bytes | list[Value] | dict[str, Value] | None"
"""What the canonical format can carry."""

_INT_MIN: Final = -(1 << 63)
_INT_MAX: Final = (1 << 64) - 1


def encode(value: object) -> bytes:
    """Encode a value canonically; tuples and lists, mappings and dicts are equivalent.

    Raises:
        FieldError: The value is of a type, size or depth that the format cannot carry.
    """
    packed = msgpack.packb(_ordered(value, 0), use_bin_type=True, strict_types=True)
    assert isinstance(packed, bytes)
    return packed


def decode(data: bytes, *, bytes_max: int = ENVELOPE_BYTES_MAX) -> Value:
    """Decode canonical bytes.

    Args:
        data: The whole message, nothing before or after it.
        bytes_max: Longest message accepted, in bytes.

    Raises:
        WireError: Too long, malformed, trailing bytes, or not the canonical form of its value.
    """
    if len(data) > bytes_max:
        raise WireError(f"message of {len(data)} bytes is over the limit of {bytes_max}")
    try:
        value = msgpack.unpackb(data, raw=False, strict_map_key=True, use_list=True)
        again = encode(value)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise WireError(f"not MessagePack: {type(error).__name__}") from error
    except FieldError as error:
        raise WireError(str(error)) from error
    if again != data:
        raise WireError("not the canonical encoding of its value")
    result: Value = value
    return result


def _ordered(value: object, depth: int) -> object:
    """Copy a value with its maps in key order, refusing what the format lacks."""
    if depth > DEPTH_MAX:
        raise FieldError(f"nested deeper than {DEPTH_MAX} levels")
    if value is None or isinstance(value, bool | bytes):
        return value
    if isinstance(value, int):
        if not _INT_MIN <= value <= _INT_MAX:
            raise FieldError("integer outside 64 bits")
        return value
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise FieldError("text is not valid Unicode") from error
        return value
    if isinstance(value, list | tuple):
        return [_ordered(item, depth + 1) for item in value]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise FieldError("map keys must be text")
        ordered = sorted(value.items(), key=lambda item: item[0].encode("utf-8", "surrogatepass"))
        return {str(_ordered(key, depth)): _ordered(item, depth + 1) for key, item in ordered}
    raise FieldError(f"{type(value).__name__} cannot be encoded")
