"""Bundles: records that travel together in one pubsub message.

A py-libp2p node pays about 5 ms of CPU for every pubsub message whatever its size, so records wait
a moment for company. The packer is a machine without clock or I/O: the driver hands it events and
the time, and does what the returned events say. A bundle is the canonical MessagePack list of its
envelopes. This file refuses to know what is in an envelope.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final, assert_never

from protocol.canonical import decode, encode
from protocol.errors import WireError
from protocol.limits import ENVELOPE_BYTES_MAX
from protocol.limits_network import (
    BUNDLE_BYTES_MAX,
    BUNDLE_DELAY_S,
    BUNDLE_RECORDS_MAX,
)

_LIST_HEAD_BYTES: Final = 5
_ITEM_HEAD_BYTES: Final = 5


@dataclass(frozen=True, slots=True)
class Publish:
    """The node wants a record published."""

    envelope: bytes


@dataclass(frozen=True, slots=True)
class TimerFired:
    """The time asked for by `SetTimer` has come."""


@dataclass(frozen=True, slots=True)
class SendBundle:
    """Send these bytes as one pubsub message."""

    data: bytes


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Send `TimerFired` at this time, in seconds on the driver's clock."""

    at_s: float


InEvent = Publish | TimerFired
OutEvent = SendBundle | SetTimer


class Bundler:
    """Collects records until a bundle is full or old enough."""

    def __init__(
        self, *, bytes_max: int = BUNDLE_BYTES_MAX, delay_s: float = BUNDLE_DELAY_S
    ) -> None:
        assert bytes_max >= ENVELOPE_BYTES_MAX + _LIST_HEAD_BYTES + _ITEM_HEAD_BYTES
        self._bytes_max = bytes_max
        self._delay_s = delay_s
        self._waiting: deque[bytes] = deque()
        self._bytes = _LIST_HEAD_BYTES
        self._due_s: float | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def handle(self, event: InEvent, now_s: float) -> list[OutEvent]:
        """Make one step.

        Args:
            event: What happened.
            now_s: The driver's clock in seconds.
        """
        match event:
            case Publish(envelope):
                return self._publish(envelope, now_s)
            case TimerFired():
                if self._due_s is None or now_s < self._due_s:
                    return []
                return self._flush()
            case _ as never:
                assert_never(never)

    def _publish(self, envelope: bytes, now_s: float) -> list[OutEvent]:
        assert 0 < len(envelope) <= ENVELOPE_BYTES_MAX
        out: list[OutEvent] = []
        size = _ITEM_HEAD_BYTES + len(envelope)
        if self._bytes + size > self._bytes_max or len(self._waiting) >= BUNDLE_RECORDS_MAX:
            out += self._flush()
        self._waiting.append(envelope)
        self._bytes += size
        if self._due_s is None:
            self._due_s = now_s + self._delay_s
            out.append(SetTimer(self._due_s))
        return out

    def _flush(self) -> list[OutEvent]:
        data = encode_bundle(list(self._waiting))
        self._waiting.clear()
        self._bytes = _LIST_HEAD_BYTES
        self._due_s = None
        return [SendBundle(data)]


def encode_bundle(envelopes: list[bytes]) -> bytes:
    """The bytes of a bundle of one or more envelopes."""
    assert 0 < len(envelopes) <= BUNDLE_RECORDS_MAX
    return encode(envelopes)


def split_bundle(data: bytes) -> list[bytes]:
    """The envelopes in a bundle.

    Raises:
        WireError: Not a list of one or more envelopes, or over the limits.
    """
    value = decode(data, bytes_max=BUNDLE_BYTES_MAX)
    if not isinstance(value, list) or not 0 < len(value) <= BUNDLE_RECORDS_MAX:
        raise WireError("not a bundle of records")
    envelopes: list[bytes] = []
    for item in value:
        if not isinstance(item, bytes) or not 0 < len(item) <= ENVELOPE_BYTES_MAX:
            raise WireError("a bundle holds something other than an envelope")
        envelopes.append(item)
    return envelopes
