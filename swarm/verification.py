"""Who verifies what next: rendezvous choice, leases and the order of work. Pure scheduling.

The verifiers of a hypothesis are the first `max_verifiers` members in rendezvous order, its author
left out. A member that is not heard of, or that stays silent past its lease, is passed over and the
next one takes part too. Liveness is an argument and only chooses who works: no verdict depends on
what is decided here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from protocol.ids import rendezvous
from swarm.hypotheses import HypothesisView
from swarm.ledger import Ledger

WAITING_FOR_WORK: Final = frozenset({"claimed", "undecided"})
"""Statuses in which more pairs are wanted. Parked hypotheses wait for a quieter time."""


@dataclass(frozen=True, slots=True)
class VerificationTask:
    """A pair to run.

    Attributes:
        hypothesis: Record id.
        pair: Number of the pair.
    """

    hypothesis: bytes
    pair: int


def next_verification(
    ledger: Ledger,
    me: bytes,
    *,
    alive: frozenset[bytes],
    now_ms: int,
    running: frozenset[tuple[bytes, int]] = frozenset(),
    unusable: frozenset[bytes] = frozenset(),
) -> VerificationTask | None:
    """The pair that this member should run now, or None.

    Args:
        ledger: The state.
        me: This member's key.
        alive: Members that were heard of lately; this one need not be among them.
        now_ms: Wall clock, for leases.
        running: Pairs (hypothesis, number) that this node runs already.
        unusable: Hypotheses that this node cannot run.
    """
    if not ledger.is_member(me):
        return None
    wanted = [
        item
        for item in ledger.hypotheses()
        if item.status in WAITING_FOR_WORK
        and item.screening.promising
        and item.author != me
        and item.id not in unusable
        and item.verdict.decided_at < ledger.policy.cap_pairs
        and not (item.verdict.awaits_verifiers and me in item.verdict.verifiers)
        and _may_count(ledger, item, me)
    ]
    wanted.sort(key=lambda item: _order(item, ledger.policy.tau_micro))
    for item in wanted:
        if me not in choose_verifiers(ledger, item, me=me, alive=alive, now_ms=now_ms):
            continue
        pair = ledger.next_pair(item.id, me)
        while (item.id, pair) in running:
            pair += 1
        in_flight = sum(identity == item.id for identity, _ in running)
        if item.verdict.decided_at + in_flight < ledger.policy.cap_pairs:
            return VerificationTask(item.id, pair)
    return None


def _may_count(ledger: Ledger, item: HypothesisView, me: bytes) -> bool:
    """Whether more pairs by this member would be counted.

    Those of whoever stands behind enough other verifiers are not, and it would run them for ever.
    """
    if ledger.next_pair(item.id, me) == 0:
        return True
    counted = set(item.verdict.trials)
    return any(trial.author == me and trial.id in counted for trial in item.trials)


def _order(item: HypothesisView, tau_micro: int) -> tuple[int, int, bytes]:
    """Sort key of what is verified first: the larger gain by powers of two, then the older claim.

    It must be the same for all members and stay so while they work, else two verifiers each finish
    a hypothesis that needs both. So a claim overtakes one that was begun only when it promises a
    multiple, and what a member has done itself does not count.
    """
    size = ((item.screening.gain_micro or 0) // tau_micro).bit_length()
    return -size, item.created_ms, item.id


def choose_verifiers(
    ledger: Ledger,
    item: HypothesisView,
    *,
    me: bytes,
    alive: frozenset[bytes],
    now_ms: int,
) -> frozenset[bytes]:
    """Members that should be working on a hypothesis now."""
    policy = ledger.policy
    in_order = sorted(
        (key for key in ledger.members if key != item.author and ledger.is_member(key)),
        key=lambda key: rendezvous(item.id, key),
    )
    chosen: list[bytes] = []
    for key in in_order:
        if len(chosen) >= policy.max_verifiers:
            break
        if key == me or (key in alive and not _is_late(ledger, item, key, now_ms)):
            chosen.append(key)
    return frozenset(chosen)


def _is_late(ledger: Ledger, item: HypothesisView, key: bytes, now_ms: int) -> bool:
    """Whether a verifier has shown nothing for longer than its lease."""
    last_ms = ledger.last_trial_ms(item.id, key)
    since_ms = item.created_ms if last_ms is None else last_ms
    return now_ms - since_ms > ledger.policy.lease_s * 1000


def is_wanted(ledger: Ledger, me: bytes, task: VerificationTask) -> bool:
    """Whether a pair that was begun is still worth finishing."""
    if not ledger.is_member(me):
        return False
    item = ledger.hypothesis(task.hypothesis)
    return item.status in WAITING_FOR_WORK and ledger.next_pair(task.hypothesis, me) <= task.pair


def verifiers_of(items: Iterable[HypothesisView]) -> dict[bytes, int]:
    """How many counted pairs each member contributed."""
    counts: dict[bytes, int] = {}
    for item in items:
        for record in item.trials:
            if record.id in item.verdict.trials:
                counts[record.author] = counts.get(record.author, 0) + 1
    return counts
