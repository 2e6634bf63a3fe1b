"""Pure functions remembered across the nodes of one run, and bounds made small enough to be met.

Every node of a simulated swarm opens the same envelopes and concludes from the same trials. The
results are the same objects, so that two hundred nodes cost little more than one.
"""

import contextlib
import functools
import hashlib
from collections.abc import Iterator, Sequence
from typing import Final
from unittest import mock

from gossip.core.bundles import split_bundle
from protocol.envelope import open_envelope
from protocol.errors import SignatureError, WireError
from protocol.keys import SigningKey, verify
from protocol.policy import Policy
from protocol.records import Record
from swarm.verdict import Pair, Verdict, conclude

HELD_ENVELOPES_MAX: Final = 110
HELD_MAX: Final = 96
HELD_PER_AUTHOR_MAX: Final = 24
CLAIMS_MAX: Final = 64
"""Small bounds: hostile nodes reach them, as they would reach the real ones in hours."""


@functools.cache
def key_of(number: int) -> SigningKey:
    """The identity of a node."""
    return SigningKey.from_seed(hashlib.sha256(b"simulated node %d" % number).digest())


@functools.lru_cache(maxsize=1024)
def unpack(bundle: bytes) -> tuple[bytes, ...]:
    """The envelopes in a bundle; none when it is no bundle."""
    try:
        return tuple(split_bundle(bundle))
    except WireError:
        return ()


class _Memo:
    """The remembered results of one run."""

    def __init__(self) -> None:
        self._opened: dict[tuple[bytes, bytes | None], Record | str] = {}
        self._verified: dict[tuple[bytes, bytes, bytes], bool] = {}
        self._concluded: dict[tuple[tuple[bytes, ...], int], Verdict] = {}

    def open_envelope(self, envelope: bytes, *, swarm: bytes | None) -> Record:
        key = (envelope, swarm)
        if key not in self._opened:
            try:
                self._opened[key] = open_envelope(envelope, swarm=swarm)
            except WireError as error:
                self._opened[key] = str(error)
        found = self._opened[key]
        if isinstance(found, str):
            raise WireError(found)
        return found

    def verify(self, public: bytes, signature: bytes, message: bytes) -> None:
        key = (public, signature, message)
        if key not in self._verified:
            try:
                verify(public, signature, message)
            except SignatureError:
                self._verified[key] = False
            else:
                self._verified[key] = True
        if not self._verified[key]:
            raise SignatureError("bad signature")

    def conclude(self, pairs: Sequence[Pair], policy: Policy, liars: int) -> Verdict:
        # A trial's id stands for its content, and one run has one policy.
        key = (tuple(pair.trial for pair in pairs), liars)
        if key not in self._concluded:
            self._concluded[key] = conclude(pairs, policy, liars)
        return self._concluded[key]


@contextlib.contextmanager
def remembered() -> Iterator[None]:
    """Share results among the nodes of one run, and shrink the bounds, for the length of a block.

    The functions are replaced by ones that give the same answers; nothing else is.
    """
    memo = _Memo()
    with contextlib.ExitStack() as stack:
        for target, value in (
            ("node.door.open_envelope", memo.open_envelope),
            ("swarm.admission.verify", memo.verify),
            ("swarm.case.conclude", memo.conclude),
            ("swarm.standing.conclude", memo.conclude),
            ("node.door.HELD_ENVELOPES_MAX", HELD_ENVELOPES_MAX),
            ("swarm.waiting.HELD_MAX", HELD_MAX),
            ("swarm.waiting.HELD_PER_AUTHOR_MAX", HELD_PER_AUTHOR_MAX),
            ("node.claims._CLAIMS_MAX", CLAIMS_MAX),
        ):
            stack.enter_context(mock.patch(target, value))
        yield
