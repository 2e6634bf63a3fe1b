"""What must hold in every run, at every moment and at its end.

`Watcher` looks at all honest nodes a few times a minute and once more when the swarm is quiet. A
violation ends the run. What only holds with a probability (no false merge beyond alpha) is counted
here and judged over many runs in `statistics.py`.
"""

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from swarm.admission import Held
from swarm.ledger import Ledger
from swarm.patience import WAITING_FOR_WORK
from tests.sim.carrying import merged
from tests.sim.memo import CLAIMS_MAX, HELD_ENVELOPES_MAX, HELD_MAX
from tests.sim.world import EVERYBODY_MAX, LOST_S

if TYPE_CHECKING:
    from tests.sim.peer import Peer
    from tests.sim.world import World

HEALING_S: Final = 90.0
"""Within this time of healing, honest records that any honest node had are at every honest node.

Records by hostile authors that wait for each other by the dozen may take longer: what is held is
bounded by author, and what fell out is asked for again after a minute (hence the minute and a half
here). They are there, too, before the swarm counts as quiet."""
HEALING_PER_NODE_S: Final = 0.5
"""And as much more for each node, of which a large swarm has many. Where not everybody is
everybody's partner, the time until those that went are replaced (`LOST_S`) comes on top."""
FLIPS_MAX: Final = 2
"""How often a node's head changes at one fork from the moment on when the network is good."""


class ViolationError(Exception):
    """An invariant does not hold.

    Attributes:
        invariant: Its name.
    """

    def __init__(self, invariant: str, detail: str) -> None:
        super().__init__(f"{invariant}: {detail}")
        self.invariant = invariant


@dataclass
class Tally:
    """What one run counts towards the statistics.

    Attributes:
        nulls: Worthless hypotheses with at least one counted pair.
        false_merges: Those among them that were verified.
        good: Hypotheses of at least three tau, by honest authors, with at least one counted pair.
        false_refusals: Those among them that were refuted.
        alpha: Sum of the policy's alpha over the nulls.
        alpha_good: Sum of alpha over the good.
    """

    nulls: int = 0
    false_merges: int = 0
    good: int = 0
    false_refusals: int = 0
    alpha: float = 0.0
    alpha_good: float = 0.0

    def add(self, other: "Tally") -> None:
        """Add another run's."""
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def state_of(ledger: Ledger) -> tuple[object, ...]:
    """Everything that equal sets must agree on."""
    entries = sorted((e.id, e.hypothesis, e.merged_ms, e.weight) for e in ledger.entries.values())
    views = sorted((item.id, item.status, item.verdict.trials) for item in ledger.hypotheses())
    return (
        ledger.head.id,
        ledger.digest,
        tuple(entry.id for entry in ledger.lineage()),
        tuple(sorted(ledger.members)),
        tuple(entries),
        tuple(views),
    )


