"""Claims of peers: which changes are being run right now, so that nobody repeats them."""

from dataclasses import dataclass
from typing import Final

from protocol.notices import Claim

_CLAIMS_MAX: Final = 4096
_LEASE_MAX_S: Final = 3600


@dataclass(frozen=True, slots=True)
class _Held:
    author: bytes
    until_s: float


class Claims:
    """The claims that have not run out. Time is the receiver's, in seconds."""

    def __init__(self) -> None:
        self._held: dict[tuple[bytes, bytes], _Held] = {}

    def take(self, claim: Claim, author: bytes, now_s: float) -> None:
        """Note a claim; the first author of a change keeps it until it runs out."""
        self._forget(now_s)
        key = (claim.parent, claim.change)
        held = self._held.get(key)
        if held is not None and held.author != author:
            return
        if held is None and len(self._held) >= _CLAIMS_MAX:
            return
        self._held[key] = _Held(author, now_s + min(claim.lease_s, _LEASE_MAX_S))

    def on(self, parent: bytes, now_s: float) -> frozenset[bytes]:
        """Digests of the changes to one entry that are claimed."""
        self._forget(now_s)
        return frozenset(change for entry, change in self._held if entry == parent)

    def _forget(self, now_s: float) -> None:
        self._held = {key: held for key, held in self._held.items() if held.until_s > now_s}
