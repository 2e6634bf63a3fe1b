"""Every byte of a statement is covered: none can change, vanish or appear unnoticed."""

from collections.abc import Callable, Iterator

import pytest

from protocol.envelope import open_envelope
from protocol.errors import SignatureError, WireError
from protocol.notices import open_notice
from tests.protocol.samples import NOTICES, RECORDS, NoticeSample, RecordSample

FLIPS = (0x01, 0x10, 0x20, 0x80, 0xFF)

# One of each kind; what the others add is left to the random mutations of `test_properties`.
STATEMENTS: tuple[RecordSample | NoticeSample, ...] = tuple(
    {type(sample.body): sample for sample in (*RECORDS, *NOTICES)}.values()
)


def opener(sample: RecordSample | NoticeSample) -> Callable[[bytes], object]:
    if isinstance(sample, RecordSample):
        return lambda data: open_envelope(data, swarm=sample.swarm)
    return lambda data: open_notice(data, swarm=sample.swarm)


def mutations(data: bytes) -> Iterator[bytes]:
    for position, byte in enumerate(data):
        before, after = data[:position], data[position + 1 :]
        for flip in FLIPS:
            yield before + bytes([byte ^ flip]) + after
        yield before + after
        yield before + bytes([byte, byte]) + after
        yield before
    yield data + b"\0"
    yield data + data


each_statement = pytest.mark.parametrize("sample", STATEMENTS, ids=lambda sample: sample.name)


@each_statement
def test_every_mutated_byte_is_refused_and_nothing_else_is_raised(
    sample: RecordSample | NoticeSample,
) -> None:
    open_statement = opener(sample)
    original = sample.envelope
    open_statement(original)
    for mutated in mutations(original):
        try:
            opened = open_statement(mutated)
        except WireError:
            continue
        raise AssertionError(f"{mutated.hex()} was opened as {opened}")


@each_statement
def test_every_bit_of_the_signature_counts(sample: RecordSample | NoticeSample) -> None:
    open_statement = opener(sample)
    original = sample.envelope
    for bit in range(64 * 8):
        mutated = bytearray(original)
        mutated[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SignatureError):
            open_statement(bytes(mutated))
