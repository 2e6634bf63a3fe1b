"""The gate: what is admitted, held and rejected, rule by rule."""

from dataclasses import replace

import pytest

from protocol.envelope import open_envelope, seal
from protocol.ids import seed_from_proof
from protocol.policy import DEMO
from protocol.records import Genesis, Record, Trial
from swarm.admission import Held, Known, Rejected
from swarm.waiting import HELD_MAX, HELD_PER_AUTHOR_MAX, Waiting
from tests.swarm.helpers import FOUNDER, Swarm, admitted, digest, entry_of, key

ALICE, BOB, CAROL = key(1), key(2), key(3)


def test_known_and_second_genesis() -> None:
    swarm = Swarm()
    ledger = swarm.ledger()
    assert ledger.add(swarm.genesis) == Known()
    body = swarm.genesis.body
    assert isinstance(body, Genesis)
    other = open_envelope(
        seal(replace(body, nonce=b"\1" * 16), key=FOUNDER, swarm=None, created_ms=1), swarm=None
    )
    assert isinstance(ledger.add(other), Rejected)
    hypothesis = swarm.hypothesis("a", ALICE)
    admitted(ledger, hypothesis)
    assert ledger.add(hypothesis) == Known()


def test_trials_and_merges_wait_for_their_hypothesis() -> None:
    swarm = Swarm()
    ledger = swarm.ledger()
    hypothesis = swarm.hypothesis("a", ALICE)
    trial = swarm.trial(hypothesis, BOB, 0, 1)
    merge = swarm.merge(hypothesis, ALICE, [trial])
    assert ledger.add(merge) == Held(hypothesis.id)
    assert ledger.add(trial) == Held(hypothesis.id)
    assert ledger.missing() == {hypothesis.id}
    outcome = admitted(ledger, hypothesis)
    assert {record.id for record in outcome.records} == {hypothesis.id, trial.id, merge.id}
    order = [record.id for record in outcome.records]
    assert order.index(hypothesis.id) < order.index(trial.id) < order.index(merge.id)
    assert ledger.missing() == frozenset()


def test_a_hypothesis_waits_for_the_entry_that_it_changes() -> None:
    swarm = Swarm()
    ledger = swarm.ledger()
    first = swarm.hypothesis("a", ALICE)
    second = swarm.hypothesis("b", BOB, parents=(entry_of(first),))
    combined = swarm.hypothesis("c", CAROL, parents=(swarm.root, entry_of(second)))
    assert ledger.add(combined) == Held(entry_of(second))
    assert ledger.add(second) == Held(entry_of(first))
    assert len(admitted(ledger, first).records) == 3


def test_a_released_record_that_proves_a_fault_is_dropped() -> None:
    swarm = Swarm()
    ledger = swarm.ledger()
    hypothesis = swarm.hypothesis("a", ALICE)
    screening = swarm.trial(hypothesis, BOB, 0, 1, purpose="screen")
    assert ledger.add(screening) == Held(hypothesis.id)
    assert [record.id for record in admitted(ledger, hypothesis).records] == [hypothesis.id]
    assert isinstance(ledger.add(screening), Rejected)


def changed(swarm: Swarm, trial: Record, signer_number: int, **changes: object) -> Record:
    assert isinstance(trial.body, Trial)
    body = replace(trial.body, **changes)  # type: ignore[arg-type]
    return swarm.record(body, key(signer_number))


def test_seeds_follow_from_the_signers_own_proof() -> None:
    swarm = Swarm()
    hypothesis = swarm.hypothesis("a", ALICE)
    ledger = swarm.ledger(hypothesis)
    good = swarm.trial(hypothesis, BOB, 1, 1)
    stolen = CAROL.prove_seed(hypothesis.id, 1)
    other_pair = BOB.prove_seed(hypothesis.id, 2)
    for proof in (stolen, other_pair, bytes(64)):
        bad = changed(swarm, good, 2, seed_proof=proof, seed=seed_from_proof(proof))
        assert isinstance(ledger.add(bad), Rejected)
    assert isinstance(ledger.add(changed(swarm, good, 2, seed=5)), Rejected)
    admitted(ledger, good)


