"""Bugs planted one by one, to show that the simulator finds them.

Each is a mutation of the code under test, applied for the length of a block and only here.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

from gossip.core import index as index_module
from node import door, duties
from protocol.errors import WireError
from protocol.policy import Policy
from protocol.records import Merge, Record
from swarm import case, fork_choice, ledger, lineage, standing, verdict, verification, waiting
from swarm.events import Event, HeadChanged
from swarm.verdict import Pair, Verdict
from tests.sim import carrying, memo, peer, plant_shapes
from tests.sim.plan import Plan

Patches = Sequence[tuple[object, str, object]]


@dataclass(frozen=True)
class Plant:
    """A bug.

    Attributes:
        words: What is wrong.
        caught_by: Invariants that show it.
        patches: What replaces what.
        shape: Changes each plan so that the runs are about what the bug breaks: errors that only
            show in the sum of many runs would need hundreds of ordinary ones.
    """

    words: str
    caught_by: frozenset[str]
    patches: Callable[[], Patches]
    shape: Callable[[Plan], Plan] = lambda plan: plan


def _first_merge_stands() -> Patches:
    original = case.Case.candidate

    def candidate(self: case.Case, membership: Any) -> Any:
        found = original(self, membership)
        if found is None:
            return None
        return replace(found, merge=next(iter(self.merges.values())))

    return [(case.Case, "candidate", candidate)]


def _void_forgets_past() -> Patches:
    def void(self: ledger.Ledger, author: bytes, events: Any, touched: Any) -> None:
        self._voided.add(author)

    return [(ledger.Ledger, "_void", void)]


def _acknowledge_before_write() -> Patches:
    original = peer.Peer._pump

    def pump(self: peer.Peer) -> None:
        original(self)
        self.acknowledged.update(identity for identity, _, _ in self._pending)

    return [(peer.Peer, "_pump", pump)]


def _dependents_unwritten() -> Patches:
    original = door.Door.judge

    def judge(self: door.Door, envelope: bytes, *, local: bool, now_s: float) -> door.Judged:
        judged = original(self, envelope, local=local, now_s=now_s)
        return replace(judged, rows=judged.rows[:1])

    return [(door.Door, "judge", judge)]


def _low_threshold() -> Patches:
    original = verdict.Scan.__init__

    def init(self: verdict.Scan, policy: Policy, liars: int) -> None:
        original(self, replace(policy, alpha_ppm=500_000), liars)

    return [(verdict.Scan, "__init__", init)]


def _liars_trusted() -> Patches:
    def conclude(pairs: Sequence[Pair], policy: Policy, liars: int) -> Verdict:
        return verdict.conclude(pairs, policy, 0)

    return [(memo, "conclude", conclude)]


def _signatures_ignored() -> Patches:
    def verdict(self: standing.Standing, *given: object, **more: object) -> None:
        return None

    return [(standing.Standing, "verdict", verdict)]


def _no_takeover() -> Patches:
    original = verification.choose_verifiers

    def choose(state: Any, item: Any, *, leases: Any, **rest: Any) -> frozenset[bytes]:
        began_s = leases._noticed_s[item.id]
        return original(
            state, item, **(rest | {"alive": state.members, "leases": leases, "now_s": began_s})
        )

    return [(verification, "choose_verifiers", choose)]


def _absences_ignored() -> Patches:
    def absences(self: case.Case, *_: object) -> frozenset[bytes]:
        return frozenset()

    return [(case.Case, "_doubtful_absences", absences)]


def _only_authors_merge() -> Patches:
    original = duties.MergeDuty.due

    def due(
        self: duties.MergeDuty, state: ledger.Ledger, me: bytes, alive: Any, now_s: float
    ) -> tuple[list[Merge], bool]:
        merges, waits = original(self, state, me, alive, now_s)
        return [one for one in merges if state.author_of(one.hypothesis) == me], waits

    return [(duties.MergeDuty, "due", due)]


def _blind_fingerprints() -> Patches:
    def fingerprint(self: index_module.RecordIndex, low: int, high: int) -> bytes:
        return hashlib.sha256(str(high - low).encode()).digest()[:16]

    return [(index_module.RecordIndex, "fingerprint", fingerprint)]


def _envelopes_pile_up() -> Patches:
    def hold(self: door.Door, identity: bytes, envelope: bytes) -> None:
        self._held[identity] = envelope

    return [(door.Door, "_hold", hold)]


def _waiting_unbounded() -> Patches:
    original = waiting.Waiting.hold

    def hold(self: waiting.Waiting, record: Record, missing: bytes) -> None:
        with (
            mock.patch.object(waiting, "HELD_MAX", 10**9),
            mock.patch.object(waiting, "HELD_PER_AUTHOR_MAX", 10**9),
        ):
            original(self, record, missing)

    return [(waiting.Waiting, "hold", hold)]


def _pairs_repeated() -> Patches:
    def next_pair(self: case.Case, verifier: bytes) -> int:
        count = sum(slot[:2] == ("verify", verifier) for slot in self._trials)
        return max(0, count - 1)

    def has_pair(self: case.Case, verifier: bytes, pair: int) -> bool:
        return False

    return [(case.Case, "next_pair", next_pair), (case.Case, "has_pair", has_pair)]


def _blind_workers() -> Patches:
    original = verification.next_verification

    def following(state: Any, me: bytes, **changes: Any) -> Any:
        return original(state, me, **(changes | {"running": frozenset()}))

    def wanted(state: Any, me: bytes, task: Any) -> bool:
        return True

    return [(peer, "next_verification", following), (peer, "is_wanted", wanted)]


def _tie_by_arrival() -> Patches:
    def heaviest(
        root: bytes, children: Mapping[bytes, Sequence[bytes]], *rest: object
    ) -> list[bytes]:
        # Every sibling weighs the same, so that ties are common, and the first one wins.
        path = [root]
        while candidates := children.get(path[-1]):
            path.append(candidates[0])
        return path

    return [(lineage, "heaviest_path", heaviest), (fork_choice, "heaviest_path", heaviest)]


def _fickle_head() -> Patches:
    original = ledger.Ledger._settle

    def settle(self: ledger.Ledger, touched: set[bytes], events: list[Event]) -> None:
        before = self._path[-1]
        original(self, touched, events)
        salt = str(len(self._records)).encode()
        path = [self._root_id]
        while following := [
            entry.id for entry in self._entries.values() if entry.parents[:1] == (path[-1],)
        ]:
            path.append(min(following, key=lambda one: hashlib.sha256(salt + one).digest()))
        self._path = path
        if path[-1] != before:
            events.append(HeadChanged(before, path[-1], rolled_back=before not in path))

    return [(ledger.Ledger, "_settle", settle)]


def _endless_pairs() -> Patches:
    original = case.Case.renew

    def renew(self: case.Case, *rest: Any) -> None:
        original(self, *rest)
        if self.verdict.status == "parked":
            self.verdict = replace(self.verdict, status="undecided")

    def would_count(self: ledger.Ledger, hypothesis: bytes, verifier: bytes, pair: int) -> bool:
        return True

    return [(case.Case, "renew", renew), (ledger.Ledger, "would_count", would_count)]


def _left_behind() -> Patches:
    def nothing(self: carrying.Carrier, tried: object) -> None:
        return None

    return [(carrying.Carrier, "next", nothing)]


def _trusting_decoder() -> Patches:
    original = memo._Memo.open_envelope

    def opened(self: Any, envelope: bytes, *, swarm: bytes | None) -> Record:
        try:
            return original(self, envelope, swarm=swarm)
        except WireError as error:
            if "MessagePack" in str(error):
                # As a decoder would that lets an exception of its library out.
                raise KeyError("body") from error
            raise

    return [(memo._Memo, "open_envelope", opened)]


PLANTS: dict[str, Plant] = {
    "first_merge_stands": Plant(
        "Of several merge records the first to arrive stands, not the one with the lowest id",
        frozenset({"equal sets"}),
        _first_merge_stands,
    ),
    "void_forgets_past": Plant(
        "A contradiction voids its author's later evidence only",
        frozenset({"equal sets"}),
        _void_forgets_past,
        plant_shapes.with_an_equivocator,
    ),
    "acknowledge_before_write": Plant(
        "Records are acknowledged before the disk has them",
        frozenset({"acknowledged"}),
        _acknowledge_before_write,
    ),
    "dependents_unwritten": Plant(
        "Records that had waited enter the ledger, but are not written",
        frozenset({"acknowledged"}),
        _dependents_unwritten,
    ),
    "low_threshold": Plant(
        "The verdict asks for evidence of 2 whatever alpha is",
        frozenset({"false merges"}),
        _low_threshold,
        plant_shapes.only_worthless,
    ),
    "liars_trusted": Plant(
        "Evidence need not stand without the policy's number of liars",
        frozenset({"false merges", "false refusals"}),
        _liars_trusted,
        plant_shapes.liars_against_gains,
    ),
    "signatures_ignored": Plant(
        "Liars who report after a merge take back what its verifiers signed",
        frozenset({"honest ancestor"}),
        _signatures_ignored,
        plant_shapes.late_liars_against_gains,
    ),
    "no_takeover": Plant(
        "A verifier that is gone or late is waited for",
        frozenset({"progress"}),
        _no_takeover,
    ),
    "absences_ignored": Plant(
        "What nobody but its author has is built on for ever, whoever says so",
        frozenset({"progress"}),
        _absences_ignored,
        plant_shapes.with_a_hider,
    ),
    "only_authors_merge": Plant(
        "Nobody merges for an author that is gone",
        frozenset({"quiet"}),
        _only_authors_merge,
    ),
    "blind_fingerprints": Plant(
        "Fingerprints tell how many records there are, not which",
        frozenset({"healing", "quiet", "equal sets", "equal heads"}),
        _blind_fingerprints,
    ),
    "envelopes_pile_up": Plant(
        "Envelopes of held records are kept without bound",
        frozenset({"memory"}),
        _envelopes_pile_up,
    ),
    "waiting_unbounded": Plant(
        "Held records are kept without bound",
        frozenset({"memory", "crash"}),
        _waiting_unbounded,
    ),
    "pairs_repeated": Plant(
        "A verifier runs its last pair again",
        frozenset({"honest voided"}),
        _pairs_repeated,
    ),
    "blind_workers": Plant(
        "Two workers of a node run the same pair, and neither stops when the other is done",
        frozenset({"honest voided"}),
        _blind_workers,
    ),
    "tie_by_arrival": Plant(
        "Of sibling entries the first to arrive is followed",
        frozenset({"equal sets"}),
        _tie_by_arrival,
    ),
    "fickle_head": Plant(
        "The head is drawn anew from the siblings whenever a record comes",
        frozenset({"settled head"}),
        _fickle_head,
    ),
    "endless_pairs": Plant(
        "Pairs are run that would not be counted any more",
        frozenset({"quiet", "endless", "crash", "progress"}),
        _endless_pairs,
        plant_shapes.few_worthless,
    ),
    "left_behind": Plant(
        "What the lineage left behind is never brought onto the head",
        frozenset({"verified lost"}),
        _left_behind,
        plant_shapes.many_gains,
    ),
    "trusting_decoder": Plant(
        "Malformed bytes raise something that nobody expects",
        frozenset({"crash"}),
        _trusting_decoder,
        plant_shapes.with_a_garbler,
    ),
}


@contextlib.contextmanager
def planted(name: str | None) -> Iterator[None]:
    """Plant a bug for the length of a block; None plants nothing."""
    with contextlib.ExitStack() as stack:
        for target, attribute, value in [] if name is None else PLANTS[name].patches():
            stack.enter_context(mock.patch.object(target, attribute, value))
        yield
