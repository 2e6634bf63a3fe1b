"""When a verification is worth its cost, and how many pairs it is likely to take. Pure scheduling.

A verification costs five pairs however large a gain is, and many more when it is small. So a large
gain is verified at once, and small ones wait for each other: what there is of them on a head by the
time that researching it has cost as much is verified together (`swarm.merge_queue`).

No verdict depends on what is decided here.
"""

from dataclasses import dataclass
from typing import Final

from protocol.policy import Policy
from swarm.evidence import Gains, pairs_min, remembered_e_value
from swarm.fixed_point import ONE
from swarm.hypotheses import HypothesisView
from swarm.ledger import Ledger
from swarm.liars import is_doubted
from swarm.verdict import PARK_BELOW, Verdict

WAITING_FOR_WORK: Final = frozenset({"claimed", "undecided"})
"""Statuses in which more pairs are wanted."""

BEGUN_PAIRS: Final = 3
"""Pairs from which a hypothesis is begun."""

LARGE_TAUS: Final = 10
"""A gain of so many tau is verified at once."""

RESEARCH_TAUS: Final = 50
"""A gain of n tau waits until this many, divided by n, were screened on its head: ten for five tau,
which is about what verifying it costs."""

BUNDLING: Final = 4
"""Hypotheses screened while what is promising is put together."""


@dataclass(frozen=True, slots=True)
class Research:
    """What has been tried on the head so far.

    Attributes:
        tau_micro: Smallest gain that matters.
        screened: Hypotheses that were screened on it.
        promising: Those that promise something and whose verification is not begun.
    """

    tau_micro: int
    screened: int
    promising: tuple[HypothesisView, ...]

    @staticmethod
    def on_head(ledger: Ledger) -> "Research":
        """Sum up what the ledger knows."""
        items = list(ledger.hypotheses_on(ledger.head.id))
        return Research(
            tau_micro=ledger.policy.tau_micro,
            screened=sum(item.screening.runs > 0 for item in items),
            promising=tuple(
                item
                for item in items
                if item.status in WAITING_FOR_WORK
                and item.screening.promising
                and len(item.verdict.trials) < BEGUN_PAIRS
            ),
        )

    def is_due(self, item: HypothesisView) -> bool:
        """Whether the verification of a hypothesis should begin, or go on.

        A large gain is worth a new head at once. The smaller it is, the more pairs it takes to be
        sure of it, and the longer the head is researched before. What is promising by then is
        verified together, and there is some time to put it together.
        """
        if item.self_verified or len(item.verdict.trials) >= BEGUN_PAIRS:
            return True
        patience = self._patience(item.screening.gain_micro or 0)
        if patience == 0:
            return True
        return self.screened >= patience + (BUNDLING if len(self.together()) > 1 else 0)

    def together(self) -> tuple[HypothesisView, ...]:
        """What could be verified together: what is too small to go alone, once that is due."""
        small = tuple(
            item for item in self.promising if self._patience(item.screening.gain_micro or 0) > 0
        )
        sum_micro = sum(item.screening.gain_micro or 0 for item in small)
        return small if self.screened >= self._patience(sum_micro) else ()

    def _patience(self, gain_micro: int) -> int:
        """Hypotheses to screen on the head before a gain is worth its verification."""
        taus = max(1, gain_micro // self.tau_micro)
        return 0 if taus >= LARGE_TAUS else RESEARCH_TAUS // taus


def pairs_missing(verdict: Verdict, policy: Policy, *, at_most: int) -> int:
    """Fewest pairs that can decide a hypothesis if they are like those that are there.

    Args:
        verdict: What its pairs say so far.
        policy: The swarm's policy.
        at_most: Where counting ends.
    """
    if policy.liars:
        # Who lies is left out of the evidence, and so may be who works.
        return at_most
    gains = sum(verdict.gains, Gains())
    floor_micro = verdict.guard.floor_micro
    if gains.count and is_doubted(verdict.gains, verdict.guard, PARK_BELOW):
        return min(at_most, max(1, policy.park_pairs - gains.count))
    threshold = ONE * 1_000_000 // policy.alpha_ppm
    missing = max(0, policy.min_verifiers - len(verdict.gains), pairs_min(threshold) - gains.count)
    if missing >= at_most or not gains.count:
        return at_most
    mean_micro = gains.total // gains.count
    for count in range(1, at_most):
        gains = gains.plus(mean_micro)
        if remembered_e_value(gains, floor_micro) >= threshold:
            return max(missing, count)
    return at_most
