"""Who verifies what next: rendezvous, leases, the frontier and early stopping."""

from dataclasses import replace

from protocol.ids import rendezvous
from protocol.keys import SigningKey
from protocol.policy import DEMO, Policy
from protocol.records import Record
from swarm.ledger import Ledger
from swarm.verification import (
    VerificationTask,
    choose_verifiers,
    is_wanted,
    next_verification,
    verifiers_of,
)
from tests.swarm.helpers import TAU, Swarm, admitted, entry_of, key, steady

ALICE, BOB, CAROL = key(1), key(2), key(3)
LEASE_MS = DEMO.lease_s * 1000


def claimed(
    swarm: Swarm, ledger: Ledger, name: str, gain_micro: int, *, by: SigningKey = ALICE
) -> Record:
    """A hypothesis on the head that its author found promising."""
    hypothesis = swarm.hypothesis(name, by, parents=(ledger.head.id,))
    admitted(ledger, hypothesis)
    admitted(ledger, swarm.trial(hypothesis, by, 0, gain_micro, purpose="screen"))
    return hypothesis


def everybody(count: int) -> frozenset[bytes]:
    return frozenset(key(number).public for number in range(count + 1))


def task_for(
    ledger: Ledger,
    member: SigningKey,
    *,
    count: int = 3,
    now_ms: int = 0,
    alive: frozenset[bytes] | None = None,
    running: frozenset[tuple[bytes, int]] = frozenset(),
    unusable: frozenset[bytes] = frozenset(),
) -> VerificationTask | None:
    return next_verification(
        ledger,
        member.public,
        alive=everybody(count) if alive is None else alive,
        now_ms=now_ms,
        running=running,
        unusable=unusable,
    )


def founded(members: int = 3, policy: Policy = DEMO) -> tuple[Swarm, Ledger]:
    swarm = Swarm(policy=policy)
    return swarm, swarm.ledger(*swarm.members(members))


def test_both_verifiers_work_at_once_each_on_its_next_pair() -> None:
    swarm, ledger = founded()
    hypothesis = claimed(swarm, ledger, "a", 5 * TAU)
    for member in (BOB, CAROL):
        assert task_for(ledger, member) == VerificationTask(hypothesis.id, 0)
    admitted(ledger, swarm.trial(hypothesis, BOB, 0, 5 * TAU))
    assert task_for(ledger, BOB) == VerificationTask(hypothesis.id, 1)
    assert task_for(ledger, CAROL) == VerificationTask(hypothesis.id, 0)
    running = frozenset({(hypothesis.id, 1)})
    assert task_for(ledger, BOB, running=running) == VerificationTask(hypothesis.id, 2)


def test_nobody_verifies_its_own_or_without_being_a_member() -> None:
    swarm, ledger = founded()
    claimed(swarm, ledger, "a", 5 * TAU)
    assert task_for(ledger, ALICE) is None
    assert task_for(ledger, key(7)) is None


def test_only_promising_hypotheses_are_verified_the_largest_first() -> None:
    swarm, ledger = founded()
    claimed(swarm, ledger, "too small", TAU - 1)
    small = claimed(swarm, ledger, "small", TAU)
    assert task_for(ledger, BOB) == VerificationTask(small.id, 0)
    large = claimed(swarm, ledger, "large", 9 * TAU)
    assert task_for(ledger, BOB) == VerificationTask(large.id, 0)
    unusable = frozenset({large.id})
    assert task_for(ledger, BOB, unusable=unusable) == VerificationTask(small.id, 0)


def test_two_verifiers_stay_together_until_a_multiple_is_promised() -> None:
    swarm, ledger = founded()
    older = claimed(swarm, ledger, "older", 33 * TAU)
    newer = claimed(swarm, ledger, "newer", 40 * TAU)
    # One of them began with the newer one, before it heard of the older.
    admitted(ledger, swarm.trial(newer, CAROL, 0, 40 * TAU))
    for member in (BOB, CAROL):
        assert task_for(ledger, member) == VerificationTask(older.id, 0)
    admitted(ledger, swarm.trial(older, BOB, 0, 33 * TAU))
    multiple = claimed(swarm, ledger, "multiple", 80 * TAU)
    for member in (BOB, CAROL):
        assert task_for(ledger, member) == VerificationTask(multiple.id, 0)


def test_verification_stops_with_the_verdict() -> None:
    swarm, ledger = founded()
    hypothesis = claimed(swarm, ledger, "a", 5 * TAU)
    task = VerificationTask(hypothesis.id, 0)
    assert is_wanted(ledger, CAROL.public, task)
    for trial in swarm.trials(hypothesis, [BOB, CAROL], [-TAU] * 4):
        admitted(ledger, trial)
    assert ledger.hypothesis(hypothesis.id).status == "parked"
    assert task_for(ledger, BOB) is None
    assert not is_wanted(ledger, BOB.public, VerificationTask(hypothesis.id, 2))


