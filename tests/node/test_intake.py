import threading
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing

from node.blobs import BlobStore
from node.desk import Desk
from node.door import Folded, Row
from node.errors import StoreFullError
from node.intake import Intake
from node.store import RecordStore
from protocol.envelope import open_envelope, seal
from protocol.keys import SigningKey
from protocol.records import Body, Hypothesis, Record
from swarm.events import Event, HypothesisAdded
from tests.swarm.helpers import Swarm, key

AUTHOR = key(1)


class Door:
    """An intake over a real store, with the swarm that feeds it."""

    def __init__(self, path: Path) -> None:
        self.swarm = Swarm()
        self.store = RecordStore(path / "records.sqlite")
        self.events: list[Event] = []
        self.desk = Desk(
            node_id=AUTHOR.public, store=self.store, blobs=BlobStore(path), role="agent"
        )
        self.intake = self.desk.intake = Intake(
            genesis=self.swarm.genesis,
            store=self.store,
            clock=trio.current_time,
            on_events=self._note,
        )

    def _note(self, events: Sequence[Event]) -> None:
        self.events.extend(events)

    def envelope(self, body: Body, signer: SigningKey = AUTHOR, created_ms: int = 5) -> bytes:
        return seal(body, key=signer, swarm=self.swarm.id, created_ms=created_ms)

    def hypothesis(self, number: int) -> bytes:
        record = self.swarm.hypothesis(f"number {number}", AUTHOR)
        return self.envelope(record.body, created_ms=number)

    def large(self, number: int) -> bytes:
        body = self.swarm.hypothesis(f"number {number}", AUTHOR).body
        assert isinstance(body, Hypothesis)
        return self.envelope(replace(body, rationale="r" * 4_000), created_ms=number)

    async def refused(self, envelope: bytes) -> None:
        with pytest.raises(StoreFullError):
            await self.intake.submit(envelope)


@asynccontextmanager
async def open_door(path: Path) -> AsyncIterator[Door]:
    door = Door(path)
    async with trio.open_nursery() as nursery:
        await nursery.start(door.intake.run)
        yield door
        nursery.cancel_scope.cancel()
    door.store.close()


async def test_an_accepted_record_is_durable_announced_and_indexed(tmp_path: Path) -> None:
    async with open_door(tmp_path) as door:
        envelope = door.hypothesis(1)
        assert await door.intake.submit(envelope) == "accepted"
        # What a second reader of the file sees has been committed.
        assert list(RecordStore(tmp_path / "records.sqlite", read_only=True)) == [envelope]
        record = open_envelope(envelope, swarm=door.swarm.id)
        assert (record.created_ms, record.id) in door.intake.index
        assert door.events == [HypothesisAdded(record.id)]
        assert await door.intake.submit(envelope) == "known"
        assert len(door.store) == 1


@pytest.mark.parametrize("damage", ["", "x", "ff" * 200, "flip"])
async def test_bytes_that_prove_a_fault_are_rejected_and_not_kept(
    tmp_path: Path, damage: str
) -> None:
    async with open_door(tmp_path) as door:
        good = door.hypothesis(1)
        bad = bytearray(good)
        if damage == "flip":
            bad[10] ^= 1
        assert await door.intake.submit(bytes(bad) if damage == "flip" else damage.encode()) == (
            "rejected"
        )
        assert len(door.store) == 0
        # A forgery under the same id must not keep the true record out.
        assert await door.intake.submit(good) == "accepted"


async def test_a_record_that_waits_enters_with_what_it_waited_for(tmp_path: Path) -> None:
    async with open_door(tmp_path) as door:
        hypothesis = door.swarm.hypothesis("first", AUTHOR)
        trial = door.swarm.trial(hypothesis, AUTHOR, 0, 20_000, purpose="screen")
        trial_envelope = _again(door, trial)
        assert await door.intake.submit(trial_envelope) == "held"
        assert len(door.store) == 0
        assert await door.intake.submit(_again(door, hypothesis)) == "accepted"
        assert len(door.store) == 2
        assert door.intake.ledger.hypothesis(hypothesis.id).screening.runs == 1


def _again(door: Door, record: Record) -> bytes:
    return seal(record.body, key=AUTHOR, swarm=door.swarm.id, created_ms=record.created_ms)


async def test_many_at_once_are_committed_together_and_all_kept(tmp_path: Path) -> None:
    async with open_door(tmp_path) as door:
        envelopes = [door.hypothesis(number) for number in range(300)]
        async with trio.open_nursery() as nursery:
            for envelope in envelopes:
                nursery.start_soon(door.intake.submit, envelope)
        assert set(door.store) == set(envelopes)
        assert len(door.intake.ledger) == 301


