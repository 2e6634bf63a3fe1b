from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.core.bundles import (
    Bundler,
    OutEvent,
    Publish,
    SendBundle,
    SetTimer,
    TimerFired,
    encode_bundle,
    split_bundle,
)
from protocol.canonical import encode
from protocol.errors import WireError
from protocol.limits import ENVELOPE_BYTES_MAX
from protocol.limits_network import BUNDLE_BYTES_MAX, BUNDLE_DELAY_S, BUNDLE_RECORDS_MAX


def sent(events: list[OutEvent]) -> list[bytes]:
    return [
        envelope
        for event in events
        if isinstance(event, SendBundle)
        for envelope in split_bundle(event.data)
    ]


def test_waits_for_company_and_sends_when_due() -> None:
    bundler = Bundler()
    assert bundler.handle(Publish(b"one"), 10.0) == [SetTimer(10.0 + BUNDLE_DELAY_S)]
    assert bundler.handle(Publish(b"two"), 10.05) == []
    assert bundler.handle(TimerFired(), 10.0 + BUNDLE_DELAY_S / 2) == []
    assert sent(bundler.handle(TimerFired(), 10.0 + BUNDLE_DELAY_S)) == [b"one", b"two"]
    assert bundler.handle(TimerFired(), 11.0) == []
    assert bundler.handle(Publish(b"three"), 12.0) == [SetTimer(12.0 + BUNDLE_DELAY_S)]


def test_full_bundle_goes_at_once() -> None:
    bundler = Bundler()
    events = []
    for number in range(BUNDLE_RECORDS_MAX + 1):
        events += bundler.handle(Publish(number.to_bytes(2, "big")), 0.0)
    assert len(sent(events)) == BUNDLE_RECORDS_MAX
    assert len(bundler) == 1


@given(st.lists(st.integers(min_value=1, max_value=ENVELOPE_BYTES_MAX), max_size=40))
def test_every_record_is_sent_once_in_order_within_the_limit(sizes: list[int]) -> None:
    bundler = Bundler()
    records = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    events: list[OutEvent] = []
    for number, record in enumerate(records):
        events += bundler.handle(Publish(record), number * 0.01)
    events += bundler.handle(TimerFired(), 1_000.0)
    assert sent(events) == records
    for event in events:
        assert not isinstance(event, SendBundle) or len(event.data) <= BUNDLE_BYTES_MAX


@pytest.mark.parametrize(
    "value",
    [
        [],
        [b""],
        ["text"],
        b"bytes",
        {"a": b"b"},
        [b"x"] * (BUNDLE_RECORDS_MAX + 1),
        [bytes(ENVELOPE_BYTES_MAX + 1)],
        [bytes(60_000)] * 3,
    ],
)
def test_other_values_are_not_bundles(value: object) -> None:
    with pytest.raises(WireError):
        split_bundle(encode(value))


@given(st.binary(max_size=200))
def test_hostile_bytes_raise_wire_error_only(noise: bytes) -> None:
    with suppress(WireError):
        assert encode_bundle(split_bundle(noise)) == noise
