"""Hypothesis strategies that follow the field specs, so that a new field is covered by itself."""

from dataclasses import fields, replace
from typing import Any, Final, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from protocol.policy import Policy
from protocol.records import Arm, Genesis, Transfer, TransferRun, Trial
from protocol.schema import Bool, Bytes, Int, ListOf, OneOf, Optional, Spec, Struct, Text, printable

T = TypeVar("T")

SETTINGS: Final = settings(
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""What is large here takes long to draw; for the rest see `tests/conftest.py`."""

_LIST_SAMPLE_MAX: Final = 5


def of_spec(spec: Spec) -> st.SearchStrategy[Any]:
    """Values that a field of this spec may have."""
    match spec:
        case Int(low=low, high=high):
            return st.integers(low, high)
        case Bytes(length=length, or_empty=or_empty):
            full = st.binary(min_size=length, max_size=length)
            return st.just(b"") | full if or_empty else full
        case Bool():
            return st.booleans()
        case Text(bytes_max=bytes_max, lines=lines, empty=empty):
            text = st.text(max_size=min(bytes_max, 80)).map(
                lambda drawn: printable(drawn, bytes_max, lines=lines)
            )
            return text if empty else text.map(lambda drawn: drawn or "x")
        case OneOf(words=words):
            return st.sampled_from(words)
        case Optional(item=item):
            return st.none() | of_spec(item)
        case ListOf(item=item, count_max=most, count_min=least, distinct=distinct):
            return st.lists(
                of_spec(item),
                min_size=least,
                max_size=min(most, _LIST_SAMPLE_MAX),
                unique_by=repr if distinct else None,
            ).map(tuple)
        case Struct(type=struct):
            return of_struct(struct)
    raise AssertionError(f"no strategy for {spec}")


def of_struct(struct: type[T]) -> st.SearchStrategy[T]:
    """Structs within every bound, those between several fields included."""
    made = {item.name: of_spec(item.metadata["wire"]) for item in fields(struct)}  # type: ignore[arg-type]
    return st.builds(struct, **made).map(consistent)


def consistent(struct: T) -> T:
    """Repair what contradicts itself across the fields of a drawn struct."""
    result: Any = struct
    match struct:
        case Arm(status="ok", metric_micro=None):
            result = replace(struct, metric_micro=0)
        case Arm(status=status) if status != "ok":
            result = replace(struct, metric_micro=None)
        case Trial(purpose="screen"):
            result = replace(struct, seed_proof=b"")
        case Trial(seed_proof=b""):
            result = replace(struct, seed_proof=bytes(64))
        case TransferRun(status="ok", metrics=metrics):
            result = replace(struct, metrics=tuple(item or 0 for item in metrics))
        case TransferRun(metrics=metrics):
            result = replace(struct, metrics=(*(item or 0 for item in metrics[:-1]), None))
        case Transfer(runs=runs):
            by_entry = {run.entry: run for run in runs}
            spare = (replace(runs[0], entry=bytes([n]) * 32) for n in range(2))
            by_entry = {**by_entry, **{run.entry: run for run in spare}}
            result = replace(struct, runs=tuple(by_entry.values())[: max(2, len(runs))])
        case Policy():
            needed = min(16, struct.verifiers_needed)
            result = replace(
                struct,
                min_verifiers=min(struct.min_verifiers, 16 - struct.liars),
                max_verifiers=max(needed, struct.max_verifiers),
                cap_pairs=max(struct.cap_pairs, struct.park_pairs, needed),
            )
        case Genesis():
            by_name = {item.name: item for item in struct.data}
            result = replace(struct, data=tuple(by_name.values()))
        case _:
            pass
    return result


def largest(spec: Spec, number: int = 0) -> Any:
    """A value with the longest encoding that the spec allows; `number` makes items differ."""
    match spec:
        case Int(low=low, high=high):
            return high if high >= 1 << 32 or high >= -low else low
        case Bytes(length=length):
            return number.to_bytes(length, "big")
        case Bool():
            return True
        case Text(bytes_max=bytes_max):
            return f"{number:03d}".ljust(bytes_max, "x")
        case OneOf(words=words):
            return max(words, key=len)
        case Optional(item=item):
            return largest(item, number)
        case ListOf(item=item, count_max=most):
            return tuple(largest(item, index) for index in range(most))
        case Struct(type=struct):
            return largest_struct(struct, number)
    raise AssertionError(f"no largest value for {spec}")


def largest_struct(struct: type[T], number: int = 0) -> T:
    """A struct with the longest encoding that its specs allow."""
    made = {item.name: largest(item.metadata["wire"], number) for item in fields(struct)}  # type: ignore[arg-type]
    return consistent(struct(**made))
