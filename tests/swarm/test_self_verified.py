"""A lone node's own verification: where it leads, what it weighs, and how others confirm it."""

from dataclasses import replace

import pytest

from protocol.keys import SigningKey
from protocol.policy import DEMO, SOLO, Policy
from protocol.records import Absence, Record
from swarm.admission import Held, Rejected
from swarm.ledger import Ledger
from swarm.rollback import fallen
from swarm.verification import Leases, VerificationTask, is_wanted, next_verification
from tests.swarm.helpers import FOUNDER, TAU, Swarm, admitted, entry_of, key, steady

ALICE, BOB, CAROL = key(1), key(2), key(3)
NOBODY: frozenset[bytes] = frozenset()


def task_for(
    ledger: Ledger, member: SigningKey, alive: frozenset[bytes] = NOBODY
) -> VerificationTask | None:
    return next_verification(ledger, member.public, alive=alive, leases=Leases(), now_s=0.0)


def idea(
    swarm: Swarm, ledger: Ledger, name: str, author: SigningKey, parent: bytes | None = None
) -> Record:
    parents = (ledger.head.id if parent is None else parent,)
    hypothesis = swarm.hypothesis(name, author, parents=parents)
    admitted(ledger, hypothesis)
    admitted(ledger, swarm.trial(hypothesis, author, 0, 80 * TAU, purpose="screen"))
    return hypothesis


def verify_alone(swarm: Swarm, ledger: Ledger, hypothesis: Record, author: SigningKey) -> None:
    """What a lone node does with an idea of its own: run the pairs that it is given, and merge."""
    pairs = 0
    while task := task_for(ledger, author):
        assert task == VerificationTask(hypothesis.id, pairs)
        assert is_wanted(ledger, author.public, task)
        gain_micro = 8 * TAU + TAU // 10 * (-1) ** pairs
        admitted(ledger, swarm.trial(hypothesis, author, task.pair, gain_micro))
        pairs += 1
    assert 4 <= pairs <= 7
    for view in ledger.pending_merges():
        admitted(ledger, swarm.merge(hypothesis, author, []))
        assert view.id == hypothesis.id


def alone(count: int) -> tuple[Swarm, Ledger, list[Record]]:
    """A founder that found some things by itself, each on top of the one before."""
    swarm = Swarm(policy=SOLO)
    ledger = swarm.ledger()
    made = []
    for number in range(count):
        hypothesis = idea(swarm, ledger, f"alone {number}", FOUNDER)
        verify_alone(swarm, ledger, hypothesis, FOUNDER)
        made.append(hypothesis)
    return swarm, ledger, made


def test_a_lone_node_goes_on_from_what_it_verified_itself() -> None:
    _, ledger, made = alone(3)
    assert [entry.hypothesis for entry in ledger.lineage()[1:]] == [one.id for one in made]
    for entry in ledger.lineage()[1:]:
        assert entry.self_verified
        assert not entry.confirmed
        assert entry.verifiers == (FOUNDER.public,)
        assert entry.gain_micro is not None
    view = ledger.hypothesis(made[0].id)
    assert view.self_verified
    assert view.verdict.status == "undecided"
    assert view.verdict.trials == ()


@pytest.mark.parametrize("policy", [DEMO, replace(SOLO, self_verified=False)])
def test_where_the_policy_does_not_allow_it_nothing_happens(policy: Policy) -> None:
    swarm = Swarm(policy=policy)
    ledger = swarm.ledger()
    hypothesis = idea(swarm, ledger, "a", FOUNDER)
    assert task_for(ledger, FOUNDER) is None
    for pair in range(8):
        admitted(ledger, swarm.trial(hypothesis, FOUNDER, pair, 8 * TAU))
    admitted(ledger, swarm.merge(hypothesis, FOUNDER, []))
    assert ledger.pending_merges() == []
    assert ledger.head == ledger.root


def test_with_others_there_an_author_leaves_it_to_them() -> None:
    swarm = Swarm(policy=SOLO)
    ledger = swarm.ledger(*swarm.members(2))
    hypothesis = idea(swarm, ledger, "a", FOUNDER)
    assert task_for(ledger, FOUNDER, frozenset({BOB.public})) is None
    assert task_for(ledger, BOB, frozenset({FOUNDER.public})) == VerificationTask(hypothesis.id, 0)
    strangers = frozenset({key(7).public})
    assert task_for(ledger, FOUNDER, strangers) == VerificationTask(hypothesis.id, 0)


