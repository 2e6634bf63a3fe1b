"""The door's decisions: what waits is kept for as long as it may still enter."""

import pytest

from node import door
from node.door import Door
from protocol.envelope import seal
from protocol.records import Merge
from swarm import waiting
from tests.swarm.helpers import Swarm, digest, key


def test_spam_that_waits_does_not_drive_out_what_may_still_enter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(door, "HELD_ENVELOPES_MAX", 8)
    monkeypatch.setattr(waiting, "HELD_MAX", 6)
    monkeypatch.setattr(waiting, "HELD_PER_AUTHOR_MAX", 2)
    swarm = Swarm()
    here = Door(swarm.genesis, ())
    hypothesis = swarm.hypothesis("idea", key(1))
    trial = swarm.trial(hypothesis, key(2), 0, 50_000)
    sealed = {
        record.id: seal(record.body, key=signer, swarm=swarm.id, created_ms=record.created_ms)
        for record, signer in ((hypothesis, key(1)), (trial, key(2)))
    }
    assert here.judge(sealed[trial.id], local=False, now_s=0).disposition == "held"
    for number in range(40):
        body = Merge(digest(f"nothing {number}"), ())
        spam = seal(body, key=key(3), swarm=swarm.id, created_ms=number)
        assert here.judge(spam, local=False, now_s=0).disposition == "held"
        assert here.held_count <= 8
    judged = here.judge(sealed[hypothesis.id], local=False, now_s=0)
    assert judged.disposition == "accepted"
    assert [row[2] for row in judged.rows] == [sealed[hypothesis.id], sealed[trial.id]]


def test_what_the_disk_refused_is_as_if_it_had_never_come() -> None:
    swarm = Swarm()
    here = Door(swarm.genesis, ())
    record = swarm.hypothesis("idea", key(1))
    envelope = seal(record.body, key=key(1), swarm=swarm.id, created_ms=record.created_ms)
    assert here.at_once(envelope) is None
    judged = here.judge(envelope, local=True, now_s=0)
    assert here.at_once(envelope) == "known"
    here.replace(here.fold(()))
    assert here.at_once(envelope) is None
    assert len(here.ledger) == len(here.index) == 1
    assert here.judge(envelope, local=True, now_s=0).rows == judged.rows
    here.settle(judged.rows)
    assert len(here.index) == 2