def test_more_pairs_by_the_same_verifier_do_not_replace_another_one() -> None:
    swarm, ledger = founded()
    hypothesis = claimed(swarm, ledger, "a", 40 * TAU)
    for pair in range(6):
        admitted(ledger, swarm.trial(hypothesis, BOB, pair, 40 * TAU))
    assert task_for(ledger, BOB) is None
    assert task_for(ledger, CAROL) == VerificationTask(hypothesis.id, 0)


def test_a_pair_that_is_there_is_not_wanted_again() -> None:
    swarm, ledger = founded()
    hypothesis = claimed(swarm, ledger, "a", 5 * TAU)
    admitted(ledger, swarm.trial(hypothesis, BOB, 0, 5 * TAU))
    assert not is_wanted(ledger, BOB.public, VerificationTask(hypothesis.id, 0))
    assert is_wanted(ledger, BOB.public, VerificationTask(hypothesis.id, 1))
    assert not is_wanted(ledger, key(7).public, VerificationTask(hypothesis.id, 1))


def test_what_hangs_on_an_older_head_is_left() -> None:
    swarm, ledger = founded()
    rival = claimed(swarm, ledger, "rival", 5 * TAU, by=BOB)
    merged = swarm.merged("a", ALICE, [BOB, CAROL], steady(9 * TAU, 6))
    for record in merged:
        admitted(ledger, record)
    assert ledger.head.id == entry_of(merged[0])
    assert task_for(ledger, CAROL) is None
    assert not is_wanted(ledger, CAROL.public, VerificationTask(rival.id, 0))


def test_pairs_in_flight_count_towards_the_cap() -> None:
    swarm, ledger = founded(policy=replace(DEMO, cap_pairs=4))
    hypothesis = claimed(swarm, ledger, "a", 5 * TAU)
    for pair, gain in enumerate([TAU, 4 * TAU]):
        admitted(ledger, swarm.trial(hypothesis, BOB, pair, gain))
    one = frozenset({(hypothesis.id, 2)})
    two = one | {(hypothesis.id, 3)}
    assert task_for(ledger, BOB, running=one) == VerificationTask(hypothesis.id, 3)
    assert task_for(ledger, BOB, running=two) is None


def rendezvous_order(hypothesis: Record, count: int) -> list[SigningKey]:
    others = [key(number) for number in range(count + 1) if number != 1]
    return sorted(others, key=lambda member: rendezvous(hypothesis.id, member.public))


def test_the_first_in_rendezvous_order_are_chosen_and_the_silent_replaced() -> None:
    policy = replace(DEMO, max_verifiers=2)
    swarm, ledger = founded(6, policy)
    hypothesis = claimed(swarm, ledger, "a", 5 * TAU)
    order = rendezvous_order(hypothesis, 6)
    for place, member in enumerate(order):
        chosen = task_for(ledger, member, count=6) is not None
        assert chosen == (place < 2), place
    gone = everybody(6) - {order[0].public}
    assert task_for(ledger, order[2], alive=gone) is not None
    assert task_for(ledger, order[3], alive=gone) is None
    assert task_for(ledger, order[0], alive=gone) is not None, "nobody doubts its own life"


def test_a_lease_ends_for_those_who_show_nothing() -> None:
    policy = replace(DEMO, max_verifiers=2)
    swarm, ledger = founded(6, policy)
    hypothesis = claimed(swarm, ledger, "a", 5 * TAU)
    order = rendezvous_order(hypothesis, 6)
    made_ms = ledger.hypothesis(hypothesis.id).created_ms
    in_time, too_late = made_ms + LEASE_MS, made_ms + LEASE_MS + 1
    assert task_for(ledger, order[2], count=6, now_ms=in_time) is None
    assert task_for(ledger, order[2], count=6, now_ms=too_late) is not None
    for member in order[:2]:
        swarm.clock_ms = too_late
        admitted(ledger, swarm.trial(hypothesis, member, 0, 2 * TAU))
    assert task_for(ledger, order[2], count=6, now_ms=too_late + 1000) is None


def test_the_voided_are_not_asked() -> None:
    swarm, ledger = founded()
    hypothesis = claimed(swarm, ledger, "a", 5 * TAU)
    for gain in (TAU, 2 * TAU):
        admitted(ledger, swarm.trial(hypothesis, BOB, 0, gain))
    view = ledger.hypothesis(hypothesis.id)
    chosen = choose_verifiers(ledger, view, me=CAROL.public, alive=everybody(3), now_ms=0)
    assert BOB.public not in chosen
    assert task_for(ledger, BOB) is None


def test_verification_work_counts_what_counted() -> None:
    swarm, ledger = founded()
    hypothesis = claimed(swarm, ledger, "a", 5 * TAU)
    for trial in swarm.trials(hypothesis, [BOB, CAROL], [2 * TAU, 3 * TAU, 5 * TAU]):
        admitted(ledger, trial)
    assert verifiers_of(ledger.hypotheses()) == {BOB.public: 2, CAROL.public: 1}