async def test_a_full_disk_is_reported_and_nothing_acknowledged_is_lost(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_door(tmp_path) as door:
        first = door.hypothesis(1)
        await door.intake.submit(first)
        digest = door.intake.ledger.digest
        door.store._database.execute("PRAGMA max_page_count=1")
        refused = 0
        for number in range(2, 22):
            try:
                await door.intake.submit(door.large(number))
            except StoreFullError:
                refused += 1
        assert refused
        # The ledger holds exactly what the disk holds.
        assert len(door.intake.ledger) == len(door.store) + 1
        assert len(door.intake.index) == len(door.store) + 1
        door.store._database.execute("PRAGMA max_page_count=1000000")
        await trio.sleep(2)
        assert await door.intake.submit(door.hypothesis(77)) == "accepted"
        assert open_envelope(first, swarm=door.swarm.id).id in door.intake.ledger
        assert digest != door.intake.ledger.digest


async def test_nothing_is_counted_before_the_disk_has_it(tmp_path: Path) -> None:
    async with open_door(tmp_path) as door:
        append, now = door.store.append, threading.Event()

        def slowly(records: Sequence[Row]) -> None:
            assert now.wait(30)
            append(records)

        door.store.append = slowly  # type: ignore[method-assign]
        counted: list[int] = []

        async def count() -> None:
            counted.append(len(await door.intake.settled()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(door.intake.submit, door.hypothesis(1))
            while len(door.intake.ledger) == 1:
                await trio.lowlevel.checkpoint()
            nursery.start_soon(count)
            await trio.testing.wait_all_tasks_blocked()
            # The ledger counts a record that the disk does not have; nobody is told so.
            assert len(door.store) == 0
            assert counted == []
            assert len(door.intake.index) == 1
            now.set()
        assert counted == [2]


async def test_a_refused_record_is_never_counted(tmp_path: Path) -> None:
    async with open_door(tmp_path) as door:
        door.store._database.execute("PRAGMA max_page_count=1")
        counted: list[int] = []

        async def count() -> None:
            counted.append(len(await door.intake.settled()))

        large = door.large(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(door.refused, large)
            while len(door.intake.ledger) == 1:
                await trio.lowlevel.checkpoint()
            nursery.start_soon(count)
        assert counted == [1]


async def test_a_full_disk_costs_one_refold_and_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_door(tmp_path) as door:
        folds: list[int] = []
        fold = door.intake._door.fold

        def counting(durable: Iterable[bytes]) -> Folded:
            folds.append(1)
            return fold(durable)

        door.intake._door.fold = counting  # type: ignore[method-assign]
        door.store._database.execute("PRAGMA max_page_count=1")
        for number in range(1, 31):
            await door.refused(door.large(number))
            await trio.sleep(0.5)
        assert len(folds) == 1
        assert len([line for line in caplog.messages if "not stored" in line]) == 1
        door.store._database.execute("PRAGMA max_page_count=1000000")
        # However many ask, the disk is tried again within a second.
        waited_s = trio.current_time()
        answers: Sequence[object] = ()
        while answers != ["accepted"]:
            await trio.sleep(0.05)
            answers = await door.desk.on_records([door.large(1)], b"p" * 32)
        assert trio.current_time() - waited_s < 2
        assert len(door.store) == 1
        assert door.store.setting("probe") is None


async def test_a_peer_is_not_blamed_for_a_full_disk(tmp_path: Path) -> None:
    async with open_door(tmp_path) as door:
        door.store._database.execute("PRAGMA max_page_count=1")
        await door.refused(door.large(1))
        # What comes while the disk is left alone is refused for the same reason.
        await door.refused(door.hypothesis(2))
        with pytest.raises(StoreFullError):
            await door.intake.submit(b"x" * 200)


async def test_an_author_beyond_its_rate_waits_and_loses_nothing(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_door(tmp_path) as door:
        answers: dict[int, str] = {}

        async def submit(number: int) -> None:
            answers[number] = await door.intake.submit(door.hypothesis(number))

        async with trio.open_nursery() as nursery:
            for number in range(2_050):
                nursery.start_soon(submit, number)
        refused = [number for number, answer in answers.items() if answer == "held"]
        assert 0 < len(refused) <= 50
        assert len(door.store) == 2_050 - len(refused)
        await trio.sleep(60)
        assert await door.intake.submit(door.hypothesis(refused[0])) == "accepted"


async def test_after_a_restart_the_state_is_the_same(tmp_path: Path) -> None:
    async with open_door(tmp_path) as door:
        for number in range(20):
            await door.intake.submit(door.hypothesis(number))
        digest = door.intake.ledger.digest
    async with open_door(tmp_path) as door:
        assert door.intake.ledger.digest == digest
        assert len(door.intake.index) == 21


async def test_records_that_come_together_are_committed_together_and_in_order(
    tmp_path: Path,
) -> None:
    async with open_door(tmp_path) as door:
        append, commits = door.store.append, list[int]()

        def count(records: Sequence[Row]) -> None:
            commits.append(len(records))
            append(records)

        door.store.append = count  # type: ignore[method-assign]
        envelopes = [door.hypothesis(number) for number in range(300)]
        answers = await door.intake.submit_all([*envelopes, b"garbage", envelopes[0]])
        assert answers[:300] == ["accepted"] * 300
        assert answers[300] == "rejected"
        assert answers[301] in {"known", "accepted"}
        assert list(door.store) == envelopes
        # A joiner waits for the disk a few times, not once a record.
        assert len(commits) <= 4
