"""A node that did not verify a new head looks at it itself before it builds on it."""

from dataclasses import replace
from pathlib import Path

from protocol.policy import DEMO, Policy
from protocol.records import Trial
from swarm.ledger import Ledger
from swarm.verification import next_recheck
from tests.node.fakes import BIG, ListedProposer, fake_swarm, until
from tests.virtual_time import virtually

NODES = 5
POLICY = replace(DEMO, max_verifiers=2)


def rechecks(ledger: Ledger) -> set[bytes]:
    """Authors of rechecks of the head."""
    hypothesis = ledger.head.hypothesis
    assert hypothesis is not None
    return {
        record.author
        for record in ledger.hypothesis(hypothesis).trials
        if isinstance(record.body, Trial) and record.body.purpose == "recheck"
    }


def looked_again(path: Path, policy: Policy) -> tuple[set[bytes], set[bytes]]:
    """Who looked again at the first head, and who had verified or written it."""
    found: list[set[bytes]] = []

    async def test() -> None:
        proposers = [ListedProposer([BIG]), *(ListedProposer([n]) for n in range(1, NODES))]
        async with fake_swarm(path, list(proposers), policy) as nodes:
            ledger = nodes[0].intake.ledger
            await until(lambda: all(node.intake.ledger.head.depth == 1 for node in nodes))
            await until(
                lambda: all(
                    next_recheck(node.intake.ledger, node.key.public) is None for node in nodes
                )
            )
            entry = ledger.head
            found.extend((rechecks(ledger), {entry.author, *entry.verifiers}))
            # They are shown and decide nothing.
            assert ledger.hypothesis(entry.hypothesis or b"").verdict.pairs == entry.trials

    virtually(test)
    return found[0], found[1]


def test_those_who_did_not_verify_look_again(tmp_path: Path) -> None:
    looked, knew = looked_again(tmp_path, replace(POLICY, recheck_permille=1_000))
    assert looked
    assert not looked & knew
    assert len(looked) + len(knew) == NODES


def test_a_policy_without_rechecks_has_none(tmp_path: Path) -> None:
    looked, _ = looked_again(tmp_path, replace(POLICY, recheck_permille=0))
    assert looked == set()
