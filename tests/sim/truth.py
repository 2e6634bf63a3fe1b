"""What is true in a simulated swarm: which change gains how much, and what a run would measure.

A script is a set of changes; each change gains its effect once. Runs cost time and give the true
metric, noise shared by both arms of a pair, and noise of their own.
"""

import hashlib
import random
from dataclasses import dataclass, field
from typing import Final

from protocol.records import Arm
from tests.sim.plan import Plan

BASELINE_MICRO: Final = 3_000_000
GENESIS_SOURCE: Final = hashlib.sha256(b"no changes").digest()


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

    def with_change(self, source: bytes, change: int) -> bytes:
        """Digest of a script with one more change."""
        changes = self._changes[source] | {change}
        child = hashlib.sha256(repr(sorted(changes)).encode()).digest()
        self._changes[child] = changes
        return child

    def changes(self, source: bytes) -> frozenset[int]:
        """The changes in a script; none for one that exists nowhere but in a hostile record."""
        return self._changes.get(source, frozenset())

    def metric_micro(self, source: bytes) -> int:
        """The expected metric of a script."""
        effects = self.plan.effects_micro
        return BASELINE_MICRO - sum(effects[change] for change in self.changes(source))

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
