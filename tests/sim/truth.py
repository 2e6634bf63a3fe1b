"""What is true in a simulated swarm: which change gains how much, and what a run would measure.

A script is a set of changes; each change gains its effect once. Some pairs of changes overlap, so
that together they gain no more than the larger of the two, and some contradict each other, so that
their texts cannot be merged: which ones follows from their numbers. Runs cost time and give the
true metric, noise shared by both arms of a pair, and noise of their own.
"""

import hashlib
import itertools
import random
from dataclasses import dataclass, field
from typing import Final

from protocol.records import Arm
from tests.sim.plan import Plan

BASELINE_MICRO: Final = 3_000_000
GENESIS_SOURCE: Final = hashlib.sha256(b"no changes").digest()


def overlap(one: int, other: int) -> bool:
    """Whether two changes do the same good."""
    return (one * other + one + other) % 5 == 2


def contradict(one: int, other: int) -> bool:
    """Whether two changes are at the same place of the script."""
    return one != other and (one + other) % 7 == 3


@dataclass
class Truth:
    """The scripts that exist and what they are worth.

    Attributes:
        plan: Effects and noise.
    """

    plan: Plan
    _changes: dict[bytes, frozenset[int]] = field(
        default_factory=lambda: {GENESIS_SOURCE: frozenset()}
    )
    _metrics: dict[bytes, int] = field(default_factory=dict)

    def is_real(self, source: bytes) -> bool:
        """Whether a script exists elsewhere than in a hostile record."""
        return source in self._changes

    def with_change(self, source: bytes, change: int) -> bytes:
        """Digest of a script with one more change."""
        return self._script(self._changes[source] | {change})

    def merge(self, base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
        """What theirs changed in the base, done to ours; None where the two contradict each other.

        Scripts that exist nowhere but in a hostile record cannot be merged either.
        """
        if not {base, ours, theirs} <= self._changes.keys():
            return None
        before, after = self.changes(base), self.changes(theirs)
        added, mine = after - before, self.changes(ours)
        if any(contradict(one, other) for one in added - mine for other in mine - before):
            return None
        return self._script(mine - (before - after) | added)

    def _script(self, changes: frozenset[int]) -> bytes:
        source = hashlib.sha256(repr(sorted(changes)).encode()).digest() if changes else None
        if source is None:
            return GENESIS_SOURCE
        self._changes[source] = changes
        return source

    def changes(self, source: bytes) -> frozenset[int]:
        """The changes in a script; none for one that exists nowhere but in a hostile record."""
        return self._changes.get(source, frozenset())

    def metric_micro(self, source: bytes) -> int:
        """The expected metric of a script."""
        if source not in self._metrics:
            effects = self.plan.effects_micro
            changes = sorted(self.changes(source))
            gain_micro = sum(effects[change] for change in changes)
            for one, other in itertools.combinations(changes, 2):
                if overlap(one, other):
                    gain_micro -= max(0, min(effects[one], effects[other]))
            self._metrics[source] = BASELINE_MICRO - gain_micro
        return self._metrics[source]

    def measure(self, source: bytes, seed: int) -> int:
        """What a run of a script on a seed measures, everywhere alike."""
        noise_micro = self.plan.noise_micro
        shared = random.Random(seed).gauss(0, 3 * noise_micro)
        own = random.Random(seed ^ int.from_bytes(source[:8], "big")).gauss(0, noise_micro)
        return self.metric_micro(source) + round(shared + own)


def arm(metric_micro: int | None, rng: random.Random) -> Arm:
    """One run's record: costs differ from run to run, as on a real machine."""
    return Arm(
        status="ok" if metric_micro is not None else "crashed",
        metric_micro=metric_micro,
        train_cpu_ms=5_000 + rng.randrange(500),
        score_cpu_ms=500 + rng.randrange(50),
        wall_ms=6_000 + rng.randrange(500),
        peak_memory_kib=300_000,
        steps=300,
        tokens=300_000,
    )
