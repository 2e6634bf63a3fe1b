"""What a member owes the swarm at a moment: pure choices, shared by the node and the simulator.

Merging what was verified, saying what cannot be had, admitting joiners, keeping to the share of
time that verifying may take, when a screening is enough, and whether all hear of it at once. Tasks,
clocks and disks are the business of the callers.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from gossip.core.rates import TokenBuckets
from protocol import limits
from protocol.ids import rendezvous
from protocol.records import Absence, Admit, Merge
from swarm.hypotheses import HypothesisView
from swarm.ledger import Ledger

_MERGE_GRACE_S: Final = 3.0
"""The author of a hypothesis merges it. Others do it for them one after the other, each this much
later than the one before: a merge by everybody would be as many records as there are members."""
_ADMISSIONS_PER_S: Final = 1.0
_ADMISSIONS_BURST: Final = 20.0
_VERIFYING_FREE_S: Final = 60.0
"""Verification that no share limits: a new node could otherwise never begin with it."""
_SURE_TAUS: Final = 10
"""A first screening gain of this many tau needs no second run to be worth others' time."""
SCREENS_MAX: Final = 2
"""Screening runs of an idea at most."""
_ALOUD_AGENTS_MAX: Final = 50
"""Agents that tell each other of every idea at once."""


def share_allows(verifying_s: float, screening_s: float, share_permille: int) -> bool:
    """Whether verifying stays within the policy's share of a node's time."""
    share = share_permille / 1000
    return verifying_s <= max(_VERIFYING_FREE_S, share * (verifying_s + screening_s))


def screens_enough(gains_micro: Sequence[int | None], tau_micro: int) -> bool:
    """Whether the screening runs so far say enough: a second one only where the first leaves doubt.

    Args:
        gains_micro: Gain of each run; None where an arm failed.
        tau_micro: Smallest gain that matters.
    """
    if not gains_micro:
        return False
    last_micro = gains_micro[-1]
    if len(gains_micro) >= SCREENS_MAX or last_micro is None:
        return True
    return not tau_micro <= last_micro < _SURE_TAUS * tau_micro


def tells_at_once(gains_micro: Sequence[int | None], tau_micro: int, agents: int) -> bool:
    """Whether a screened idea is told to all at once, or left to reconciliation.

    Nobody waits for an idea that its author's own runs speak against, and most ideas are of that
    kind. In a large swarm they spare everybody the messages and arrive some seconds later.

    Args:
        gains_micro: Gain of each screening run; None where an arm failed.
        tau_micro: Smallest gain that matters.
        agents: Agents that were heard of lately.
    """
    if agents <= _ALOUD_AGENTS_MAX:
        return True
    measured = [gain for gain in gains_micro if gain is not None]
    return len(measured) == len(gains_micro) and sum(measured) >= tau_micro * len(measured)


class MergeDuty:
    """Which merges a member signs, and when.

    One is enough for the lineage: the author signs it, or others in rendezvous order. Where some
    verifiers may lie, every verifier signs one of its own at once: what more of them signed than
    may lie, late reports of the liars do not take back (`swarm.standing`).
    """

    def __init__(self) -> None:
        self._since_s: dict[bytes, float] = {}

    def due(
        self, ledger: Ledger, me: bytes, alive: Iterable[bytes], now_s: float
    ) -> tuple[list[Merge], bool]:
        """Merges to sign now, and whether others' merges are being waited for.

        Args:
            ledger: The state.
            me: This node's key.
            alive: Keys that were heard of lately; this node need not be among them.
            now_s: Monotonic seconds.
        """
        if not ledger.is_member(me):
            return [], False
        mine = ledger.unsigned_merges(me)
        merges = [_merge(view) for view in mine]
        signed = {view.id for view in mine}
        pending = [view for view in ledger.pending_merges() if view.id not in signed]
        members = {key for key in alive if ledger.is_member(key)} if pending else set()
        waiting = False
        for view in pending:
            since_s = self._since_s.setdefault(view.id, now_s)
            if now_s - since_s < _MERGE_GRACE_S * _place(view, me, members):
                waiting = True
                continue
            merges.append(_merge(view))
        self._since_s = {view.id: self._since_s[view.id] for view in pending}
        return merges, waiting


def _merge(view: HypothesisView) -> Merge:
    return Merge(view.id, view.verdict.trials[: limits.TRIALS_CITED_MAX])


def _place(view: HypothesisView, me: bytes, members: set[bytes]) -> int:
    """How many come before this node in doing what one of all has to do for a hypothesis."""
    if view.author == me:
        return 0
    mine = rendezvous(view.id, me)
    others = members - {view.author, me}
    return 1 + sum(rendezvous(view.id, key) < mine for key in others)


class AbsenceDuty:
    """Of which self-verified entries a member says that it has no script to run, and when.

    Such an entry cannot be tested by anybody, and nobody can build on it. Scripts may be late, so a
    lease passes first, during which others are heard of: a node that hears nobody has asked nobody.
    """

    def __init__(self) -> None:
        self._since_s: dict[bytes, float] = {}

    def due(
        self,
        ledger: Ledger,
        me: bytes,
        alive: Iterable[bytes],
        untestable: Collection[bytes],
        now_s: float,
    ) -> list[Absence]:
        """Absences to sign now.

        Args:
            ledger: The state.
            me: This node's key.
            alive: Keys that were heard of lately; this node need not be among them.
            untestable: Ids of hypotheses whose script this node has asked for in vain, or may not
                run.
            now_s: Monotonic seconds.
        """
        others = set(alive) - {me}
        policy = ledger.policy
        if not (policy.self_verified and others and ledger.is_member(me)):
            self._since_s = {}
            return []
        awaited = [
            view
            for view in ledger.self_verified()
            if view.id in untestable
            and view.author != me
            and not ledger.said_absent(view.id, me)
            and len(view.verdict.gains) <= policy.liars
        ]
        # The lease runs for all at once, on the way to the head or not: else entries side by side
        # would hold the swarm up for one lease each.
        self._since_s = {view.id: self._since_s.get(view.id, now_s) for view in awaited}
        members = {key for key in others if ledger.is_member(key)} if awaited else set()
        return [
            Absence(view.id)
            for view in awaited
            if ledger.is_on_path(view.entry_id)
            and now_s - self._since_s[view.id]
            >= policy.lease_s + _MERGE_GRACE_S * _place(view, me, members)
        ]


class AdmitDuty:
    """Whom a member signs in, where the policy admits all."""

    def __init__(self) -> None:
        self._rate = TokenBuckets(rate_per_s=_ADMISSIONS_PER_S, burst=_ADMISSIONS_BURST)

    def due(self, ledger: Ledger, me: bytes, asking: Iterable[bytes], now_s: float) -> list[Admit]:
        """Admissions to sign now.

        Args:
            ledger: The state.
            me: This node's key.
            asking: Keys that are there and ask to become members.
            now_s: Monotonic seconds.
        """
        grant = ledger.admit_grant(me)
        if ledger.policy.admission != "all" or grant is None:
            return []
        admits: list[Admit] = []
        for author in asking:
            if ledger.is_admitted(author):
                continue
            if not self._rate.take(b"", 1, now_s):
                break
            admits.append(Admit(member=author, can_admit=False, grant=grant, expires_depth=0))
        return admits
