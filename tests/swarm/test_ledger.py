"""The ledger: what each kind of record changes."""

from dataclasses import asdict, replace

import pytest

from protocol.ids import records_digest, rendezvous
from protocol.policy import DEMO
from protocol.records import Arm, Metric, Record
from swarm.events import AuthorVoided, Event, HeadChanged, MemberAdded, VerdictChanged
from tests.swarm.helpers import (
    FOUNDER,
    PARENT_MICRO,
    TAU,
    Swarm,
    admitted,
    arm,
    entry_of,
    key,
    steady,
)

ALICE, BOB, CAROL, DAVE = key(1), key(2), key(3), key(4)


def test_an_empty_swarm_stands_at_its_genesis() -> None:
    swarm = Swarm()
    ledger = swarm.ledger()
    assert ledger.head.id == swarm.root
    assert ledger.head.depth == 0
    assert ledger.head.metric_micro is None
    assert ledger.members == {FOUNDER.public}
    assert ledger.digest == records_digest([swarm.id])
    assert len(ledger) == 1


def test_the_journey_of_one_hypothesis() -> None:
    swarm = Swarm()
    ledger = swarm.ledger(*swarm.members(3))
    hypothesis = swarm.hypothesis("muon", ALICE)
    admitted(ledger, hypothesis)
    assert ledger.hypothesis(hypothesis.id).status == "proposed"
    admitted(ledger, swarm.trial(hypothesis, ALICE, 0, 9 * TAU, purpose="screen"))
    view = ledger.hypothesis(hypothesis.id)
    assert (view.status, view.screened_gain_micro) == ("claimed", 9 * TAU)
    trials = swarm.trials(hypothesis, [BOB, CAROL], steady(9 * TAU, 6))
    events: list[Event] = []
    for trial in trials:
        events += admitted(ledger, trial).events
        if ledger.hypothesis(hypothesis.id).status == "verified":
            break
    assert VerdictChanged(hypothesis.id, "undecided", "verified") in events
    assert [item.id for item in ledger.pending_merges()] == [hypothesis.id]
    assert ledger.head.id == swarm.root
    outcome = admitted(ledger, swarm.merge(hypothesis, ALICE, trials[:2]))
    assert HeadChanged(swarm.root, entry_of(hypothesis), rolled_back=False) in outcome.events
    head = ledger.head
    assert (head.id, head.hypothesis, head.depth) == (entry_of(hypothesis), hypothesis.id, 1)
    assert head.author == ALICE.public
    assert set(head.verifiers) == {BOB.public, CAROL.public}
    assert head.weight > 0
    assert ledger.root.metric_micro == PARENT_MICRO
    assert head.metric_micro is not None
    assert head.metric_micro < PARENT_MICRO
    assert ledger.hypothesis(hypothesis.id).status == "merged"
    assert ledger.pending_merges() == []