def test_others_confirm_from_the_root_on_and_only_their_trials_do() -> None:
    swarm, ledger, made = alone(3)
    admitted(ledger, swarm.admit(BOB))
    # A new idea, however promising, waits until what it is built on is confirmed.
    head = ledger.head.id
    idea(swarm, ledger, "later", FOUNDER)
    for place, hypothesis in enumerate(made):
        while (task := task_for(ledger, BOB)) and task.hypothesis == hypothesis.id:
            gain_micro = 8 * TAU + TAU // 10 * (-1) ** task.pair
            admitted(ledger, swarm.trial(hypothesis, BOB, task.pair, gain_micro))
        entry = ledger.entries[entry_of(hypothesis)]
        assert entry.confirmed
        assert not entry.self_verified
        assert entry.verifiers == (BOB.public,)
        assert not any(one.confirmed for one in ledger.lineage()[place + 2 :])
    assert ledger.head.id == head


def test_others_pairs_that_show_no_gain_take_it_off_the_lineage() -> None:
    swarm, ledger, made = alone(2)
    admitted(ledger, swarm.admit(BOB))
    admitted(ledger, swarm.trial(made[0], BOB, 0, -TAU))
    assert ledger.head == ledger.root
    reasons = {cause.item.id: cause.reason for cause in fallen(ledger)}
    assert "only its author verified it" in reasons[made[0].id]
    # What hung on it is only gone as long as it is.
    for pair in range(1, 9):
        admitted(ledger, swarm.trial(made[0], BOB, pair, 8 * TAU))
    assert ledger.entries[entry_of(made[0])].confirmed
    assert ledger.head.id == entry_of(made[1])


