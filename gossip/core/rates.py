"""How much of whose traffic is accepted: token buckets, the seen-cache, and peers' standing.

All three are bounded in memory whoever speaks, and take the time as an argument. This file decides
amounts; what happens to a peer in bad standing is the driver's business.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from protocol.limits_network import BUCKETS_MAX, SEEN_IDS_MAX, SEEN_S


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at_s: float


class TokenBuckets:
    """One token bucket per key; the longest unused one makes room for a new one.

    A key that was forgotten starts with a full bucket, so `count_max` buckets must outlast a
    burst: keys are node ids, which cost a connection (forwarders) or a signature (authors).
    """

    def __init__(self, *, rate_per_s: float, burst: float, count_max: int = BUCKETS_MAX) -> None:
        assert rate_per_s > 0
        assert burst > 0
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._count_max = count_max
        self._buckets: OrderedDict[bytes, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: bytes, amount: float, now_s: float) -> bool:
        """Take tokens if the key has that many; False, and nothing taken, if not."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(self._burst, now_s)
            if len(self._buckets) > self._count_max:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        # A clock that steps back gives nothing, and takes nothing away.
        elapsed_s = max(0.0, now_s - bucket.at_s)
        bucket.tokens = min(self._burst, bucket.tokens + elapsed_s * self._rate_per_s)
        bucket.at_s = max(bucket.at_s, now_s)
        if bucket.tokens < amount:
            return False
        bucket.tokens -= amount
        return True


class SeenCache:
    """Remembers ids for a while, and at most so many of them."""

    def __init__(self, *, count_max: int = SEEN_IDS_MAX, keep_s: float = SEEN_S) -> None:
        self._count_max = count_max
        self._keep_s = keep_s
        self._until_s: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until_s)

    def add(self, key: bytes, now_s: float) -> bool:
        """Remember an id; False when it was remembered already."""
        self._forget(now_s)
        if key in self._until_s:
            return False
        self._until_s[key] = now_s + self._keep_s
        if len(self._until_s) > self._count_max:
            self._until_s.popitem(last=False)
        return True

    def has(self, key: bytes, now_s: float) -> bool:
        """Whether an id is remembered."""
        until_s = self._until_s.get(key)
        return until_s is not None and now_s < until_s

    def _forget(self, now_s: float) -> None:
        """Drop what is too old; ids are in order of age."""
        while self._until_s:
            key, until_s = next(iter(self._until_s.items()))
            if now_s < until_s:
                return
            del self._until_s[key]


BAN_S: Final = 300.0
"""How long a peer is refused after its standing fell below the floor."""

STANDING_FLOOR: Final = -100.0
"""Where a ban begins."""

FORGIVEN_PER_S: Final = 0.5
"""Points that a peer regains by itself: an honest bug is forgiven within minutes."""

FAULT_FRAME: Final = 25.0
"""A malformed frame or message: four in short order lead to a ban."""

FAULT_RECORD: Final = 10.0
"""A record whose own bytes prove it wrong."""

FAULT_BLOB: Final = 60.0
"""A blob whose bytes do not hash to its name."""

FAULT_FLOOD: Final = 1.0
"""A message over the forwarding peer's rate."""


@dataclass(slots=True)
class _Standing:
    points: float
    at_s: float
    banned_until_s: float | None = None


class Standings:
    """Peers' scores: faults cost points, time gives them back, below a floor comes a ban."""

    def __init__(self, *, count_max: int = BUCKETS_MAX) -> None:
        self._count_max = count_max
        self._peers: OrderedDict[bytes, _Standing] = OrderedDict()

    def __len__(self) -> int:
        return len(self._peers)

    def fault(self, peer: bytes, points: float, now_s: float) -> bool:
        """Charge a fault; True when it led to a ban."""
        standing = self._peers.get(peer)
        if standing is None:
            standing = self._peers[peer] = _Standing(0.0, now_s)
            if len(self._peers) > self._count_max:
                self._peers.popitem(last=False)
        self._peers.move_to_end(peer)
        forgiven = max(0.0, now_s - standing.at_s) * FORGIVEN_PER_S
        standing.points = min(0.0, standing.points + forgiven) - points
        standing.at_s = max(standing.at_s, now_s)
        if standing.points > STANDING_FLOOR:
            return False
        standing.points = 0.0
        standing.banned_until_s = now_s + BAN_S
        return True

    def banned(self, peer: bytes, now_s: float) -> bool:
        """Whether a peer is refused now."""
        standing = self._peers.get(peer)
        if standing is None or standing.banned_until_s is None:
            return False
        return now_s < standing.banned_until_s
