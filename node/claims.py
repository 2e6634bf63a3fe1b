"""Claims: which changes are being run right now, so that nobody repeats them.

Two nodes may claim one change before they hear of each other. Within a moment the lower key wins,
on both sides alike; after that the first claim stands until it runs out.
"""

from dataclasses import dataclass
from typing import Final

from protocol.notices import Claim

_CLAIMS_MAX: Final = 4096
_CLAIMS_PER_AUTHOR_MAX: Final = 256
"""More than a node with many workers has; without a bound one author could claim every change."""
_LEASE_MAX_S: Final = 3600
CONTEST_S: Final = 2.0
"""How long a claim may still be contested: longer than gossip takes to reach everybody."""


@dataclass(frozen=True, slots=True)
class _Held:
    author: bytes
    since_s: float
    until_s: float


class Claims:
    """The claims that have not run out. Time is the receiver's, in seconds."""

    def __init__(self) -> None:
        self._held: dict[tuple[bytes, bytes], _Held] = {}

    def take(self, claim: Claim, author: bytes, now_s: float) -> None:
        """Note a claim."""
        self._forget(now_s)
        key = (claim.parent, claim.change)
        held = self._held.get(key)
        if held is None and (
            len(self._held) >= _CLAIMS_MAX
            or sum(other.author == author for other in self._held.values())
            >= _CLAIMS_PER_AUTHOR_MAX
        ):
            return
        if held is not None and held.author != author:
            contested = now_s - held.since_s <= CONTEST_S
            if not contested or held.author < author:
                return
        self._held[key] = _Held(author, now_s, now_s + min(claim.lease_s, _LEASE_MAX_S))

    def holder(self, parent: bytes, change: bytes, now_s: float) -> bytes | None:
        """Whose claim on a change stands."""
        self._forget(now_s)
        held = self._held.get((parent, change))
        return None if held is None else held.author

    def on(
        self, parent: bytes, now_s: float, *, passing_over: bytes | None = None
    ) -> frozenset[bytes]:
        """Digests of the changes to one entry that are claimed.

        Args:
            parent: The entry.
            now_s: Monotonic seconds.
            passing_over: An author whose claims are left out.
        """
        self._forget(now_s)
        return frozenset(
            change
            for (entry, change), held in self._held.items()
            if entry == parent and held.author != passing_over
        )

    def _forget(self, now_s: float) -> None:
        self._held = {key: held for key, held in self._held.items() if held.until_s > now_s}
