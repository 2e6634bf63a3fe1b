"""Who else is there: the latest presence of every peer that was heard of."""

from dataclasses import dataclass
from typing import Final

from protocol.notices import Presence

_PRESENCES_MAX: Final = 4096
ALIVE_S: Final = 60.0
"""A peer that said nothing for this long is taken to be gone; it only schedules work."""


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
        return {
            author: heard for author, heard in self._heard.items() if now_s - heard.at_s <= ALIVE_S
        }

    def agents(self, now_s: float) -> frozenset[bytes]:
        """Peers that were heard of lately and run hypotheses: who can be asked to verify."""
        return frozenset(
            author for author, heard in self.alive(now_s).items() if heard.presence.role == "agent"
        )
