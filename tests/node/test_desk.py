"""The desk: what the network hands over, and whose word makes others wait."""

from pathlib import Path

import trio

from node.claims import Claims
from protocol.keys import SigningKey
from protocol.notices import Claim, seal_notice
from tests.node.fakes import fake_swarm, until
from tests.virtual_time import virtually

STRANGER = SigningKey.from_seed(b"s" * 32)


def test_only_members_can_claim(tmp_path: Path) -> None:
    async def test() -> None:
        async with fake_swarm(tmp_path, [None, None]) as nodes:
            await until(lambda: len(nodes[0].intake.ledger.members) == 2)
            ledger = nodes[0].intake.ledger
            claim = Claim(parent=ledger.head.id, change=b"c" * 32, lease_s=3_600)
            for key, expected in ((STRANGER, set()), (nodes[1].key, {claim.change})):
                notice = seal_notice(claim, key=key, swarm=ledger.swarm, created_ms=1)
                await nodes[0].desk.on_notice(notice, nodes[1].key.public)
                claimed = nodes[0].desk.claims.on(ledger.head.id, trio.current_time())
                assert claimed == expected

    virtually(test)


def test_nobody_can_claim_everything() -> None:
    claims = Claims()
    for number in range(1_000):
        change = number.to_bytes(32, "big")
        claims.take(Claim(b"p" * 32, change, 60), b"greedy", 0.0)
    claims.take(Claim(b"p" * 32, b"m" * 32, 60), b"modest", 1.0)
    held = claims.on(b"p" * 32, 2.0)
    assert len(held) == 257
    assert b"m" * 32 in held
    assert claims.on(b"p" * 32, 2.0, passing_over=b"greedy") == {b"m" * 32}
    # What ran out makes room.
    assert claims.on(b"p" * 32, 100.0) == frozenset()
    claims.take(Claim(b"p" * 32, b"n" * 32, 60), b"greedy", 100.0)
    assert claims.on(b"p" * 32, 101.0) == {b"n" * 32}
