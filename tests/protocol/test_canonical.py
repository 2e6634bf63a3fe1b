from collections import OrderedDict
from enum import IntEnum, StrEnum
from types import MappingProxyType

import pytest

from protocol.canonical import _count_values, decode, encode
from protocol.errors import FieldError, WireError
from protocol.limits import DEPTH_MAX, ENVELOPE_BYTES_MAX, VALUES_MAX
from tests.protocol.canonical_cases import INVALID, VALID

# Sizes in bytes of what follows the head of an integer.
_UNSIGNED = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_SIGNED = {0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}

valid = pytest.mark.parametrize(("name", "value", "wire"), VALID, ids=[case[0] for case in VALID])


@valid
def test_valid_value_has_exactly_these_bytes(name: str, value: object, wire: str) -> None:
    assert encode(value).hex() == wire
    decoded = decode(bytes.fromhex(wire))
    assert decoded == value
    assert type(decoded) is type(value)


@valid
def test_every_prefix_and_every_trailing_byte_is_refused(
    name: str, value: object, wire: str
) -> None:
    data = bytes.fromhex(wire)
    for length in range(len(data)):
        with pytest.raises(WireError):
            decode(data[:length])
    for byte in (0x00, 0x80, 0xC0, 0xC1, 0xFF):
        with pytest.raises(WireError):
            decode(data + bytes([byte]))


@pytest.mark.parametrize(("name", "wire", "reason"), INVALID, ids=[case[0] for case in INVALID])
def test_invalid_bytes_are_refused_for_the_right_reason(name: str, wire: str, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        decode(bytes.fromhex(wire))


def test_truth_values_and_integers_stay_apart() -> None:
    assert encode(True) != encode(1)
    assert decode(b"\xc3") is True
    assert decode(b"\x01") == 1
    assert type(decode(b"\x01")) is int


def test_text_and_bytes_stay_apart() -> None:
    assert encode("a") != encode(b"a")


def test_order_of_insertion_does_not_show() -> None:
    forwards = {"a": 1, "b": [{"x": 1, "y": 2}]}
    backwards = {"b": [{"y": 2, "x": 1}], "a": 1}
    assert encode(forwards) == encode(backwards)


def test_equivalent_python_containers_have_equal_bytes() -> None:
    plain = encode({"a": [1, 2]})
    assert encode(OrderedDict(a=(1, 2))) == plain
    assert encode(MappingProxyType({"a": [1, 2]})) == plain


class _Word(StrEnum):
    YES = "yes"


class _Number(IntEnum):
    ONE = 1


_LOOP: list[object] = []
_LOOP.append(_LOOP)


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        float("nan"),
        1 << 64,
        -(1 << 63) - 1,
        10**5000,
        {1: 2},
        {b"a": 1},
        {None: 1},
        {_Word.YES: 1},
        "\ud800",
        {"\ud800": 1},
        {1, 2},
        object(),
        bytearray(b"a"),
        memoryview(b"a"),
        _Word.YES,
        _Number.ONE,
        1j,
        _LOOP,
        [[[[[[[[[1]]]]]]]]],
        [None] * VALUES_MAX,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_the_format_lacks_is_our_own_fault(value: object) -> None:
    with pytest.raises(FieldError):
        encode(value)


def test_the_number_of_values_is_bounded_alike_in_both_directions() -> None:
    most = [None] * (VALUES_MAX - 1)
    assert decode(encode(most)) == most


@pytest.mark.parametrize(
    ("head", "value"),
    [
        *((head, int.from_bytes(b"\xc1" * size, "big")) for head, size in _UNSIGNED.items()),
        *(
            (head, int.from_bytes(b"\xc1" * size, "big", signed=True))
            for head, size in _SIGNED.items()
        ),
        *((head, b"\xc1" * size) for head, size in {0xC4: 3, 0xC5: 256, 0xC6: 65_536}.items()),
        *((head, "ß" * size) for head, size in {0xD9: 16, 0xDA: 128, 0xDB: 32_768}.items()),
    ],
    ids=lambda item: f"{item:02x}" if item in range(256) else "",
)
def test_the_count_steps_over_payloads_that_look_like_heads(head: int, value: object) -> None:
    data = encode([value, None, value, 1, 2, 3])
    assert data[1] == head
    assert _count_values(data) == 7


def test_depth_is_bounded_alike_in_both_directions() -> None:
    value: object = 1
    for _ in range(DEPTH_MAX):
        value = {"a": value}
    assert decode(encode(value)) == value
    with pytest.raises(FieldError, match="nested deeper"):
        encode([value])


def test_size_is_checked_before_anything_else() -> None:
    fits = encode(bytes(ENVELOPE_BYTES_MAX - 3))
    assert len(fits) == ENVELOPE_BYTES_MAX
    assert decode(fits) == bytes(ENVELOPE_BYTES_MAX - 3)
    with pytest.raises(WireError, match="over the limit"):
        decode(b"\xc1" * (ENVELOPE_BYTES_MAX + 1))
    with pytest.raises(WireError, match="over the limit of 10"):
        decode(bytes(11), bytes_max=10)
    large = encode(bytes(100_000))
    assert decode(large, bytes_max=len(large)) == bytes(100_000)
