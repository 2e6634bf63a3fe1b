"""Messages across the sandbox's wall: round trips, and nothing but one error for hostile bytes."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.worker import wire

FRAMES = [
    wire.Frame(None, 0, 0, 0, 0.0, None),
    wire.Frame(None, 3, 4096, 10**12, 0.25, 5.5),
    wire.Frame("ok", 303, 310_272, 284_675_801_088, 1.0, None),
    wire.Frame("crashed", 1, 2, 3, 0.5, None, "ValueError: é (train.py line 3)"),
    wire.Frame("too_costly", 1, 2, 3, 1.0, None, "x" * wire.REASON_BYTES),
]


@pytest.mark.parametrize("frame", FRAMES)
def test_frames_round_trip_at_their_fixed_size(frame: wire.Frame) -> None:
    raw = wire.encode_frame(frame)
    assert len(raw) == wire.FRAME_BYTES
    assert wire.decode_frame(raw) == frame


def test_a_frame_that_is_not_sane_is_made_sane() -> None:
    raw = wire.encode_frame(wire.Frame(None, 2**80, 1, 1, 7.0, math.inf, "y" * 999))
    assert wire.decode_frame(raw) == wire.Frame(
        None, wire.COUNT_MAX, 1, 1, 1.0, None, "y" * wire.REASON_BYTES
    )


@given(st.binary(min_size=wire.FRAME_BYTES, max_size=wire.FRAME_BYTES))
def test_random_frames_give_a_frame_or_a_protocol_error(raw: bytes) -> None:
    try:
        frame = wire.decode_frame(raw)
    except wire.WorkerProtocolError:
        return
    assert 0 <= frame.fraction <= 1
    assert max(frame.steps, frame.tokens, frame.flops) <= wire.COUNT_MAX
    assert len(frame.reason) <= wire.REASON_BYTES


@pytest.mark.parametrize("size", [0, wire.FRAME_BYTES - 1, wire.FRAME_BYTES + 1])
def test_a_frame_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(wire.WorkerProtocolError):
        wire.decode_frame(bytes(size))


def test_commands_and_events_round_trip() -> None:
    command = wire.Command("train", {"seed": 2**62, "device": "cpu", "share": 0.5})
    assert wire.decode_command(wire.encode_command(command)) == command
    event = wire.Event("exited", code=-1, signal=9, cpu_us=5, peak_memory_kib=7)
    assert wire.decode_event(wire.encode_event(event)) == event


EVENT = {"name": "exited", "code": 0, "signal": 0, "cpu_us": 0, "peak_memory_kib": 0}


@pytest.mark.parametrize(
    "value",
    [
        [],
        "ready",
        {},
        {**EVENT, "more": 1},
        {**EVENT, "name": "ended"},
        {**EVENT, "name": ["exited"]},
        {**EVENT, "code": True},
        {**EVENT, "code": 1.0},
        {**EVENT, "cpu_us": -2},
        {**EVENT, "cpu_us": 2**60},
        {key: value for key, value in EVENT.items() if key != "code"},
    ],
)
def test_an_event_with_other_fields_is_refused(value: object) -> None:
    with pytest.raises(wire.WorkerProtocolError):
        wire.decode_event(json.dumps(value).encode())


@pytest.mark.parametrize("raw", [b"", b"\xff", b"[" * 4000, b" " * 5000, b'{"name": NaN}'])
def test_an_event_that_is_not_json_is_refused(raw: bytes) -> None:
    with pytest.raises(wire.WorkerProtocolError):
        wire.decode_event(raw)
