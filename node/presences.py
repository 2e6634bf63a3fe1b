"""Who else is there: the latest presence of every peer that was heard of."""

import bisect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from protocol.notices import Presence

_PRESENCES_MAX: Final = 4096
ALIVE_S: Final = 60.0
"""A peer that said nothing for this long is taken to be gone; it only schedules work. In a large
swarm, where everybody speaks less often, it is longer: see `silence_s`."""

_PRESENCE_S: Final = 2.0
_PRESENCE_PER_PEER_S: Final = 0.25
"""Presence slows down as the swarm grows: every node hears every other one's, and so hears at most
four a second, whatever the number of nodes."""

_PERIODS_MISSED: Final = 3
"""Presences of a peer that may be lost before it is taken to be gone."""


def presence_period_s(peers: int) -> float:
    """Time until a node that hears so many peers says again that it is there."""
    return _PRESENCE_S + _PRESENCE_PER_PEER_S * peers


def silence_s(silent_s: Iterable[float]) -> float:
    """How long a peer may be silent until it is taken to be gone.

    That follows from how many peers there are, and the other way round: the answer is the least one
    that is consistent with itself, counting up from those heard within `ALIVE_S`. Peers that left
    fall silent together and do not lengthen it.

    Args:
        silent_s: How long each known peer has been silent.
    """
    ordered = sorted(silent_s)
    horizon_s = ALIVE_S
    while True:
        peers = bisect.bisect_right(ordered, horizon_s)
        longer_s = max(ALIVE_S, _PERIODS_MISSED * presence_period_s(peers))
        if longer_s <= horizon_s:
            return horizon_s
        horizon_s = longer_s


@dataclass(frozen=True, slots=True)
class Heard:
    """A peer's latest presence.

    Attributes:
        presence: What it said.
        created_ms: Its wall clock then; a later notice replaces an earlier one.
        at_s: When we heard it, on our clock.
    """

    presence: Presence
    created_ms: int
    at_s: float


class Presences:
    """The latest presence by node id. Bounded: the longest silent one makes room."""

    def __init__(self) -> None:
        self._heard: dict[bytes, Heard] = {}

    def take(self, author: bytes, presence: Presence, created_ms: int, now_s: float) -> bool:
        """Note a presence; False when it is older than one that is known."""
        known = self._heard.pop(author, None)
        if known is not None and known.created_ms >= created_ms:
            self._heard[author] = known
            return False
        self._heard[author] = Heard(presence, created_ms, now_s)
        if len(self._heard) > _PRESENCES_MAX:
            self._heard.pop(next(iter(self._heard)))
        return True

    def known(self) -> dict[bytes, Heard]:
        """Everybody who was ever heard of and is remembered, by node id."""
        return dict(self._heard)

    def alive(self, now_s: float) -> dict[bytes, Heard]:
        """Peers that were heard of lately, by node id."""
        horizon_s = silence_s(now_s - heard.at_s for heard in self._heard.values())
        return {
            author: heard
            for author, heard in self._heard.items()
            if now_s - heard.at_s <= horizon_s
        }

    def agents(self, now_s: float) -> frozenset[bytes]:
        """Peers that were heard of lately and run hypotheses: who can be asked to verify."""
        return frozenset(
            author for author, heard in self.alive(now_s).items() if heard.presence.role == "agent"
        )
