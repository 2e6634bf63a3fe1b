"""What was found beside the planted bugs, as small cases."""

import random

from protocol.ids import rendezvous
from swarm.verification import Leases, next_verification
from tests.sim.plan import draw
from tests.sim.run import run
from tests.swarm.helpers import Swarm, key


def test_a_volunteer_works_no_longer_than_its_pairs_count() -> None:
    swarm = Swarm()
    idea = swarm.hypothesis("idea", key(1))
    ledger = swarm.ledger(*swarm.members(6), idea)
    ledger.add(swarm.trial(idea, key(1), 0, 50_000, purpose="screen"))
    others = sorted(
        (key(number) for number in (0, 2, 3, 4, 5, 6)),
        key=lambda one: rendezvous(idea.id, one.public),
    )
    rng = random.Random(1)
    for verifier in others[:3]:
        ledger.add(swarm.trial(idea, verifier, 0, 20_000 + rng.randrange(-30_000, 30_000)))
    # The first three are gone; the fourth in order takes over, as far as the cap reaches.
    volunteer = others[3]
    pairs = 0
    while task := next_verification(
        ledger, volunteer.public, alive=frozenset(), leases=Leases(), now_s=0.0
    ):
        ledger.add(swarm.trial(idea, volunteer, task.pair, rng.randrange(-30_000, 90_000)))
        pairs += 1
        assert pairs <= swarm.policy.cap_pairs
    verdict = ledger.hypothesis(idea.id).verdict
    assert pairs > 1
    assert verdict.decided_at == 3 + pairs
    assert verdict.status == "verified" or verdict.decided_at == swarm.policy.cap_pairs


def test_a_node_whose_partners_have_all_left_finds_others() -> None:
    # In a swarm of twelve one node is left by all four that it was connected to.
    result = run(draw(3532))
    assert not result.violation, result.detail
    assert result.depth >= 1
