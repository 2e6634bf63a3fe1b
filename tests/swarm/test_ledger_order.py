"""The state is a function of the set of records: any order, any duplication, folded quickly."""

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from protocol.policy import DEMO
from protocol.records import Record
from swarm.admission import Admitted, Known
from swarm.events import HeadChanged, VerdictChanged
from swarm.ledger import Ledger
from tests.swarm.helpers import FOUNDER, TAU, Swarm, admitted, digest, entry_of, key

ALICE, BOB, CAROL, DAVE = key(1), key(2), key(3), key(4)


def state_of(ledger: Ledger) -> dict[str, Any]:
    """Everything that must follow from the set of records alone."""
    return {
        "digest": ledger.digest,
        "head": ledger.head,
        "entries": dict(ledger.entries),
        "lineage": ledger.lineage(),
        "members": ledger.members,
        "voided": {number for number in range(8) if ledger.is_voided(key(number).public)},
        "hypotheses": {view.id: view for view in ledger.hypotheses()},
        "pending": [view.id for view in ledger.pending_merges()],
    }


def eventful(seed: int) -> tuple[Swarm, list[Record]]:
    """A swarm's records with everything in them that could depend on the order of arrival."""
    rng = random.Random(seed)
    swarm = Swarm(policy=replace(DEMO, max_verifiers=3, liars=rng.randrange(2)))
    granted = swarm.admit(ALICE, can_admit=True)
    records = [granted, swarm.admit(BOB), swarm.admit(CAROL, by=ALICE, grant=granted.id)]
    records += [swarm.admit(DAVE, expires_depth=rng.randrange(3)), swarm.admit(key(5))]
    people = [FOUNDER, ALICE, BOB, CAROL, DAVE, key(5), key(6)]
    parents = [swarm.root]
    for number in range(6):
        author = rng.choice(people)
        hypothesis = swarm.hypothesis(f"{number % 5}", author, parents=(rng.choice(parents),))
        parents.append(entry_of(hypothesis))
        records.append(hypothesis)
        records.append(swarm.trial(hypothesis, author, 0, 4 * TAU, purpose="screen"))
        mean = rng.choice([-12 * TAU, 0, 8 * TAU, 30 * TAU, 30 * TAU])
        trials = [
            swarm.trial(hypothesis, signer, pair, round(rng.gauss(mean, TAU)))
            for signer in rng.sample(people, 5)
            for pair in range(4)
        ]
        if rng.random() < 0.1:
            trials.append(swarm.trial(hypothesis, rng.choice(people), rng.randrange(3), 7 * TAU))
        records += trials
        for signer in rng.sample(people, rng.randrange(4)):
            records.append(swarm.merge(hypothesis, signer, rng.sample(trials, 2)))
    return swarm, records


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_any_order_and_any_duplication_give_the_same_state(seed: int, rng: random.Random) -> None:
    swarm, records = eventful(seed)
    expected = state_of(swarm.ledger(*records))
    shuffled = records + rng.sample(records, len(records) // 3)
    rng.shuffle(shuffled)
    ledger = swarm.ledger(*shuffled)
    assert state_of(ledger) == expected
    assert ledger.missing() == frozenset()


def test_the_eventful_swarms_are_eventful() -> None:
    states = [state_of(swarm.ledger(*records)) for swarm, records in map(eventful, range(12))]
    words = {view.status for state in states for view in state["hypotheses"].values()}
    assert {"merged", "refuted"} <= words
    assert any(state["voided"] for state in states)
    assert any(state["head"].depth > 1 for state in states)


@pytest.mark.parametrize("seed", range(3))
def test_events_tell_of_every_change_of_verdict_and_head(seed: int) -> None:
    swarm, records = eventful(seed)
    ledger = swarm.ledger()
    heard: dict[bytes, str] = {}
    head = swarm.root
    random.Random(seed).shuffle(records)
    for record in records:
        outcome = ledger.add(record)
        for event in outcome.events if isinstance(outcome, Admitted) else ():
            if isinstance(event, VerdictChanged):
                assert heard.get(event.hypothesis, "undecided") == event.before
                heard[event.hypothesis] = event.after
            if isinstance(event, HeadChanged):
                assert head == event.before
                head = event.after
        assert head == ledger.head.id
        for view in ledger.hypotheses():
            assert heard.get(view.id, "undecided") == view.verdict.status


class TwoLedgers(RuleBasedStateMachine):
    """Two nodes hear of one swarm's records in orders of their own, again and again."""

    @initialize(seed=st.integers(0, 50))
    def found(self, seed: int) -> None:
        self.swarm, self.records = eventful(seed)
        self.ledgers = [self.swarm.ledger(), self.swarm.ledger()]
        self.offered: list[set[bytes]] = [set(), set()]

    @rule(which=st.integers(0, 1), index=st.integers(0, 10**6))
    def hear(self, which: int, index: int) -> None:
        record = self.records[index % len(self.records)]
        known = record.id in self.ledgers[which]
        outcome = self.ledgers[which].add(record)
        assert isinstance(outcome, Known) == known
        self.offered[which].add(record.id)

    @rule(which=st.integers(0, 1), start=st.integers(0, 10**6), count=st.integers(1, 40))
    def hear_a_run(self, which: int, start: int, count: int) -> None:
        for index in range(start, start + count):
            self.hear(which, index)

    @rule()
    def reconcile(self) -> None:
        # What one of them held may enter only now, so a last look at the other is needed.
        for which in (0, 1, 0):
            for record in list(self.ledgers[1 - which].records()):
                self.ledgers[which].add(record)
                self.offered[which].add(record.id)
        states = [state_of(ledger) for ledger in self.ledgers]
        assert states[0]["digest"] == states[1]["digest"]
        assert states[0] == states[1]

    @rule()
    def restart(self) -> None:
        durable = sorted(self.ledgers[0].records(), key=lambda record: record.id)
        refolded = self.swarm.ledger(*durable)
        assert state_of(refolded) == state_of(self.ledgers[0])

    @invariant()
    def nothing_that_was_never_offered_is_here(self) -> None:
        for ledger, offered in zip(self.ledgers, self.offered, strict=True):
            assert {record.id for record in ledger.records()} <= offered | {self.swarm.id}
            assert ledger.head.id in ledger.entries


TwoLedgers.TestCase.settings = settings(
    max_examples=15, stateful_step_count=12, suppress_health_check=list(HealthCheck)
)
TestTwoLedgers = TwoLedgers.TestCase


def test_thousands_of_records_are_folded_quickly() -> None:
    # Not a benchmark: fails only when folding is no longer nearly linear.
    swarm = Swarm()
    rng = random.Random(3)
    records = swarm.members(3)
    for number in range(150):
        hypothesis = swarm.hypothesis(f"{number}", ALICE)
        records.append(hypothesis)
        for pair in range(3):
            for signer in (BOB, CAROL):
                gain = round(rng.gauss(0, TAU))
                records.append(swarm.trial(hypothesis, signer, pair, gain))
    ledger = Ledger(swarm.genesis)
    concluded: list[bytes] = []
    for record in records:
        outcome = admitted(ledger, record)
        concluded += [
            event.hypothesis for event in outcome.events if isinstance(event, VerdictChanged)
        ]
    assert len(ledger) == len(records) + 1
    assert len(concluded) < len(records)
    assert digest("x") not in ledger
