"""What a member owes the swarm: merging in turn, and telling what others wait for."""

import pytest

from node.duties import AbsenceDuty, MergeDuty, tells_at_once
from protocol.ids import rendezvous
from protocol.keys import SigningKey
from protocol.policy import LAB, SOLO
from protocol.records import Absence
from swarm.ledger import Ledger
from tests.swarm.helpers import TAU, Swarm, entry_of, key, steady

AUTHOR = key(1)
MEMBERS = 30


def verified() -> tuple[Ledger, bytes, list[SigningKey]]:
    """A swarm with a verified hypothesis that nobody has merged, and its other members in turn."""
    swarm = Swarm()
    hypothesis = swarm.hypothesis("a", AUTHOR)
    trials = swarm.trials(hypothesis, [key(2), key(3)], steady(9 * TAU, 6))
    ledger = swarm.ledger(*swarm.members(MEMBERS), hypothesis, *trials)
    others = [key(number) for number in range(MEMBERS + 1) if number != 1]
    others.sort(key=lambda one: rendezvous(hypothesis.id, one.public))
    return ledger, hypothesis.id, others


def moments(ledger: Ledger, one: SigningKey, alive: list[SigningKey]) -> float:
    """Seconds after which a member merges what it has just heard of, if nobody else does."""
    duty = MergeDuty()
    keys = {member.public for member in alive}
    for tick in range(1_000):
        merges, waiting = duty.due(ledger, one.public, keys, 100.0 + tick / 2)
        if merges:
            return tick / 2
        assert waiting
    raise AssertionError("it never merges")


def test_the_author_merges_at_once_and_the_others_one_after_the_other() -> None:
    ledger, identity, others = verified()
    alive = [AUTHOR, *others]
    duty = MergeDuty()
    merges, waiting = duty.due(ledger, AUTHOR.public, set(), 100.0)
    assert [merge.hypothesis for merge in merges] == [identity]
    assert not waiting
    waits = [moments(ledger, one, alive) for one in others]
    assert waits == sorted(waits)
    assert len(set(waits)) == len(others), "no two merge in the same moment"
    assert waits[0] >= 3.0


def test_who_is_not_heard_of_is_not_waited_for() -> None:
    ledger, _, others = verified()
    assert moments(ledger, others[20], others[20:]) == moments(ledger, others[0], others)
    strangers = [key(number) for number in range(100, 200)]
    assert moments(ledger, others[0], [*others, *strangers]) == moments(ledger, others[0], others)


def test_where_some_may_lie_every_verifier_signs_at_once_what_it_saw() -> None:
    swarm = Swarm(policy=LAB)
    hypothesis = swarm.hypothesis("a", AUTHOR)
    verifiers = [key(number) for number in range(2, 7)]
    trials = swarm.trials(hypothesis, verifiers, steady(40 * TAU, 15))
    ledger = swarm.ledger(*swarm.members(MEMBERS), hypothesis, *trials)
    alive = {key(number).public for number in range(MEMBERS)}
    for one in verifiers:
        merges, _ = MergeDuty().due(ledger, one.public, alive, 100.0)
        assert [merge.hypothesis for merge in merges] == [hypothesis.id]
        ledger.add(swarm.record(merges[0], one))
        assert MergeDuty().due(ledger, one.public, alive, 100.0) == ([], False)
    assert MergeDuty().due(ledger, key(9).public, alive, 200.0) == ([], False)
    assert MergeDuty().due(ledger, AUTHOR.public, alive, 200.0) == ([], False)


def hidden_head(*names: str) -> tuple[Swarm, Ledger]:
    """A swarm that allows it, with entries on the root that only their author verified."""
    swarm = Swarm(policy=SOLO)
    ledger = swarm.ledger(*swarm.members(6))
    for name in names:
        hypothesis = swarm.hypothesis(name, AUTHOR)
        ledger.add(hypothesis)
        for pair in range(6):
            ledger.add(swarm.trial(hypothesis, AUTHOR, pair, 50 * TAU))
        ledger.add(swarm.merge(hypothesis, AUTHOR, []))
    return swarm, ledger


def test_a_script_that_is_absent_for_a_lease_is_said_to_be_by_one_member() -> None:
    swarm, ledger = hidden_head("one", "two", "three")
    absent = {view.id for view in ledger.self_verified()}
    keys = [key(number) for number in range(7)]
    duties = {one.public: AbsenceDuty() for one in keys}
    alive = set(duties)
    said = []
    for now_s in range(100, 100 + SOLO.lease_s + 60):
        for one in keys:
            for body in duties[one.public].due(ledger, one.public, alive, absent, float(now_s)):
                said.append((now_s, one.public, body.hypothesis))
                ledger.add(swarm.record(body, one))
    # One after the other, as each becomes the head; they were waited for together.
    assert len({hypothesis for _, _, hypothesis in said}) == len(said) == 3
    assert said[0][0] > 100 + SOLO.lease_s
    assert said[-1][0] < 100 + SOLO.lease_s + 30
    assert AUTHOR.public not in {author for _, author, _ in said}
    assert ledger.head == ledger.root


def test_nobody_says_so_who_has_it_or_has_asked_nobody() -> None:
    _, ledger = hidden_head("one")
    absent = {view.id for view in ledger.self_verified()}
    everybody = {key(number).public for number in range(7)}
    late_s = 10.0 * SOLO.lease_s

    def said(me: bytes, alive: set[bytes], missing: set[bytes]) -> list[Absence]:
        duty = AbsenceDuty()
        assert duty.due(ledger, me, alive, missing, 0.0) == []
        return duty.due(ledger, me, alive, missing, late_s)

    assert len(said(key(2).public, everybody, absent)) == 1
    assert said(key(2).public, everybody, set()) == []
    assert said(key(2).public, {key(2).public}, absent) == []
    assert said(AUTHOR.public, everybody, absent) == []
    assert said(key(50).public, everybody, absent) == []


def test_an_absence_is_not_said_twice_and_not_of_what_others_have_run() -> None:
    swarm, ledger = hidden_head("one")
    hypothesis = ledger.head.hypothesis
    assert hypothesis is not None
    absent, alive = {hypothesis}, {key(3).public, AUTHOR.public}
    # Whose membership ended says something that does not count, and does not go on saying it.
    mine = swarm.record(Absence(hypothesis), key(2))
    ledger.add(mine)
    ledger.add(swarm.trial(ledger.record(hypothesis), key(3), 0, 50 * TAU))
    assert ledger.head.id == entry_of(ledger.record(hypothesis))
    for me in (key(2), key(4)):
        duty = AbsenceDuty()
        for now_s in (0.0, 1e6):
            assert duty.due(ledger, me.public, alive, absent, now_s) == []


def test_strangers_merge_nothing() -> None:
    ledger, _, _ = verified()
    assert MergeDuty().due(ledger, key(99).public, set(), 0.0) == ([], False)


@pytest.mark.parametrize(
    ("gains_micro", "agents", "aloud"),
    [
        ([-5_000], 50, True),
        ([-5_000], 51, False),
        ([None], 51, False),
        ([TAU, None], 51, False),
        ([TAU, TAU - 1], 51, False),
        ([TAU, TAU], 51, True),
        ([20 * TAU], 3_500, True),
    ],
)
def test_a_large_swarm_is_not_told_at_once_what_nobody_waits_for(
    gains_micro: list[int | None], agents: int, aloud: bool
) -> None:
    assert tells_at_once(gains_micro, TAU, agents) == aloud
