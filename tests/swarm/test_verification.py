"""Who verifies what next: rendezvous, leases, the frontier and early stopping."""

from dataclasses import replace

import pytest

from protocol import limits
from protocol.ids import rendezvous
from protocol.keys import SigningKey
from protocol.policy import DEMO, Policy
from protocol.records import Record
from swarm.ledger import Ledger
from swarm.patience import pairs_missing
from swarm.verification import (
    Leases,
    VerificationTask,
    choose_verifiers,
    is_wanted,
    next_verification,
    verifiers_of,
)
from tests.swarm.helpers import TAU, Swarm, admitted, entry_of, key, steady

ALICE, BOB, CAROL = key(1), key(2), key(3)
LEASE_S = DEMO.lease_s


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
    now_s: float = 0.0,
    alive: frozenset[bytes] | None = None,
    running: frozenset[tuple[bytes, int]] = frozenset(),
    unusable: frozenset[bytes] = frozenset(),
    leases: Leases | None = None,
    quiet: bool = False,
) -> VerificationTask | None:
    return next_verification(
        ledger,
        member.public,
        alive=everybody(count) if alive is None else alive,
        leases=Leases() if leases is None else leases,
        now_s=now_s,
        running=running,
        unusable=unusable,
        quiet=quiet,
    )


def founded(members: int = 3, policy: Policy = DEMO) -> tuple[Swarm, Ledger]:
    swarm = Swarm(policy=policy)
    return swarm, swarm.ledger(*swarm.members(members))


def test_a_pair_that_ended_before_an_earlier_one_is_not_run_again() -> None:
    swarm, ledger = founded()
    hypothesis = claimed(swarm, ledger, "a", 50 * TAU)
    admitted(ledger, swarm.trial(hypothesis, BOB, 1, 5 * TAU))
    running = frozenset({(hypothesis.id, 0)})
    assert task_for(ledger, BOB, running=running) == VerificationTask(hypothesis.id, 2)
    # After a crash the earlier one is run again, and the later one still is not.
    assert task_for(ledger, BOB) == VerificationTask(hypothesis.id, 0)
    assert is_wanted(ledger, BOB.public, VerificationTask(hypothesis.id, 0))
    assert not is_wanted(ledger, BOB.public, VerificationTask(hypothesis.id, 1))


def test_both_verifiers_work_at_once_each_on_its_next_pair() -> None:
    swarm, ledger = founded()
    hypothesis = claimed(swarm, ledger, "a", 50 * TAU)
    for member in (BOB, CAROL):
        assert task_for(ledger, member) == VerificationTask(hypothesis.id, 0)
    admitted(ledger, swarm.trial(hypothesis, BOB, 0, 5 * TAU))
    assert task_for(ledger, BOB) == VerificationTask(hypothesis.id, 1)
    assert task_for(ledger, CAROL) == VerificationTask(hypothesis.id, 0)
    running = frozenset({(hypothesis.id, 1)})
    assert task_for(ledger, BOB, running=running) == VerificationTask(hypothesis.id, 2)


def test_nobody_verifies_its_own_or_without_being_a_member() -> None:
    swarm, ledger = founded()
    claimed(swarm, ledger, "a", 50 * TAU)
    assert task_for(ledger, ALICE) is None
    assert task_for(ledger, key(7)) is None


def test_only_promising_hypotheses_are_verified_the_largest_first() -> None:
    swarm, ledger = founded()
    claimed(swarm, ledger, "too small", TAU - 1)
    small = claimed(swarm, ledger, "small", 10 * TAU)
    assert task_for(ledger, BOB) == VerificationTask(small.id, 0)
    large = claimed(swarm, ledger, "large", 90 * TAU)
    assert task_for(ledger, BOB) == VerificationTask(large.id, 0)
    unusable = frozenset({large.id})
    assert task_for(ledger, BOB, unusable=unusable) == VerificationTask(small.id, 0)


def test_one_hypothesis_of_a_head_is_verified_at_a_time_unless_nothing_moves() -> None:
    swarm, ledger = founded()
    first = claimed(swarm, ledger, "first", 90 * TAU)
    second = claimed(swarm, ledger, "second", 20 * TAU, by=BOB)
    # Alice has no part in the first one, and researches meanwhile.
    assert task_for(ledger, ALICE) is None
    assert task_for(ledger, ALICE, quiet=True) == VerificationTask(second.id, 0)
    leases = Leases()
    assert task_for(ledger, ALICE, leases=leases) is None
    admitted(ledger, swarm.trial(first, CAROL, 0, 90 * TAU))
    assert task_for(ledger, ALICE, leases=leases, now_s=LEASE_S + 1.0) is None
    task = task_for(ledger, ALICE, leases=leases, now_s=2 * LEASE_S + 2.0)
    assert task == VerificationTask(second.id, 0)


