"""The policy: what a swarm's founder fixes once, in the genesis, for every node alike."""

from dataclasses import dataclass, replace
from typing import Final

from protocol import limits
from protocol.schema import Bool, Int, OneOf, wire

PERMILLE: Final = 1000


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules of evidence, cost, membership and shares. All values are integers.

    Attributes:
        alpha_ppm: Bound on the chance that a worthless change is verified, in millionths.
        tau_micro: Smallest gain that matters, in millionths of the metric's unit.
        min_verifiers: Members other than the author whose trials must be among the evidence.
        max_verifiers: Members that are asked to verify one hypothesis; who takes over from one of
            them shares its seat.
        liars: Verifiers (`f`) whose trials, whatever they say, can decide nothing.
        cap_pairs: Pairs that may count for one hypothesis.
        park_pairs: Pairs after which weak evidence parks a hypothesis.
        cost_ratio_permille: Highest cost (CPU and wall time, memory, tokens) relative to the
            genesis script.
        admission: How joiners become members: `all`, `ticket` or `ask`.
        admit_depth_max: Longest chain of admissions from the founder.
        verify_share_permille: Most of a node's time that goes to verifying others' hypotheses.
        recheck_permille: Chance that a node re-runs a new head before it builds on it.
        lease_s: Silence after which the next verifier is asked. Schedules work, decides nothing.
        self_verified: Whether an author without verifiers may go on from its own verification.
            Such an entry is marked, outweighs no verified one, and waits for others to confirm it.
    """

    alpha_ppm: int = wire(Int(1, 100_000))
    tau_micro: int = wire(Int(1, limits.METRIC_MICRO_MAX))
    min_verifiers: int = wire(Int(0, 16))
    max_verifiers: int = wire(Int(1, 16))
    liars: int = wire(Int(0, 3))
    cap_pairs: int = wire(Int(2, 64))
    park_pairs: int = wire(Int(2, 64))
    cost_ratio_permille: int = wire(Int(PERMILLE, 100 * PERMILLE))
    admission: str = wire(OneOf(("all", "ticket", "ask")))
    admit_depth_max: int = wire(Int(1, 8))
    verify_share_permille: int = wire(Int(0, PERMILLE))
    recheck_permille: int = wire(Int(0, PERMILLE))
    lease_s: int = wire(Int(10, 7 * 24 * 3600))
    self_verified: bool = wire(Bool())

    @property
    def verifiers_needed(self) -> int:
        """Verifiers without whom nothing can be verified, whoever among them the liars are."""
        return self.liars + max(1, self.min_verifiers)

    @property
    def members_min(self) -> int:
        """Members without whom nothing can be verified: an author, and enough verifiers for it."""
        return 1 + self.verifiers_needed


DEMO: Final = Policy(
    alpha_ppm=1_000,
    tau_micro=10_000,
    min_verifiers=2,
    max_verifiers=3,
    liars=0,
    cap_pairs=12,
    park_pairs=4,
    cost_ratio_permille=2_500,
    admission="all",
    admit_depth_max=2,
    verify_share_permille=800,
    recheck_permille=0,
    lease_s=120,
    self_verified=False,
)
"""Members are trusted not to lie; everything is still verified by two others. Three members."""

LAB: Final = replace(
    DEMO,
    min_verifiers=3,
    max_verifiers=7,
    liars=2,
    cap_pairs=28,
    verify_share_permille=500,
    recheck_permille=100,
    lease_s=600,
)
"""Two liars of seven verifiers can decide nothing. Six members at least."""

SOLO: Final = replace(DEMO, min_verifiers=1, self_verified=True)
"""One node may work alone; what it found is confirmed as soon as another member joins."""

POLICIES: Final = {"demo": DEMO, "lab": LAB, "solo": SOLO}
"""Policies that `swarm-node init --policy` knows by name."""
