"""Canonical MessagePack: one byte string for one value.

The subset: None, booleans, integers of 64 bits, UTF-8 text, bytes, lists, and maps whose keys are
text in ascending order of their UTF-8 bytes; every length and integer in its shortest form. Floats
and extension types do not exist here, because two machines may print them differently.

The rule that makes it canonical is checked, not trusted: `decode` encodes what it read and
compares it with what it was given. Before anything is built, a scan of the heads bounds the number
of values, so that a short hostile message can cost neither memory nor time.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

import msgpack

from protocol.errors import FieldError, WireError
from protocol.limits import DEPTH_MAX, ENVELOPE_BYTES_MAX, VALUES_MAX

Value: TypeAlias = "bool | int | str | bytes | list[Value] | dict[str, Value] | None"
"""What the canonical format can carry."""

_INT_MIN: Final = -(1 << 63)
_INT_MAX: Final = (1 << 64) - 1

# What follows a head byte from 0xC0 to 0xDF: a payload of so many bytes, or a length field of so
# many bytes that counts payload bytes or items. A head that is missing here does not exist in
# this format: 0xC1 is unassigned, the others are floats and extension types.
_PAYLOAD_BYTES: Final = {
    0xC0: 0, 0xC2: 0, 0xC3: 0,
    0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8,
    0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,
}  # fmt: skip
_LENGTH_BYTES: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_LIST_LENGTH_BYTES: Final = {0xDC: 2, 0xDD: 4}
_MAP_LENGTH_BYTES: Final = {0xDE: 2, 0xDF: 4}


def encode(value: object) -> bytes:
    """Encode a value canonically; tuples and lists, mappings and dicts are equivalent.

    Raises:
        FieldError: The value is of a type, number or depth that the format cannot carry.
    """
    packed = _pack(value)
    if _count_values(packed) > VALUES_MAX:
        raise FieldError(f"more than {VALUES_MAX} values in one message")
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
    if _count_values(data) > VALUES_MAX:
        raise WireError(f"more than {VALUES_MAX} values in one message")
    try:
        value = msgpack.unpackb(data, raw=False, strict_map_key=True, use_list=True)
        again = _pack(value)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise WireError(f"not MessagePack: {type(error).__name__}") from error
    except FieldError as error:
        raise WireError(str(error)) from error
    if again != data:
        raise WireError("not the canonical encoding of its value")
    result: Value = value
    return result


def _pack(value: object) -> bytes:
    packed = msgpack.packb(_ordered(value, 0), use_bin_type=True, strict_types=True)
    assert isinstance(packed, bytes)
    return packed


def _count_values(data: bytes) -> int:
    """Count the values that the heads announce, stopping once there are too many.

    Lengths that point past the end are left to the parser: what it builds is bounded by the count.

    Raises:
        WireError: A head byte that this format lacks.
    """
    position, read, announced = 0, 0, 1
    while position < len(data) and read < announced <= VALUES_MAX:
        head = data[position]
        position += 1
        read += 1
        if head < 0x80 or head >= 0xE0:  # small integers
            continue
        if head < 0x90:  # short maps
            announced += 2 * (head & 0x0F)
        elif head < 0xA0:  # short lists
            announced += head & 0x0F
        elif head < 0xC0:  # short text
            position += head & 0x1F
        elif head in _PAYLOAD_BYTES:
            position += _PAYLOAD_BYTES[head]
        elif head in _LENGTH_BYTES:
            start, position = position, position + _LENGTH_BYTES[head]
            position += int.from_bytes(data[start:position], "big")
        elif head in _LIST_LENGTH_BYTES:
            start, position = position, position + _LIST_LENGTH_BYTES[head]
            announced += int.from_bytes(data[start:position], "big")
        elif head in _MAP_LENGTH_BYTES:
            start, position = position, position + _MAP_LENGTH_BYTES[head]
            announced += 2 * int.from_bytes(data[start:position], "big")
        else:
            raise WireError(f"0x{head:02x} begins no value of this format")
    return announced


def _ordered(value: object, depth: int) -> object:
    """Copy a value with its maps in key order, refusing what the format lacks.

    Scalars are compared by exact type: an enumeration or a subclass of text has a meaning of its
    own that the bytes would silently drop.
    """
    if depth > DEPTH_MAX:
        raise FieldError(f"nested deeper than {DEPTH_MAX} levels")
    if value is None or type(value) is bool or type(value) is bytes:
        return value
    if type(value) is int:
        if not _INT_MIN <= value <= _INT_MAX:
            raise FieldError("integer outside 64 bits")
        return value
    if type(value) is str:
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise FieldError("text is not valid Unicode") from error
        return value
    if isinstance(value, list | tuple):
        return [_ordered(item, depth + 1) for item in value]
    if isinstance(value, Mapping):
        for key in value:
            if type(key) is not str:
                raise FieldError("map keys must be text")
        ordered = sorted(value.items(), key=lambda item: item[0].encode("utf-8", "surrogatepass"))
        return {_ordered(key, depth): _ordered(item, depth + 1) for key, item in ordered}
    raise FieldError(f"{type(value).__name__} cannot be encoded")