def test_screening_decides_who_is_worth_verifying() -> None:
    swarm = Swarm()
    ledger = swarm.ledger(*swarm.members(3))
    weak, crashed = swarm.hypothesis("weak", ALICE), swarm.hypothesis("crashed", BOB)
    for record in (weak, crashed):
        admitted(ledger, record)
    admitted(ledger, swarm.trial(weak, ALICE, 0, TAU // 2, purpose="screen"))
    failed = arm(None, "diverged")
    admitted(ledger, swarm.trial(crashed, BOB, 0, 0, purpose="screen", child=failed))
    assert ledger.hypothesis(weak.id).status == "screened_out"
    assert ledger.hypothesis(crashed.id).status == "crashed"


def test_the_authors_trials_and_strangers_trials_never_count() -> None:
    swarm = Swarm()
    ledger = swarm.ledger(*swarm.members(2))
    hypothesis = swarm.hypothesis("a", ALICE)
    admitted(ledger, hypothesis)
    for signer in (ALICE, DAVE):
        for pair in range(6):
            admitted(ledger, swarm.trial(hypothesis, signer, pair, 9 * TAU))
    for pair in range(6):
        admitted(ledger, swarm.trial(hypothesis, BOB, pair, 9 * TAU, purpose="recheck"))
    assert ledger.hypothesis(hypothesis.id).verdict.decided_at == 0
    outcome = admitted(ledger, swarm.admit(DAVE))
    assert MemberAdded(DAVE.public) in outcome.events
    assert ledger.hypothesis(hypothesis.id).verdict.verifiers == (DAVE.public,)


def test_who_has_signed_a_trial_is_known_whatever_it_was_for() -> None:
    swarm = Swarm()
    hypothesis = swarm.hypothesis("a", ALICE)
    ledger = swarm.ledger(*swarm.members(4), hypothesis, swarm.merge(hypothesis, DAVE, []))
    admitted(ledger, swarm.trial(hypothesis, ALICE, 0, TAU, purpose="screen"))
    admitted(ledger, swarm.trial(hypothesis, BOB, 0, TAU))
    signed = [ledger.has_trials_by(each.public) for each in (ALICE, BOB, CAROL, DAVE)]
    assert signed == [True, True, False, False]


def test_a_gap_ends_what_counts() -> None:
    swarm = Swarm()
    hypothesis = swarm.hypothesis("a", ALICE)
    ledger = swarm.ledger(*swarm.members(2), hypothesis)
    for pair in (0, 2, 3):
        admitted(ledger, swarm.trial(hypothesis, BOB, pair, TAU))
    assert ledger.hypothesis(hypothesis.id).verdict.pairs == 1
    assert ledger.next_pair(hypothesis.id, BOB.public) == 1
    admitted(ledger, swarm.trial(hypothesis, BOB, 1, TAU))
    assert ledger.hypothesis(hypothesis.id).verdict.pairs == 4
    assert ledger.next_pair(hypothesis.id, BOB.public) == 4


def test_membership_expires_at_a_depth_of_the_lineage() -> None:
    swarm = Swarm()
    first = swarm.merged("a", ALICE, [BOB, CAROL], steady(9 * TAU, 6))
    second = swarm.hypothesis("b", ALICE, parents=(entry_of(first[0]),))
    admissions = [swarm.admit(ALICE), swarm.admit(CAROL), swarm.admit(BOB, expires_depth=1)]
    ledger = swarm.ledger(*admissions, *first, second)
    assert ledger.head.depth == 1
    assert not ledger.is_member(BOB.public)
    for signer in (BOB, CAROL):
        admitted(ledger, swarm.trial(second, signer, 0, TAU))
    assert ledger.hypothesis(second.id).verdict.verifiers == (CAROL.public,)
    admitted(ledger, swarm.admit(BOB))
    assert set(ledger.hypothesis(second.id).verdict.verifiers) == {BOB.public, CAROL.public}


def test_contradicting_oneself_voids_all_evidence_and_rolls_back() -> None:
    swarm = Swarm()
    merged = swarm.merged("a", ALICE, [BOB, CAROL], steady(9 * TAU, 6))
    ledger = swarm.ledger(*swarm.members(3), *merged)
    assert ledger.head.depth == 1
    elsewhere = swarm.hypothesis("b", ALICE)
    admitted(ledger, elsewhere)
    one, other = (swarm.trial(elsewhere, BOB, 0, gain) for gain in (TAU, 2 * TAU))
    admitted(ledger, one)
    outcome = admitted(ledger, other)
    assert AuthorVoided(BOB.public) in outcome.events
    assert HeadChanged(entry_of(merged[0]), swarm.root, rolled_back=True) in outcome.events
    assert one.id in ledger
    assert other.id in ledger
    assert ledger.is_voided(BOB.public)
    assert not ledger.is_member(BOB.public)
    assert ledger.is_admitted(BOB.public)
    assert ledger.hypothesis(merged[0].id).verdict.verifiers == (CAROL.public,)


def test_a_merge_by_a_stranger_or_without_a_verdict_changes_nothing() -> None:
    swarm = Swarm()
    records = swarm.merged("a", DAVE, [BOB, CAROL], steady(9 * TAU, 6))
    ledger = swarm.ledger(*swarm.members(3), *records)
    assert ledger.head.id == swarm.root, "only members merge"
    assert [view.id for view in ledger.pending_merges()] == [records[0].id]
    admitted(ledger, swarm.merge(records[0], CAROL, []))
    assert ledger.head.id == entry_of(records[0])
    weak = swarm.merged("b", ALICE, [BOB, CAROL], steady(0, 6), parents=(ledger.head.id,))
    for record in weak:
        admitted(ledger, record)
    assert ledger.head.id == entry_of(records[0])


def test_one_entry_for_two_authors_of_the_same_change() -> None:
    swarm = Swarm()
    by_alice = swarm.merged("same", ALICE, [BOB, CAROL], steady(9 * TAU, 6))
    by_bob = swarm.merged("same", BOB, [ALICE, CAROL], steady(8 * TAU, 6))
    assert entry_of(by_alice[0]) == entry_of(by_bob[0])
    ledger = swarm.ledger(*swarm.members(3), *by_alice, *by_bob)
    first = min((by_alice, by_bob), key=lambda records: records[-1].id)
    assert len(ledger.entries) == 2
    assert ledger.head.hypothesis == first[0].id
    assert {view.status for view in ledger.hypotheses()} == {"merged"}


def test_entries_hang_together_or_not_at_all() -> None:
    swarm = Swarm()
    first = swarm.merged("a", ALICE, [BOB, CAROL], steady(9 * TAU, 6))
    second = swarm.merged(
        "b", BOB, [ALICE, CAROL], steady(9 * TAU, 6), parents=(entry_of(first[0]),)
    )
    ledger = swarm.ledger(*swarm.members(3), *second, *first[:-1])
    assert ledger.head.id == swarm.root
    admitted(ledger, first[-1])
    assert [entry.depth for entry in ledger.lineage()] == [0, 1, 2]


def test_a_sibling_of_the_head_is_stale_until_it_is_decided() -> None:
    swarm = Swarm()
    rival = swarm.hypothesis("rival", BOB)
    ledger = swarm.ledger(*swarm.members(3), rival)
    admitted(ledger, swarm.trial(rival, BOB, 0, 5 * TAU, purpose="screen"))
    for record in swarm.merged("a", ALICE, [BOB, CAROL], steady(9 * TAU, 6)):
        admitted(ledger, record)
    assert ledger.hypothesis(rival.id).status == "stale"


def test_slicing_one_gain_into_many_entries_earns_nothing() -> None:
    swarm = Swarm()
    whole = swarm.merged("whole", ALICE, [BOB, CAROL], steady(20 * TAU, 6))
    parents = (swarm.root,)
    slices: list[Record] = []
    for number in range(10):
        records = swarm.merged(
            f"slice {number}", CAROL, [ALICE, BOB], steady(2 * TAU, 12), parents=parents
        )
        parents = (entry_of(records[0]),)
        slices += records
    ledger = swarm.ledger(*swarm.members(3), *slices, *whole)
    assert len(ledger.entries) == 12
    assert ledger.head.id == entry_of(whole[0])
    sliced = sum(entry.weight for entry in ledger.entries.values()) - ledger.head.weight
    assert sliced < ledger.head.weight


def test_a_metric_to_maximise() -> None:
    swarm = Swarm(metric=Metric(name="rate", unit="per visit", direction="max"))
    records = swarm.merged("a", ALICE, [BOB, CAROL], steady(9 * TAU, 6))
    ledger = swarm.ledger(*swarm.members(3), *records)
    assert ledger.head.metric_micro is not None
    assert ledger.head.metric_micro > PARENT_MICRO


@pytest.mark.parametrize(
    ("cost", "much"),
    [
        ("train_cpu_ms", 3 * 5_500),
        ("score_cpu_ms", 3 * 5_500),
        ("wall_ms", 3 * 6_000),
        ("peak_memory_kib", 3 * 300_000),
        ("tokens", 3 * 300_000),
    ],
)
def test_every_cost_is_judged_against_the_genesis_script(cost: str, much: int) -> None:
    def with_cost(usual: Arm) -> Arm:
        return Arm(**{**asdict(usual), cost: much})

    swarm = Swarm()
    hypothesis = swarm.hypothesis("slow", ALICE)
    slow = with_cost(arm(PARENT_MICRO - 9 * TAU))
    slow_parent = with_cost(arm(PARENT_MICRO))
    reasons = []
    for measured in (True, False):
        ledger = swarm.ledger(*swarm.members(3), hypothesis)
        for signer in (BOB, CAROL):
            trial = swarm.trial(
                hypothesis, signer, 0, 0, child=slow, parent=slow_parent, measured=measured
            )
            admitted(ledger, trial)
        reasons.append(ledger.hypothesis(hypothesis.id).verdict.reason)
    assert reasons == ["it costs more than the policy allows", "more pairs are needed"]


def test_the_first_verifiers_in_rendezvous_order_count_before_all_others() -> None:
    swarm = Swarm(policy=replace(DEMO, max_verifiers=2, cap_pairs=3, park_pairs=3))
    hypothesis = swarm.hypothesis("a", ALICE)
    ledger = swarm.ledger(*swarm.members(7), hypothesis)
    for number in range(2, 8):
        for pair in range(2):
            admitted(ledger, swarm.trial(hypothesis, key(number), pair, TAU))
    verdict = ledger.hypothesis(hypothesis.id).verdict
    in_order = sorted(
        (key(number).public for number in range(2, 8)),
        key=lambda member: rendezvous(hypothesis.id, member),
    )
    assert verdict.verifiers == tuple(in_order[:2])
    assert verdict.decided_at == 3
