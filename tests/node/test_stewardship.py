"""What every member does for the swarm, where peers or the disk make it hard."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from node.door import Row
from node.errors import StoreFullError
from node.stewardship import Absent
from protocol.envelope import open_envelope, peek_id, seal
from protocol.ids import blob_digest, entry_id
from protocol.keys import SigningKey
from protocol.policy import SOLO
from protocol.records import Admit, Body, Hypothesis, Merge, Origin
from tests.node.fakes import BIG, FakeNode, ListedProposer, fake_swarm, key_of, script, until
from tests.swarm.helpers import arm, trial_body
from tests.virtual_time import virtually


def nowhere(node: FakeNode, number: int) -> bytes:
    """A signed hypothesis whose script nobody has."""
    body = Hypothesis(
        parents=(node.intake.ledger.head.id,),
        source=blob_digest(b"nowhere %d" % number),
        title=f"nowhere {number}",
        rationale="",
        origin=Origin(proposer="offline", model="", category="x", change=f"x={number}"),
    )
    return seal(body, key=node.key, swarm=node.intake.ledger.swarm, created_ms=number)


def test_scripts_that_nobody_has_keep_nobody_from_working(tmp_path: Path) -> None:
    async def test() -> None:
        async with fake_swarm(tmp_path, [ListedProposer([7, BIG]), None, None]) as nodes:
            await until(lambda: len(nodes[0].intake.ledger.members) == 3)

            async def slow(digest: bytes, size_limit: int, sink: Path) -> None:
                """A peer that holds out every request for twenty seconds."""
                if digest in missing:
                    asked.append(trio.current_time())
                    await trio.sleep(20)
                await fetch(digest, size_limit, sink)

            missing = {blob_digest(b"nowhere %d" % number) for number in range(60)}
            asked: list[float] = []
            fetch = nodes[0].fetch_blob
            nodes[0].fetch_blob = slow  # type: ignore[method-assign]
            await nodes[0].desk.on_records(
                [nowhere(nodes[0], number) for number in range(60)], b"p" * 32
            )
            started_s = trio.current_time()
            await until(lambda: nodes[0].intake.ledger.head.depth == 1)
            assert trio.current_time() - started_s < 120
            await trio.sleep(600)
            # Each is asked for more and more rarely.
            assert len(asked) < 60 * 8

    virtually(test)


def test_absent_scripts_are_asked_for_more_and_more_rarely() -> None:
    absent = Absent()
    assert absent.due({b"a", b"b"}, 0.0) == [b"a", b"b"]
    absent.found(b"a")
    times, now_s = [], 0.0
    while now_s < 4_000:
        if absent.due({b"a", b"b"}, now_s) == [b"b"]:
            times.append(now_s)
            absent.failed(b"b", now_s)
        now_s += 1.0
    assert times[:5] == [0, 5, 15, 35, 75]
    assert 10 < len(times) < 15
    assert absent
    # What came lately goes before what has failed for long.
    assert absent.due({b"b", b"new"}, 1e9) == [b"new", b"b"]
    absent.found(b"b")
    assert not absent


def test_a_merge_that_the_disk_refused_is_signed_when_there_is_room(tmp_path: Path) -> None:
    async def test() -> None:
        async with fake_swarm(tmp_path, [None, None, None]) as nodes:
            refused = dict.fromkeys(range(3), 0)

            def refuse_merges(number: int) -> None:
                store, append = nodes[number].store, nodes[number].store.append

                def refusing(records: Sequence[Row]) -> None:
                    opened = [open_envelope(row[2], swarm=records_of) for row in records]
                    merges = any(isinstance(record.body, Merge) for record in opened)
                    if merges and refused[number] < 2:
                        refused[number] += 1
                        raise StoreFullError("no space left")
                    append(records)

                store.append = refusing  # type: ignore[method-assign]

            records_of = nodes[0].intake.ledger.swarm
            for number in range(3):
                refuse_merges(number)
            await until(lambda: len(nodes[0].intake.ledger.members) == 3)
            await nodes[0].researcher.suggest(script(BIG), "mine", "")
            await until(lambda: all(node.intake.ledger.head.depth == 1 for node in nodes))
            assert refused[0] == 2

    virtually(test)


def claimed_alone(node: FakeNode, signer: SigningKey, source: bytes) -> tuple[list[bytes], bytes]:
    """Records of a great gain on the head that the signer says it verified, and its entry."""
    swarm, head = node.intake.ledger.swarm, node.intake.ledger.head.id

    def sealed(body: Body) -> bytes:
        return seal(body, key=signer, swarm=swarm, created_ms=1)

    made = Hypothesis((head,), source, "hidden", "", Origin("offline", "", "x", "x=1"))
    records = [sealed(made)]
    hypothesis = peek_id(records[0])
    for pair in range(6):
        trial = trial_body(hypothesis, signer, pair, arm(3_000_000), arm(1_000_000 + pair))
        records.append(sealed(trial))
    records.append(sealed(Merge(hypothesis, ())))
    return records, entry_id((head,), made.source)


@pytest.mark.parametrize("text", [None, "x = '" + 300 * "y" + "'\n", "def ("])
def test_a_head_that_nobody_else_can_run_is_left_after_a_lease(
    tmp_path: Path, text: str | None
) -> None:
    """Its author hands the script out to nobody, or one that breaks the limits."""

    async def test() -> None:
        async with fake_swarm(tmp_path, [ListedProposer([]), None, None], SOLO) as nodes:
            ledgers = [node.intake.ledger for node in nodes]
            await until(lambda: all(len(ledger.members) == 3 for ledger in ledgers))
            hider = key_of(9)
            admit = Admit(hider.public, can_admit=False, grant=ledgers[0].swarm, expires_depth=0)
            await nodes[0].author.publish(admit)
            await until(lambda: all(ledger.is_member(hider.public) for ledger in ledgers))
            source = blob_digest(b"nowhere" if text is None else text.encode())
            if text is not None:
                nodes[1].materials.keep_script(text)
            records, entry = claimed_alone(nodes[0], hider, source)
            for node in nodes:
                await node.desk.on_records(records, b"p" * 32)
            began_s = trio.current_time()
            assert [ledger.head.id for ledger in ledgers] == [entry] * 3
            await until(lambda: all(ledger.head.depth == 0 for ledger in ledgers))
            assert SOLO.lease_s <= trio.current_time() - began_s < SOLO.lease_s + 30
            [doubted] = ledgers[2].absent()
            assert len(doubted.absent_for) == 1
            # Research goes on where it was.
            await nodes[0].researcher.suggest(script(BIG), "mine", "")
            await until(lambda: all(ledger.head.depth == 1 for ledger in ledgers))
            told = [item.text for item in nodes[1].activity.feed if "rolled back" in item.text]
            assert "could not get its script" in told[0]

    virtually(test)