@dataclass
class Watcher:
    """Looks at the honest nodes of one world."""

    world: "World"
    states: dict[bytes, tuple[object, ...]] = field(default_factory=dict)
    promised: frozenset[bytes] = frozenset()
    ancestors: set[bytes] = field(default_factory=set)
    _rest: bytes | None = None

    def honest(self) -> "list[Peer]":
        """Honest nodes that run."""
        return [peer for peer in self.world.peers if peer.honest and peer.up]

    def look(self) -> None:
        """Check what holds at every moment."""
        for peer in self.honest():
            self._check_memory(peer)
            self._check_acknowledged(peer)
            self._check_equal(peer)
        self._note_ancestors()

    def _note_ancestors(self) -> None:
        """Remember true gains that everybody sees merged, and that enough honest ones verified.

        As many verifiers as may lie can then say what they like: only a refutation takes it back.
        """
        honest = self.honest()
        liars = self.world.plan.policy.liars
        if liars == 0 or not honest:
            return
        verifiers = {peer.me for peer in honest}
        for entry in honest[0].ledger.entries.values():
            if entry.hypothesis is None or entry.hypothesis in self.ancestors:
                continue
            everywhere = all(
                entry.id in peer.ledger.entries
                and peer.ledger.is_hypothesis(entry.hypothesis)
                and peer.ledger.hypothesis(entry.hypothesis).verdict.status == "verified"
                for peer in honest
            )
            parent = honest[0].ledger.entries[entry.parents[0]]
            truth = self.world.truth
            gains = truth.metric_micro(entry.source) < truth.metric_micro(parent.source)
            if everywhere and gains and len(verifiers.intersection(entry.verifiers)) > liars:
                self.ancestors.add(entry.hypothesis)

    def _check_equal(self, peer: "Peer") -> None:
        if len(peer.door.index) != len(peer.ledger):
            return  # Rows are on their way to the disk.
        digest = peer.door.index.digest()
        state = state_of(peer.ledger)
        known = self.states.setdefault(digest, state)
        if known != state:
            names = ("head", "digest", "lineage", "members", "entries", "verdicts")
            unlike = [
                name for name, one, other in zip(names, known, state, strict=True) if one != other
            ]
            self._fail("equal sets", f"node {peer.number} differs in {', '.join(unlike)}")

    def _check_acknowledged(self, peer: "Peer") -> None:
        lost = [identity for identity in peer.acknowledged if identity not in peer.ledger]
        if lost:
            self._fail("acknowledged", f"node {peer.number} lost {lost[0].hex()[:8]}")
        if not peer._writing and len(peer.door.index) != len(peer.ledger):
            self._fail("acknowledged", f"node {peer.number} counts records that the disk lacks")

    def _check_memory(self, peer: "Peer") -> None:
        sizes = {
            "held envelopes": (peer.door.held_count, HELD_ENVELOPES_MAX),
            "waiting records": (len(peer.ledger._waiting), HELD_MAX),
            "claims": (len(peer.claims._held), CLAIMS_MAX),
            "presences": (len(peer.presences.known()), len(self.world.peers)),
        }
        for name, (size, bound) in sizes.items():
            if size > bound:
                self._fail("memory", f"node {peer.number} keeps {size} {name}")
        for peer_key in (other.me for other in self.world.peers if other.honest):
            if peer.ledger.is_voided(peer_key):
                self._fail("honest voided", f"node {peer.number} voids an honest node")

    # -- after the bad times ----------------------------------------------------------------------

    def heal(self) -> None:
        """Remember what some honest node has at the moment of healing."""
        for peer in self.honest():
            self._check_acknowledged(peer)
        honest = {peer.me for peer in self.world.peers if peer.honest}
        self.promised = frozenset(
            identity
            for peer in self.honest()
            for identity in peer.acknowledged
            if peer.ledger.author_of(identity) in honest
        )

    @property
    def healing_s(self) -> float:
        """Time that healing may take."""
        nodes = len(self.world.peers)
        lost_s = LOST_S if nodes > EVERYBODY_MAX else 0.0
        return HEALING_S + HEALING_PER_NODE_S * nodes + lost_s

    def healed(self) -> None:
        """Check that everything that was promised has spread."""
        for peer in self.honest():
            lacking = [identity for identity in self.promised if identity not in peer.ledger]
            if lacking:
                self._fail(
                    "healing",
                    f"{self.healing_s:.0f} s after healing node {peer.number}"
                    f" lacks {len(lacking)} records",
                )

    def quiet(self) -> bool:
        """Whether nothing more is going to happen: nobody works, as when it was asked last.

        Between two pairs a node that works alone has no job, for as long as it looks for one.
        """
        digest = self._at_rest()
        before, self._rest = self._rest, digest
        return digest is not None and digest == before

    def _at_rest(self) -> bytes | None:
        """The digest that all sets have while nobody does anything; None while somebody does."""
        honest = self.honest()
        if any(peer.jobs or peer._queue or peer._writing or len(peer.bundler) for peer in honest):
            return None
        if any(peer.ledger.pending_merges() for peer in honest):
            return None
        digests = {peer.door.index.digest() for peer in honest}
        return digests.pop() if len(digests) == 1 else None

    def finish(self) -> Tally:
        """Check what holds at the end, and count."""
        self.look()
        self.healed()
        honest = self.honest()
        if len({peer.ledger.head.id for peer in honest}) > 1:
            self._fail("equal heads", "the heads of a quiet swarm differ")
        ledger = honest[0].ledger
        self._check_refold(ledger)
        self._check_not_lost(ledger)
        self._check_ancestors(ledger)
        self._check_progress(ledger)
        self._check_confirmed(ledger)
        for peer in honest:
            self._check_flips(peer)
        return self._count(ledger)

    def _check_refold(self, ledger: Ledger) -> None:
        """The state is that of a fresh ledger which took the records in another order."""
        records = sorted(ledger.records(), key=lambda record: record.id)
        random.Random(self.world.plan.seed).shuffle(records)
        records = [record for record in records if record.id != ledger.swarm]
        fresh = Ledger(self.world.genesis)
        while records:
            left = [record for record in records if isinstance(fresh.add(record), Held)]
            left = [record for record in left if record.id not in fresh]
            if len(left) == len(records):
                self._fail("equal sets", "records wait for each other in another order")
            records = left
        if state_of(fresh) != state_of(ledger):
            self._fail("equal sets", "another order of arrival gives another state")

    def _check_not_lost(self, ledger: Ledger) -> None:
        """Every hypothesis that is verified on an entry is an entry itself."""
        for item in ledger.hypotheses():
            mergeable = all(parent in ledger.entries for parent in item.body.parents)
            lost = mergeable and item.entry_id not in ledger.entries
            if lost and item.holds:
                self._fail("verified lost", f"{item.id.hex()[:6]} is verified, not merged")
        self._check_brought_over(ledger)

    def _check_brought_over(self, ledger: Ledger) -> None:
        """What was verified elsewhere is part of the head, was tried on it, or contradicts it."""
        truth = self.world.truth
        honest = {peer.me for peer in self.world.peers if peer.honest}
        tried = {
            item.body.source
            for item in ledger.hypotheses()
            if item.body.parents[0] == ledger.head.id and item.screening.runs
        }
        for item in ledger.hypotheses():
            if not item.holds or item.author not in honest:
                continue
            source = merged(truth, ledger, [item])
            if source is not None and source != ledger.head.source and source not in tried:
                self._fail("verified lost", f"{item.id.hex()[:6]} was never brought onto the head")

    def _check_ancestors(self, ledger: Ledger) -> None:
        """No liar has rolled back an honest ancestor."""
        for identity in sorted(self.ancestors):
            item = ledger.hypothesis(identity)
            hangs = all(parent in ledger.entries for parent in item.body.parents)
            fell = item.entry_id not in ledger.entries and item.verdict.status != "refuted"
            if hangs and fell:
                self._fail("honest ancestor", f"{identity.hex()[:6]} was merged and is no entry")

    def _check_progress(self, ledger: Ledger) -> None:
        """No hypothesis waits for work that an honest member could do."""
        members = {peer.me for peer in self.honest() if ledger.is_member(peer.me)}
        for item in ledger.hypotheses():
            if item.status not in WAITING_FOR_WORK or not item.screening.promising:
                continue
            idle = {
                me
                for me in members - {item.author}
                if ledger.would_count(item.id, me, ledger.next_pair(item.id, me))
            }
            if item.verdict.awaits_verifiers:
                idle -= set(item.verdict.verifiers)
            if idle:
                self._fail("progress", f"{item.id.hex()[:6]} is {item.status} and nobody works")
        deserved = [
            item
            for item in ledger.hypotheses()
            if item.verdict.status == "verified" and item.body.parents[0] == ledger.root.id
        ]
        if deserved and ledger.head.depth == 0:
            self._fail("progress", "something was verified on the root, and the head is the root")

    def _check_confirmed(self, ledger: Ledger) -> None:
        """Nothing stays self-verified while an honest member could confirm or doubt it."""
        members = {peer.me for peer in self.honest() if ledger.is_member(peer.me)}
        for item in ledger.self_verified():
            hangs = all(parent in ledger.entries for parent in item.body.parents)
            if hangs and members - {item.author} and ledger.is_on_path(item.entry_id):
                self._fail("progress", f"{item.id.hex()[:6]} is self-verified, and nobody looks")

    def _check_flips(self, peer: "Peer") -> None:
        """The head of a settled network changes at most twice per fork."""
        settled_s = self.world.plan.bad_s
        flips: dict[bytes, int] = {}
        for at_s, change in peer.head_changes:
            if change.rolled_back and at_s > settled_s:
                before = peer.ledger.entries.get(change.before)
                fork = b"" if before is None else before.parents[0]
                flips[fork] = flips.get(fork, 0) + 1
        if flips and max(flips.values()) > FLIPS_MAX:
            self._fail("settled head", f"node {peer.number} changed its mind {flips}")

    def _count(self, ledger: Ledger) -> Tally:
        tally = Tally()
        honest = {peer.me for peer in self.world.peers if peer.honest}
        alpha = ledger.policy.alpha_ppm / 1_000_000
        truth = self.world.truth
        for item in ledger.hypotheses():
            parent = ledger.entries.get(item.body.parents[0])
            if not item.verdict.trials or parent is None:
                continue
            gain_micro = truth.metric_micro(parent.source) - truth.metric_micro(item.body.source)
            if gain_micro <= 0:
                tally.nulls += 1
                tally.alpha += alpha
                tally.false_merges += item.holds
            elif gain_micro >= 3 * ledger.policy.tau_micro and item.author in honest:
                tally.good += 1
                tally.alpha_good += alpha
                tally.false_refusals += item.verdict.status == "refuted"
        return tally

    def _fail(self, invariant: str, detail: str) -> None:
        self.world.note(f"VIOLATION {invariant}: {detail}")
        raise ViolationError(invariant, detail)
