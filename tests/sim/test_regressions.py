"""What was found beside the planted bugs, as small cases."""

import random

from protocol.ids import rendezvous
from swarm.verification import next_verification
from tests.swarm.helpers import Swarm, key


def test_a_volunteer_whose_pairs_do_not_count_stops() -> None:
    swarm = Swarm()
    idea = swarm.hypothesis("idea", key(1))
    ledger = swarm.ledger(*swarm.members(6), idea)
    ledger.add(swarm.trial(idea, key(1), 0, 50_000, purpose="screen"))
    others = sorted(
        (key(number) for number in (0, 2, 3, 4, 5, 6)),
        key=lambda one: rendezvous(idea.id, one.public),
    )
    rng = random.Random(1)
    noisy = [20_000 + rng.randrange(-30_000, 30_000) for _ in range(3)]
    for verifier, gain_micro in zip(others, noisy, strict=False):
        ledger.add(swarm.trial(idea, verifier, 0, gain_micro))
    # The three that count are gone; the fourth in order takes over, and is not counted.
    volunteer = others[3]
    pairs = 0
    while task := next_verification(
        ledger, volunteer.public, alive=frozenset(), now_ms=swarm.clock_ms + 10**7
    ):
        ledger.add(swarm.trial(idea, volunteer, task.pair, 20_000))
        pairs += 1
        assert pairs <= 1
    assert pairs == 1
    assert ledger.hypothesis(idea.id).verdict.decided_at == 3
