"""Typed, bounded structs over canonical maps.

A struct is a frozen dataclass whose fields carry a `Spec` in their metadata:

    @dataclass(frozen=True, slots=True)
    class Metric:
        name: str = wire(Text(64))

`to_map` and `from_map` apply the same specs in both directions, so a record that this node can
build is a record that every node accepts. Unknown and missing fields are refused: the wire version
is how the format changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, TypeVar

from protocol.errors import FieldError, WireError

T = TypeVar("T")


class Spec(Protocol):
    """One field's rule. Both methods raise `FieldError` with the reason, without the path."""

    def encode(self, value: Any) -> Any:
        """Check a Python value and turn it into a canonical value."""

    def decode(self, value: Any) -> Any:
        """Check a canonical value and turn it into a Python value."""


def wire(spec: Spec) -> Any:
    """Declare a dataclass field that travels under the given rule."""
    return field(metadata={"wire": spec})


@dataclass(frozen=True, slots=True)
class Bytes:
    """Bytes of a fixed length; with `or_empty` also none at all, but nothing in between."""

    length: int
    or_empty: bool = False

    def encode(self, value: Any) -> bytes:
        """See `Spec.encode`."""
        if not isinstance(value, bytes):
            raise FieldError("must be bytes")
        if len(value) != self.length and (value or not self.or_empty):
            raise FieldError(f"{len(value)} bytes where {self.length} are due")
        return value

    decode = encode


@dataclass(frozen=True, slots=True)
class Int:
    """An integer between two inclusive bounds."""

    low: int
    high: int

    def encode(self, value: Any) -> int:
        """See `Spec.encode`."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise FieldError("must be an integer")
        if not self.low <= value <= self.high:
            raise FieldError(f"must be within {self.low}..{self.high}")
        return value

    decode = encode


@dataclass(frozen=True, slots=True)
class Bool:
    """A truth value."""

    def encode(self, value: Any) -> bool:
        """See `Spec.encode`."""
        if not isinstance(value, bool):
            raise FieldError("must be true or false")
        return value

    decode = encode


@dataclass(frozen=True, slots=True)
class Text:
    """UTF-8 text without control or direction-changing characters.

    The set of refused characters is listed by code point rather than by Unicode category, because
    the categories change with the Unicode version and every node must refuse the same bytes.
    """

    bytes_max: int
    lines: bool = False
    empty: bool = True

    def encode(self, value: Any) -> str:
        """See `Spec.encode`."""
        if not isinstance(value, str):
            raise FieldError("must be text")
        if not value and not self.empty:
            raise FieldError("must not be empty")
        if len(value.encode("utf-8", "surrogatepass")) > self.bytes_max:
            raise FieldError(f"text over {self.bytes_max} bytes")
        for character in value:
            if _is_refused(ord(character)) and not (self.lines and character == "\n"):
                raise FieldError(f"character U+{ord(character):04X} is not allowed")
        return value

    decode = encode


def _is_refused(point: int) -> bool:
    """Tell whether a code point could alter a terminal, a page or the reading order."""
    return (
        point < 0x20  # C0 controls
        or 0x7F <= point <= 0x9F  # delete and C1 controls
        or point in {0x061C, 0x200E, 0x200F, 0xFEFF}  # direction marks, byte order mark
        or 0x2028 <= point <= 0x202E  # line separators, embeddings and overrides
        or 0x2066 <= point <= 0x206F  # isolates and deprecated formatting
        or 0xD800 <= point <= 0xDFFF  # lone surrogates
        or 0xFFF9 <= point <= 0xFFFB  # annotations
        or 0xE0000 <= point <= 0xE0FFF  # tags and other invisible text
    )


def printable(text: str, bytes_max: int, *, lines: bool = False) -> str:
    """Make any text fit a `Text` field: refused characters become spaces, the end is cut.

    Cuts between characters, never inside one.
    """
    kept = "".join(
        character if not _is_refused(ord(character)) or (lines and character == "\n") else " "
        for character in text
    )
    return kept.encode()[:bytes_max].decode(errors="ignore")


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of a closed set of words."""

    words: tuple[str, ...]

    def encode(self, value: Any) -> str:
        """See `Spec.encode`."""
        if not isinstance(value, str) or value not in self.words:
            raise FieldError(f"must be one of {', '.join(self.words)}")
        return value

    decode = encode


@dataclass(frozen=True, slots=True)
class Optional:
    """A value or nothing."""

    item: Spec

    def encode(self, value: Any) -> Any:
        """See `Spec.encode`."""
        return None if value is None else self.item.encode(value)

    def decode(self, value: Any) -> Any:
        """See `Spec.decode`."""
        return None if value is None else self.item.decode(value)


@dataclass(frozen=True, slots=True)
class ListOf:
    """A bounded list, a tuple in Python; `distinct` refuses repetitions."""

    item: Spec
    count_max: int
    count_min: int = 0
    distinct: bool = False

    def encode(self, value: Any) -> list[Any]:
        """See `Spec.encode`."""
        if not isinstance(value, tuple):
            raise FieldError("must be a tuple")
        return [self.item.encode(item) for item in self._bounded(value)]

    def decode(self, value: Any) -> tuple[Any, ...]:
        """See `Spec.decode`."""
        if not isinstance(value, list):
            raise FieldError("must be a list")
        return tuple(self.item.decode(item) for item in self._bounded(value))

    def _bounded(self, value: Any) -> Any:
        if not self.count_min <= len(value) <= self.count_max:
            raise FieldError(f"{len(value)} items where {self.count_min}..{self.count_max} may be")
        if self.distinct and len({repr(item) for item in value}) != len(value):
            raise FieldError("the same item twice")
        return value


@dataclass(frozen=True, slots=True)
class Struct:
    """A nested struct."""

    type: type[Any]

    def encode(self, value: Any) -> dict[str, Any]:
        """See `Spec.encode`."""
        if not isinstance(value, self.type):
            raise FieldError(f"must be {self.type.__name__}")
        return to_map(value)

    def decode(self, value: Any) -> Any:
        """See `Spec.decode`."""
        return _from_map(self.type, value)


def to_map(struct: Any) -> dict[str, Any]:
    """Turn a struct into a map of canonical values.

    Raises:
        FieldError: A field's value is outside its rule; the message names the field.
    """
    result: dict[str, Any] = {}
    for item in fields(struct):
        try:
            result[item.name] = item.metadata["wire"].encode(getattr(struct, item.name))
        except FieldError as error:
            raise FieldError(f"{item.name}: {error}") from error
    return result


def from_map(struct: type[T], value: object) -> T:
    """Build a struct from a decoded map.

    Raises:
        WireError: Not a map, a field missing, unknown or outside its rule.
    """
    try:
        return _from_map(struct, value)
    except FieldError as error:
        raise WireError(f"{struct.__name__}.{error}") from error


def _from_map(struct: type[T], value: object) -> T:
    if not isinstance(value, Mapping):
        raise FieldError("must be a map")
    specs = {item.name: item.metadata["wire"] for item in fields(struct)}  # type: ignore[arg-type]
    if value.keys() != specs.keys():
        wrong = sorted(set(value.keys()) ^ set(specs.keys()))
        raise FieldError(f"unknown or missing field {str(wrong[0])[:64]!r}")
    arguments = {}
    for name, spec in specs.items():
        try:
            arguments[name] = spec.decode(value[name])
        except FieldError as error:
            raise FieldError(f"{name}: {error}") from error
    return struct(**arguments)