def test_what_has_used_up_its_pairs_holds_nothing_up() -> None:
    swarm, ledger = founded()
    first = claimed(swarm, ledger, "first", 90 * TAU)
    second = claimed(swarm, ledger, "second", 20 * TAU)
    noisy = [TAU, 9 * TAU, -2 * TAU, 8 * TAU] * 3
    for trial in swarm.trials(first, [BOB, CAROL], noisy[: ledger.policy.cap_pairs]):
        assert task_for(ledger, BOB) != VerificationTask(second.id, 0)
        admitted(ledger, trial)
    verdict = ledger.hypothesis(first.id).verdict
    assert verdict.status == "undecided"
    assert verdict.reason == "the pairs that may count are used up"
    assert task_for(ledger, BOB) == VerificationTask(second.id, 0)


def test_a_large_swarm_verifies_several_at_a_time() -> None:
    swarm, ledger = founded(12)
    claimed(swarm, ledger, "first", 90 * TAU)
    second = claimed(swarm, ledger, "second", 20 * TAU, by=BOB)
    task = task_for(ledger, ALICE, count=12, alive=everybody(3))
    assert task is None
    chosen = [task_for(ledger, key(n), count=12) for n in range(13)]
    assert VerificationTask(second.id, 0) in chosen


def test_a_small_gain_waits_until_its_head_is_researched() -> None:
    swarm, ledger = founded()
    small = claimed(swarm, ledger, "small", 5 * TAU)
    task = VerificationTask(small.id, 0)
    assert task_for(ledger, BOB) is None
    assert task_for(ledger, BOB, quiet=True) == task
    for number in range(9):
        assert task_for(ledger, BOB) is None
        claimed(swarm, ledger, f"none {number}", 0)
    assert task_for(ledger, BOB) == task
    # Beside another one there is some time to put both together.
    claimed(swarm, ledger, "as small", 5 * TAU)
    assert task_for(ledger, BOB) is None
    for number in range(4):
        claimed(swarm, ledger, f"none more {number}", 0)
    assert task_for(ledger, BOB) == task


def test_the_last_pairs_are_run_by_as_many_as_it_takes() -> None:
    swarm, ledger = founded()
    hypothesis = claimed(swarm, ledger, "a", 40 * TAU)
    for trial in swarm.trials(hypothesis, [BOB, CAROL], steady(40 * TAU, 4)):
        admitted(ledger, trial)
    verdict = ledger.hypothesis(hypothesis.id).verdict
    assert pairs_missing(verdict, ledger.policy, at_most=3) == 1
    asked = [member for member in (BOB, CAROL) if task_for(ledger, member, count=0) is not None]
    assert len(asked) <= 1
    noisy = claimed(swarm, ledger, "b", 40 * TAU)
    for trial in swarm.trials(noisy, [BOB, CAROL], [TAU, 5 * TAU, -TAU, 6 * TAU]):
        admitted(ledger, trial)
    verdict = ledger.hypothesis(noisy.id).verdict
    assert pairs_missing(verdict, ledger.policy, at_most=3) == 3
    assert pairs_missing(verdict, replace(ledger.policy, liars=1), at_most=5) == 5


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
    hypothesis = claimed(swarm, ledger, "a", 50 * TAU)
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
    # One pair by another is enough, so one of the other two is asked for it.
    asked = [member for member in (key(0), CAROL) if task_for(ledger, member) is not None]
    assert len(asked) == 1
    other = key(0) if asked == [CAROL] else CAROL
    task = VerificationTask(hypothesis.id, 0)
    assert task_for(ledger, other, quiet=True) == task
    leases = Leases()
    for now_s, expected in ((0.0, None), (LEASE_S, None), (LEASE_S + 1.0, task)):
        assert task_for(ledger, other, leases=leases, now_s=now_s) == expected


def test_a_pair_that_is_there_is_not_wanted_again() -> None:
    swarm, ledger = founded()
    hypothesis = claimed(swarm, ledger, "a", 50 * TAU)
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
    hypothesis = claimed(swarm, ledger, "a", 50 * TAU)
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
    hypothesis = claimed(swarm, ledger, "a", 50 * TAU)
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
    hypothesis = claimed(swarm, ledger, "a", 50 * TAU)
    order = rendezvous_order(hypothesis, 6)
    leases = Leases()

    def asked(now_s: float) -> bool:
        return task_for(ledger, order[2], count=6, leases=leases, now_s=now_s) is not None

    assert not asked(1_000.0), "leases begin when the hypothesis is noticed"
    assert not asked(1_000.0 + LEASE_S)
    assert asked(1_000.5 + LEASE_S)
    for member in order[:2]:
        admitted(ledger, swarm.trial(hypothesis, member, 0, 2 * TAU))
    assert not asked(1_001.0 + LEASE_S)
    assert not asked(1_001.0 + 2 * LEASE_S)
    assert asked(1_001.5 + 2 * LEASE_S)