def test_only_the_author_screens() -> None:
    swarm = Swarm()
    hypothesis = swarm.hypothesis("a", ALICE)
    ledger = swarm.ledger(hypothesis)
    assert isinstance(ledger.add(swarm.trial(hypothesis, BOB, 0, 1, purpose="screen")), Rejected)
    admitted(ledger, swarm.trial(hypothesis, ALICE, 0, 1, purpose="screen"))


def test_references_have_the_right_kind() -> None:
    swarm = Swarm()
    hypothesis, other = swarm.hypothesis("a", ALICE), swarm.hypothesis("b", ALICE)
    elsewhere = swarm.trial(other, BOB, 0, 1)
    admission = swarm.admit(BOB)
    ledger = swarm.ledger(hypothesis, other, elsewhere, admission)
    for cited in (elsewhere, admission, other):
        assert isinstance(ledger.add(swarm.merge(hypothesis, ALICE, [cited])), Rejected)
    assert isinstance(ledger.add(swarm.merge(admission, ALICE, [])), Rejected)
    assert isinstance(ledger.add(swarm.trial(admission, BOB, 0, 1)), Rejected)
    assert isinstance(ledger.add(swarm.admit(CAROL, by=BOB, grant=hypothesis.id)), Rejected)


def test_chains_of_admission() -> None:
    swarm = Swarm(policy=replace(DEMO, admit_depth_max=2))
    ledger = swarm.ledger()
    for_bob = swarm.admit(BOB, can_admit=True)
    for_carol = swarm.admit(CAROL, by=BOB, grant=for_bob.id, can_admit=True)
    too_deep = swarm.admit(key(4), by=CAROL, grant=for_carol.id)
    assert ledger.add(for_carol) == Held(for_bob.id)
    admitted(ledger, for_bob)
    assert ledger.members == {FOUNDER.public, BOB.public, CAROL.public}
    assert isinstance(ledger.add(too_deep), Rejected)
    assert isinstance(ledger.add(swarm.admit(key(4), by=CAROL, grant=for_bob.id)), Rejected)
    assert isinstance(ledger.add(swarm.admit(key(4), by=BOB)), Rejected)
    plain = swarm.admit(key(5))
    admitted(ledger, plain)
    assert isinstance(ledger.add(swarm.admit(key(6), by=key(5), grant=plain.id)), Rejected)
    assert ledger.admit_grant(FOUNDER.public) == swarm.id
    assert ledger.admit_grant(BOB.public) == for_bob.id
    assert ledger.admit_grant(CAROL.public) is None
    assert ledger.admit_grant(key(5).public) is None


def test_waiting_records_are_bounded_for_each_author_and_in_all() -> None:
    swarm = Swarm()
    waiting = Waiting()
    template = swarm.hypothesis("a", ALICE)

    def record(author: int, number: int) -> Record:
        return replace(template, id=digest(f"{author} {number}"), author=key(author).public)

    waiting.hold(record(2, 0), digest("missing"))
    for number in range(HELD_PER_AUTHOR_MAX + 50):
        waiting.hold(record(1, number), digest("missing"))
    assert len(waiting) == HELD_PER_AUTHOR_MAX + 1
    for author in range(3, 3 + HELD_MAX // HELD_PER_AUTHOR_MAX + 1):
        for number in range(HELD_PER_AUTHOR_MAX):
            waiting.hold(record(author, number), digest(f"missing {author}"))
    assert len(waiting) == HELD_MAX
    kept = {held.id for held in waiting.release(digest("missing"))}
    assert record(2, 0).id not in kept, "the oldest of all went first"
    assert waiting.release(digest("missing")) == []
    last = waiting.release(digest("missing 3"))
    assert [item.id for item in last] == sorted(item.id for item in last)


@pytest.mark.parametrize("count", [1, 2])
def test_holding_twice_is_holding_once(count: int) -> None:
    swarm = Swarm()
    waiting = Waiting()
    for _ in range(count):
        waiting.hold(swarm.genesis, digest("missing"))
    assert len(waiting) == 1
    assert waiting.release(digest("missing")) == [swarm.genesis]
    assert len(waiting) == 0
    assert waiting.missing == frozenset()
