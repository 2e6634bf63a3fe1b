"""Who verifies what next: rendezvous choice, leases and the order of work. Pure scheduling.

The verifiers of a hypothesis are the first `max_verifiers` members in rendezvous order, its author
left out. A member that is not heard of, or that stays silent past its lease, is passed over and the
next one takes part too. A pair is run only where it would be counted (`swarm.counting`), and since
who takes over is counted, no hypothesis waits for a peer that has left.

Leases run by this node's own monotonic clock, from when it noticed what a verifier showed last: the
times that records name are their authors' word, and nobody is excused until a year that it made up.

Where the policy allows it, an author that no verifiers are there for verifies its own hypothesis
(`swarm.case`), and goes on from there. What is only self-verified is the first thing that others
verify, from the root on, since everything else is built on it. What fell because its script could
not be had is verified like anything else by whoever has it, on whatever entry it stands.

Work that others' verdicts make pointless is the dearest thing here, so one hypothesis of a head is
verified at a time (more in a large swarm), one that is begun is finished first, and of those who
verify only as many run the last pairs as it takes. Whoever has no part in it researches; what he
finds promising meanwhile comes onto the next head together (`swarm.merge_queue`). A hypothesis in
which nothing has moved for a lease holds up nobody, and a node without other work takes any pair.

Liveness is an argument and only chooses who works: no verdict depends on what is decided here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from protocol.ids import rendezvous
from protocol.policy import PERMILLE
from protocol.records import Record, Trial
from swarm.hypotheses import HypothesisView
from swarm.ledger import Ledger
from swarm.patience import BEGUN_PAIRS, WAITING_FOR_WORK, Research, pairs_missing

BEGUN_SIZES: Final = 2
"""What is begun is overtaken only by what promises about twice as much."""

ORDERS_CACHE_SIZE: Final = 1 << 10
"""Orders of members kept: an idle member asks for those of every hypothesis on the head each time
that anything changes. Of 3,500 members that is 28 KB each."""


@dataclass(frozen=True, slots=True)
class VerificationTask:
    """A pair to run.

    Attributes:
        hypothesis: Record id.
        pair: Number of the pair.
        resumed: Whether the hypothesis was parked when the pair was chosen.
    """

    hypothesis: bytes
    pair: int
    resumed: bool = False


class Leases:
    """How long each verifier has shown nothing new, as far as this node has noticed."""

    def __init__(self) -> None:
        self._noticed_s: dict[bytes, float] = {}
        self._shown: dict[bytes, dict[bytes, tuple[int, float]]] = {}
        self._progress: dict[bytes, tuple[int, float]] = {}

    def notice(self, hypotheses: Iterable[bytes], now_s: float) -> None:
        """Begin the leases of hypotheses that want work now; all others are forgotten."""
        self._noticed_s = {item: self._noticed_s.get(item, now_s) for item in hypotheses}
        self._shown = {item: self._shown.get(item, {}) for item in self._noticed_s}
        self._progress = {
            item: progress for item, progress in self._progress.items() if item in self._noticed_s
        }

    def stalled_s(self, hypothesis: bytes, pairs: int, now_s: float) -> float:
        """Seconds since a hypothesis that has been noticed was first seen with as many pairs.

        Args:
            hypothesis: One that has been noticed.
            pairs: Pairs that it has now, whoever gave them.
            now_s: Monotonic seconds.
        """
        before, since_s = self._progress.get(hypothesis, (0, self._noticed_s[hypothesis]))
        if before != pairs:
            since_s = now_s
        self._progress[hypothesis] = (pairs, since_s)
        return now_s - since_s

    def silent_s(self, hypothesis: bytes, verifier: bytes, pairs: int, now_s: float) -> float:
        """Seconds since a verifier was first seen with as many pairs as it has now.

        Args:
            hypothesis: One that has been noticed.
            verifier: A member.
            pairs: Pairs without a gap that it has given.
            now_s: Monotonic seconds.
        """
        shown = self._shown[hypothesis]
        before, since_s = shown.get(verifier, (0, self._noticed_s[hypothesis]))
        if before != pairs:
            since_s = now_s
        shown[verifier] = (pairs, since_s)
        return now_s - since_s


def next_verification(
    ledger: Ledger,
    me: bytes,
    *,
    alive: frozenset[bytes],
    leases: Leases,
    now_s: float,
    running: frozenset[tuple[bytes, int]] = frozenset(),
    unusable: frozenset[bytes] = frozenset(),
    quiet: bool = False,
) -> VerificationTask | None:
    """The pair that this member should run now, or None.

    Args:
        ledger: The state.
        me: This member's key.
        alive: Members that were heard of lately; this one need not be among them.
        leases: This node's, renewed here.
        now_s: Monotonic seconds.
        running: Pairs (hypothesis, number) that this node runs already.
        unusable: Hypotheses that this node cannot run.
        quiet: Whether this node has nothing else to do: then parked hypotheses are resumed too.
    """
    if not ledger.is_member(me):
        return None
    items = (
        *ledger.hypotheses_on(ledger.head.id),
        *ledger.self_verified(),
        *(item for item in ledger.absent() if item.body.parents[0] != ledger.head.id),
    )
    wanted = [
        item
        for item in items
        if (wants_pairs(ledger, item) or (quiet and _is_resumable(ledger, item)))
        # What an author claims to have verified moves the head, whether it was screened or not.
        and (item.screening.promising or item.self_verified or item.absent_for)
    ]
    leases.notice((item.id for item in wanted), now_s)
    alone = _is_alone(ledger, me, alive)
    places = _places(ledger, alive | {me})
    research = Research.on_head(ledger)
    wanted.sort(key=lambda item: _order(ledger, item))
    for item in wanted:
        if item.id in unusable:
            continue
        own = item.author == me
        if own and alone and wants_own_pairs(ledger, item):
            pair = _free_pair(ledger, item.id, me, running)
            if pair < ledger.policy.cap_pairs:
                return VerificationTask(item.id, pair)
            continue
        stalled = leases.stalled_s(item.id, len(item.verdict.trials), now_s) > ledger.policy.lease_s
        if not (quiet or stalled or research.is_due(item)):
            continue
        if not own:
            workers = choose_verifiers(ledger, item, me=me, alive=alive, leases=leases, now_s=now_s)
            pair = _free_pair(ledger, item.id, me, running)
            if (
                me in workers
                and not (item.verdict.awaits_verifiers and me in item.verdict.verifiers)
                and ledger.would_count(item.id, me, pair)
                and (quiet or stalled or _is_needed(ledger, item, me, workers))
            ):
                return VerificationTask(item.id, pair, resumed=item.status == "parked")
        # Others are at it. What stands behind it is begun when it is decided, and is brought over
        # then: a pair for it now would be lost with the head. Where no pair is left to give, nobody
        # is.
        used_up = len(item.verdict.trials) >= ledger.policy.cap_pairs
        places -= not (item.self_verified or stalled or used_up)
        if places <= 0 and not quiet:
            return None
    return None


def _free_pair(
    ledger: Ledger, hypothesis: bytes, me: bytes, running: frozenset[tuple[bytes, int]]
) -> int:
    """Number of the first pair that this node has neither given nor runs.

    Of pairs that ran side by side a later one may have ended first. Who gave it twice, with another
    number, would stand there as a liar.
    """
    pair = ledger.next_pair(hypothesis, me)
    while (hypothesis, pair) in running or ledger.has_pair(hypothesis, me, pair):
        pair += 1
    return pair


def _places(ledger: Ledger, alive: frozenset[bytes]) -> int:
    """How many hypotheses are verified at the same time, by at most half of those that are there.

    Each head needs one at a time, and what else is verified beside it has to be tested once more.
    Of very many members some can be spared for that.
    """
    members = sum(ledger.is_member(key) for key in alive)
    return max(1, members // (2 * ledger.policy.max_verifiers))


def _is_needed(ledger: Ledger, item: HypothesisView, me: bytes, workers: frozenset[bytes]) -> bool:
    """Whether a pair by this member is likely to be needed, if all others at it give one as well.

    When the next pair or two will decide, those who gave the fewest run them, and the others do
    something else meanwhile.
    """
    missing = pairs_missing(item.verdict, ledger.policy, at_most=len(workers))
    if missing >= len(workers):
        return True
    ready = sorted(
        workers, key=lambda key: (ledger.next_pair(item.id, key), rendezvous(item.id, key))
    )
    return me in ready[:missing]


def wants_pairs(ledger: Ledger, item: HypothesisView) -> bool:
    """Whether others than its author should verify a hypothesis now."""
    if item.self_verified or item.absent_for:
        return item.body.parents[0] in ledger.entries
    return item.status in WAITING_FOR_WORK


def wants_own_pairs(ledger: Ledger, item: HypothesisView) -> bool:
    """Whether its author, when nobody else is there, should verify a hypothesis itself."""
    open_still = item.own is None or item.own.status == "undecided"
    return ledger.policy.self_verified and item.status in WAITING_FOR_WORK and open_still


def _is_alone(ledger: Ledger, me: bytes, alive: frozenset[bytes]) -> bool:
    """Whether too few others are there for anything to be verified."""
    others = {key for key in alive if key != me and ledger.is_member(key)}
    return len(others) < ledger.policy.verifiers_needed


def _is_resumable(ledger: Ledger, item: HypothesisView) -> bool:
    """Whether more pairs might still show a parked hypothesis to be worth something.

    On an older head nothing is resumed: there the change is brought over instead
    (`swarm.merge_queue`).
    """
    if item.status != "parked" or item.body.parents[0] != ledger.head.id:
        return False
    return not item.verdict.rules_out(ledger.policy.tau_micro)


def _order(ledger: Ledger, item: HypothesisView) -> tuple[int, int, int, bytes]:
    """Sort key of what is verified first: the larger gain by powers of 1.4, then the older claim.

    It must be the same for all members and stay so while they work, else two verifiers each finish
    a hypothesis that needs both. So a claim overtakes one only when it promises a multiple, and a
    higher one when that is begun; what a member has done itself does not count. Before all that
    comes what the head is built on and nobody has confirmed, after it what is parked.
    """
    size = (((item.screening.gain_micro or 0) // ledger.policy.tau_micro) ** 2).bit_length()
    if item.self_verified and ledger.is_on_path(item.entry_id):
        return -1, ledger.entries[item.entry_id].depth, item.created_ms, item.id
    if len(item.verdict.trials) >= BEGUN_PAIRS:
        size += BEGUN_SIZES
    return int(item.status == "parked"), -size, item.created_ms, item.id


def choose_verifiers(
    ledger: Ledger,
    item: HypothesisView,
    *,
    me: bytes,
    alive: frozenset[bytes],
    leases: Leases,
    now_s: float,
) -> frozenset[bytes]:
    """Members that should be working on a hypothesis that `leases` has noticed."""
    policy = ledger.policy
    chosen: list[bytes] = []
    for key in _in_order(item.id, ledger.members):
        if len(chosen) >= policy.max_verifiers:
            break
        if key == item.author or ledger.is_voided(key):
            continue
        pairs = ledger.next_pair(item.id, key)
        late = leases.silent_s(item.id, key, pairs, now_s) > policy.lease_s
        if key == me or (key in alive and not late):
            chosen.append(key)
    return frozenset(chosen)


@lru_cache(maxsize=ORDERS_CACHE_SIZE)
def _in_order(hypothesis: bytes, members: frozenset[bytes]) -> tuple[bytes, ...]:
    """Members in rendezvous order."""
    return tuple(sorted(members, key=lambda key: rendezvous(hypothesis, key)))


def is_wanted(ledger: Ledger, me: bytes, task: VerificationTask) -> bool:
    """Whether a pair that was begun is still worth finishing."""
    if not ledger.is_member(me):
        return False
    item = ledger.hypothesis(task.hypothesis)
    if item.author == me:
        waits = wants_own_pairs(ledger, item)
    else:
        waits = wants_pairs(ledger, item) or (task.resumed and _is_resumable(ledger, item))
    return waits and not ledger.has_pair(task.hypothesis, me, task.pair)


def next_recheck(ledger: Ledger, me: bytes) -> VerificationTask | None:
    """The pair with which this member looks again at a new head before it builds on it, or None.

    Only members that did not verify it do, each with the policy's chance, which is drawn from the
    hypothesis and the key: nobody can choose whom it hits. What comes of it is shown and not
    counted.
    """
    hypothesis = ledger.head.hypothesis
    if hypothesis is None or not ledger.is_member(me):
        return None
    item = ledger.hypothesis(hypothesis)
    if item.author == me or me in item.verdict.verifiers:
        return None
    if any(_is_recheck_by(record, me) for record in item.trials):
        return None
    draw = int.from_bytes(rendezvous(item.id, me)[:8], "big") % PERMILLE
    if draw >= ledger.policy.recheck_permille:
        return None
    return VerificationTask(item.id, 0)


def _is_recheck_by(record: Record, author: bytes) -> bool:
    body = record.body
    return isinstance(body, Trial) and body.purpose == "recheck" and record.author == author


def verifiers_of(items: Iterable[HypothesisView]) -> dict[bytes, int]:
    """How many counted pairs each member contributed."""
    counts: dict[bytes, int] = {}
    for item in items:
        for record in item.trials:
            if record.id in item.verdict.trials:
                counts[record.author] = counts.get(record.author, 0) + 1
    return counts