def test_a_self_verified_entry_never_outweighs_a_verified_one() -> None:
    swarm = Swarm(policy=SOLO)
    ledger = swarm.ledger(*swarm.members(3))
    small = idea(swarm, ledger, "small", ALICE)
    for trial in swarm.trials(small, [BOB, CAROL], steady(TAU + TAU // 2, 8, TAU // 50)):
        admitted(ledger, trial)
    admitted(ledger, swarm.merge(small, ALICE, []))
    assert ledger.head.id == entry_of(small)
    parent = ledger.root.id
    for number in range(6):
        forged = idea(swarm, ledger, f"forged {number}", FOUNDER, parent)
        for pair in range(6):
            admitted(ledger, swarm.trial(forged, FOUNDER, pair, 500 * TAU))
        admitted(ledger, swarm.merge(forged, FOUNDER, []))
        parent = entry_of(forged)
    assert ledger.entries[parent].weight > 100 * ledger.entries[entry_of(small)].weight
    assert ledger.head.id == entry_of(small)


def test_what_is_verified_on_top_of_it_does_not_lift_it() -> None:
    """A change that spoils, and one that repairs it, are no gain together."""
    swarm = Swarm(policy=SOLO)
    ledger = swarm.ledger(*swarm.members(3))
    small = idea(swarm, ledger, "small", ALICE)
    for trial in swarm.trials(small, [BOB, CAROL], steady(2 * TAU, 8)):
        admitted(ledger, trial)
    admitted(ledger, swarm.merge(small, ALICE, []))
    spoiled = idea(swarm, ledger, "spoiled", FOUNDER, ledger.root.id)
    for pair in range(6):
        admitted(ledger, swarm.trial(spoiled, FOUNDER, pair, 500 * TAU))
    admitted(ledger, swarm.merge(spoiled, FOUNDER, []))
    repaired = idea(swarm, ledger, "repaired", FOUNDER, entry_of(spoiled))
    for trial in swarm.trials(repaired, [BOB, CAROL], steady(500 * TAU, 8)):
        admitted(ledger, trial)
    admitted(ledger, swarm.merge(repaired, FOUNDER, []))
    entry = ledger.entries[entry_of(repaired)]
    assert not entry.self_verified
    assert not entry.confirmed
    assert ledger.head.id == entry_of(small)


def test_what_was_never_screened_is_looked_at_like_the_rest() -> None:
    swarm = Swarm(policy=SOLO)
    ledger = swarm.ledger(*swarm.members(2))
    hypothesis = swarm.hypothesis("unscreened", ALICE)
    admitted(ledger, hypothesis)
    for pair in range(6):
        admitted(ledger, swarm.trial(hypothesis, ALICE, pair, 500 * TAU))
    admitted(ledger, swarm.merge(hypothesis, ALICE, []))
    assert ledger.head.id == entry_of(hypothesis)
    assert task_for(ledger, BOB, frozenset({ALICE.public})) == VerificationTask(hypothesis.id, 0)


def absence(swarm: Swarm, hypothesis: Record, member: SigningKey) -> Record:
    return swarm.record(Absence(hypothesis.id), member)


def test_what_nobody_else_can_get_is_taken_off_with_what_is_built_on_it() -> None:
    swarm, ledger, made = alone(3)
    admitted(ledger, swarm.admit(BOB))
    admitted(ledger, absence(swarm, made[1], BOB))
    assert ledger.head.id == entry_of(made[0])
    reasons = {cause.item.id: cause.reason for cause in fallen(ledger)}
    assert f"{BOB.public.hex()[:8]} could not get its script" in reasons[made[1].id]
    assert ledger.hypothesis(made[1].id).absent_for == {BOB.public}
    # It is still the first of what hangs there that others are asked to test, should it come.
    admitted(ledger, swarm.trial(made[0], BOB, 0, 8 * TAU))
    assert {item.id for item in ledger.absent()} == {made[1].id}


def test_a_pair_by_somebody_who_has_the_script_answers_any_number_of_liars() -> None:
    swarm, ledger, made = alone(2)
    for number in range(1, 6):
        admitted(ledger, swarm.admit(key(number)))
        admitted(ledger, absence(swarm, made[0], key(number)))
    assert ledger.head == ledger.root
    seen = task_for(ledger, BOB, frozenset({CAROL.public, FOUNDER.public}))
    assert seen == VerificationTask(made[0].id, 0)
    admitted(ledger, swarm.trial(made[0], BOB, 0, 8 * TAU))
    assert ledger.head.id == entry_of(made[1])
    assert not ledger.absent()


def test_where_some_may_lie_a_liars_pair_does_not_vouch_for_a_script() -> None:
    policy = replace(SOLO, liars=1, max_verifiers=5, cap_pairs=20)
    swarm = Swarm(policy=policy)
    ledger = swarm.ledger(*swarm.members(4))
    hypothesis = idea(swarm, ledger, "hidden", ALICE)
    for pair in range(6):
        admitted(ledger, swarm.trial(hypothesis, ALICE, pair, 8 * TAU + pair))
    admitted(ledger, swarm.merge(hypothesis, ALICE, []))
    admitted(ledger, absence(swarm, hypothesis, BOB))
    admitted(ledger, swarm.trial(hypothesis, CAROL, 0, 8 * TAU))
    assert ledger.head == ledger.root
    admitted(ledger, swarm.trial(hypothesis, key(4), 0, 8 * TAU))
    assert ledger.head.id == entry_of(hypothesis)


@pytest.mark.parametrize("who", ["stranger", "voided"])
def test_only_members_that_never_contradicted_themselves_can_doubt_it(who: str) -> None:
    swarm, ledger, made = alone(1)
    if who == "voided":
        admitted(ledger, swarm.admit(BOB))
        other = idea(swarm, ledger, "other", FOUNDER, ledger.root.id)
        for gain_micro in (TAU, 2 * TAU):
            admitted(ledger, swarm.trial(other, BOB, 0, gain_micro))
    admitted(ledger, absence(swarm, made[0], BOB))
    assert ledger.head.id == entry_of(made[0])
    if who == "stranger":
        # Its membership may come later than its word.
        admitted(ledger, swarm.admit(BOB))
        assert ledger.head == ledger.root


def test_it_says_nothing_of_what_others_verified() -> None:
    swarm = Swarm(policy=SOLO)
    ledger = swarm.ledger(*swarm.members(4))
    hypothesis = idea(swarm, ledger, "verified", ALICE)
    for trial in swarm.trials(hypothesis, [BOB, CAROL], steady(8 * TAU, 8, TAU // 10)):
        admitted(ledger, trial)
    admitted(ledger, swarm.merge(hypothesis, ALICE, []))
    before = ledger.hypothesis(hypothesis.id)
    admitted(ledger, absence(swarm, hypothesis, key(4)))
    assert ledger.head.id == entry_of(hypothesis)
    assert ledger.hypothesis(hypothesis.id) == before


def test_the_gate_holds_and_refuses_absences() -> None:
    swarm, ledger, made = alone(1)
    later = swarm.hypothesis("later", ALICE)
    assert ledger.add(absence(swarm, later, BOB)) == Held(later.id)
    assert isinstance(ledger.add(absence(swarm, made[0], FOUNDER)), Rejected)
    assert isinstance(ledger.add(absence(swarm, swarm.genesis, BOB)), Rejected)
