"""What a member owes the swarm: merging in turn, and telling what others wait for."""

import pytest

from node.duties import MergeDuty, tells_at_once
from protocol.ids import rendezvous
from protocol.keys import SigningKey
from protocol.policy import LAB
from swarm.ledger import Ledger
from tests.swarm.helpers import TAU, Swarm, key, steady

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