@pytest.mark.parametrize("claimed_ms", [0, limits.TIME_MS_MAX])
def test_no_date_excuses_a_silent_verifier_or_hurries_one(claimed_ms: int) -> None:
    policy = replace(DEMO, max_verifiers=2)
    swarm, ledger = founded(6, policy)
    swarm.clock_ms = claimed_ms - 10 if claimed_ms else 0
    hypothesis = claimed(swarm, ledger, "a", 50 * TAU)
    order = rendezvous_order(hypothesis, 6)
    for member in order[:2]:
        admitted(ledger, swarm.trial(hypothesis, member, 0, 2 * TAU))
    leases = Leases()
    for now_s, expected in ((0.0, False), (LEASE_S, False), (LEASE_S + 1.0, True)):
        task = task_for(ledger, order[2], count=6, leases=leases, now_s=now_s)
        assert (task is not None) == expected, now_s


def test_who_takes_over_for_those_who_left_decides_the_hypothesis() -> None:
    swarm, ledger = founded(6)
    hypothesis = claimed(swarm, ledger, "a", 50 * TAU)
    order = rendezvous_order(hypothesis, 6)
    noisy = [2 * TAU, -TAU, 4 * TAU]
    for member, gain_micro in zip(order[:3], noisy, strict=True):
        admitted(ledger, swarm.trial(hypothesis, member, 0, gain_micro))
    here = frozenset(member.public for member in order[3:])
    pairs = 0
    while ledger.hypothesis(hypothesis.id).status == "undecided":
        before = pairs
        for member in order[3:]:
            task = task_for(ledger, member, count=6, alive=here)
            if task is not None:
                admitted(ledger, swarm.trial(hypothesis, member, task.pair, 5 * TAU))
                pairs += 1
        assert pairs > before, "it waits for somebody who has left"
    assert ledger.hypothesis(hypothesis.id).status == "verified"
    assert ledger.hypothesis(hypothesis.id).verdict.decided_at == 3 + pairs


def test_pairs_in_a_hurry_keep_nobody_out() -> None:
    policy = replace(DEMO, liars=1, max_verifiers=5, cap_pairs=20)
    swarm, ledger = founded(6, policy)
    hypothesis = claimed(swarm, ledger, "a", 50 * TAU)
    order = rendezvous_order(hypothesis, 6)
    for pair in range(20):
        admitted(ledger, swarm.trial(hypothesis, order[0], pair, 0))
    assert ledger.hypothesis(hypothesis.id).verdict.decided_at == 20
    for member in order[1:5]:
        assert task_for(ledger, member, count=6) == VerificationTask(hypothesis.id, 0)


def test_parked_hypotheses_are_resumed_when_there_is_nothing_else_to_do() -> None:
    swarm, ledger = founded()
    parked = claimed(swarm, ledger, "parked", 50 * TAU)
    for trial in swarm.trials(parked, [BOB, CAROL], [-2 * TAU, TAU, -TAU, 3 * TAU]):
        admitted(ledger, trial)
    assert ledger.hypothesis(parked.id).status == "parked"
    assert task_for(ledger, BOB) is None
    resumed = VerificationTask(parked.id, 2, resumed=True)
    assert task_for(ledger, BOB, quiet=True) == resumed
    assert is_wanted(ledger, BOB.public, resumed)
    other = claimed(swarm, ledger, "other", TAU)
    assert task_for(ledger, BOB, quiet=True) == VerificationTask(other.id, 0)
    for record in swarm.merged("a", ALICE, [BOB, CAROL], steady(9 * TAU, 6)):
        admitted(ledger, record)
    assert task_for(ledger, BOB, quiet=True) is None, "the head has moved"
    assert not is_wanted(ledger, BOB.public, resumed)


def test_what_can_no_longer_gain_enough_stays_parked() -> None:
    swarm, ledger = founded()
    parked = claimed(swarm, ledger, "parked", 5 * TAU)
    for trial in swarm.trials(parked, [BOB, CAROL], steady(-2 * TAU, 6, TAU // 50)[:4]):
        admitted(ledger, trial)
    view = ledger.hypothesis(parked.id)
    assert view.status == "parked"
    assert view.verdict.high_micro is not None
    assert view.verdict.high_micro < TAU
    assert view.verdict.rules_out(view.verdict.high_micro)
    assert not view.verdict.rules_out(view.verdict.high_micro - 1)
    assert task_for(ledger, BOB, quiet=True) is None


def test_the_voided_are_not_asked() -> None:
    swarm, ledger = founded()
    hypothesis = claimed(swarm, ledger, "a", 50 * TAU)
    for gain in (TAU, 2 * TAU):
        admitted(ledger, swarm.trial(hypothesis, BOB, 0, gain))
    view = ledger.hypothesis(hypothesis.id)
    leases = Leases()
    leases.notice([hypothesis.id], 0.0)
    chosen = choose_verifiers(
        ledger, view, me=CAROL.public, alive=everybody(3), leases=leases, now_s=0.0
    )
    assert BOB.public not in chosen
    assert task_for(ledger, BOB) is None


def test_verification_work_counts_what_counted() -> None:
    swarm, ledger = founded()
    hypothesis = claimed(swarm, ledger, "a", 50 * TAU)
    for trial in swarm.trials(hypothesis, [BOB, CAROL], [2 * TAU, 3 * TAU, 5 * TAU]):
        admitted(ledger, trial)
    assert verifiers_of(ledger.hypotheses()) == {BOB.public: 2, CAROL.public: 1}
