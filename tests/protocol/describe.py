"""The field specs in words, as `docs/protocol.md` writes them."""

from dataclasses import fields, is_dataclass
from typing import Any

from protocol.schema import Bool, Bytes, Int, ListOf, OneOf, Optional, Spec, Struct, Text


def number(value: int) -> str:
    """Large powers of two as such, everything else in digits."""
    if value < 0:
        return f"-{number(-value)}"
    if value >= 1 << 20 and value & (value - 1) == 0:
        return f"2^{value.bit_length() - 1}"
    if value >= 1 << 20 and value & (value + 1) == 0:
        return f"2^{value.bit_length()} - 1"
    return str(value)


def describe(spec: Spec) -> str:
    """One spec as the documentation's second column has it."""
    match spec:
        case Int(low=low, high=high):
            return f"integer {number(low)} .. {number(high)}" if low != high else f"integer {low}"
        case Bytes(length=length, or_empty=or_empty):
            return f"{length} bytes or none" if or_empty else f"{length} bytes"
        case Bool():
            return "true or false"
        case Text(bytes_max=bytes_max, lines=lines, empty=empty):
            return f"{'lines' if lines else 'text'}, {0 if empty else 1} .. {bytes_max} bytes"
        case OneOf(words=words):
            return ", ".join(f"`{word}`" for word in words)
        case Optional(item=item):
            return f"{describe(item)}, or nothing"
        case ListOf(item=item, count_max=most, count_min=least, distinct=distinct):
            what = "distinct items" if distinct else "items"
            return f"list of {least} .. {most} {what}: {describe(item)}"
        case Struct(type=struct):
            return f"[{struct.__name__}](#{struct.__name__.lower()})"
    raise AssertionError(f"no words for {spec}")


def rows(struct: type[Any]) -> list[tuple[str, str]]:
    """Name and form of every field, in the order of the struct."""
    return [(f"`{item.name}`", describe(item.metadata["wire"])) for item in fields(struct)]


def with_nested(structs: list[type[Any]]) -> list[type[Any]]:
    """The structs and every struct that their fields hold, each once."""
    found: list[type[Any]] = []

    def visit_spec(spec: Any) -> None:
        match spec:
            case Struct(type=struct):
                visit(struct)
            case Optional(item=item) | ListOf(item=item):
                visit_spec(item)
            case _:
                pass

    def visit(struct: type[Any]) -> None:
        assert is_dataclass(struct)
        if struct in found:
            return
        found.append(struct)
        for item in fields(struct):
            visit_spec(item.metadata["wire"])

    for struct in structs:
        visit(struct)
    return found
