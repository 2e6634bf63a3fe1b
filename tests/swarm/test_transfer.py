"""Replays at other scales: what is admitted, what the pairs add up to, and what runs next."""

import random
from dataclasses import replace
from itertools import pairwise

import pytest

from protocol.records import Record, Transfer, TransferRun
from swarm.admission import Held, Rejected
from swarm.events import TransferAdded
from swarm.transfer import SCALES_MAX, Judge, report
from tests.swarm.helpers import BITS_PER_BYTE, FOUNDER, TAU, Swarm, admitted, entry_of, key

ALICE, BOB = key(1), key(2)
JUDGE = Judge(BITS_PER_BYTE, TAU)
GENESIS_MICRO = 3_000_000


class Path:
    """A swarm with a path of two entries that hang together with the root."""

    def __init__(self) -> None:
        self.swarm = Swarm()
        steady = [20 * TAU + n for n in range(8)]
        self.first = self.swarm.merged("a", ALICE, [BOB, key(3)], steady)
        self.second = self.swarm.merged(
            "b", ALICE, [BOB, key(3)], steady, parents=(entry_of(self.first[0]),)
        )
        self.entries = [self.swarm.root, entry_of(self.first[0]), entry_of(self.second[0])]
        self.base = [*self.swarm.members(3), *self.first, *self.second]

    def transfer(
        self,
        *metrics: tuple[int | None, ...],
        entries: list[bytes] | None = None,
        scale: str = "confirm",
        signer_number: int = 2,
        proof: bytes | None = None,
    ) -> Record:
        signer = key(signer_number)
        path = self.entries if entries is None else entries
        runs = tuple(
            TransferRun(entry, "ok" if None not in values else "crashed", values, 1_000)
            for entry, values in zip(path, metrics, strict=True)
        )
        body = Transfer(
            scale=scale,
            seed_proof=signer.prove_transfer(path[-1], scale) if proof is None else proof,
            runs=runs,
            device="",
            runtime="",
        )
        return self.swarm.record(body, signer)


FEW = ((GENESIS_MICRO,), (GENESIS_MICRO - 5,), (GENESIS_MICRO - 9,))


def test_a_transfer_waits_for_every_entry_it_ran() -> None:
    path = Path()
    ledger = path.swarm.ledger()
    transfer = path.transfer(*FEW)
    assert ledger.add(transfer) == Held(path.entries[1])
    admitted(ledger, path.first[0])
    outcome = admitted(ledger, path.second[0])
    assert transfer.id in {record.id for record in outcome.records}
    assert TransferAdded(path.entries[2], transfer.id) in outcome.events


def test_what_the_bytes_of_a_transfer_prove_to_be_wrong() -> None:
    path = Path()
    elsewhere = path.swarm.hypothesis("c", ALICE)
    ledger = path.swarm.ledger(*path.base, elsewhere)
    root, first, second = path.entries
    for entries in (
        [first, second],
        [first, root],
        [root, second, first],
        [root, entry_of(elsewhere), second],
    ):
        bad = path.transfer(*FEW[: len(entries)], entries=entries)
        assert isinstance(ledger.add(bad), Rejected), entries
    for proof in (
        key(3).prove_transfer(second, "confirm"),
        BOB.prove_transfer(first, "confirm"),
        BOB.prove_transfer(second, "width=2"),
        bytes(64),
    ):
        assert isinstance(ledger.add(path.transfer(*FEW, proof=proof)), Rejected)
    # Entries may be left out between the genesis and the end.
    admitted(ledger, path.transfer(*FEW[:2], entries=[root, second]))


def test_only_members_are_heard_and_nothing_else_changes() -> None:
    path = Path()
    ledger = path.swarm.ledger(*path.base)
    before = (ledger.head, dict(ledger.entries), [item.status for item in ledger.hypotheses()])
    huge = path.transfer((GENESIS_MICRO,) * 8, (1,) * 8, (GENESIS_MICRO * 9,) * 8)
    admitted(ledger, huge)
    stranger = path.transfer(*FEW, signer_number=9)
    admitted(ledger, stranger)
    assert (ledger.head, dict(ledger.entries)) == before[:2]
    assert [item.status for item in ledger.hypotheses()] == before[2]
    assert [record.id for record, _ in ledger.transfers()] == [huge.id]
    admitted(ledger, path.swarm.admit(key(9), by=FOUNDER))
    assert {record.id for record, _ in ledger.transfers()} == {huge.id, stranger.id}


def test_the_longest_of_an_author_stands_whatever_came_first() -> None:
    path = Path()
    short = path.transfer(*FEW)
    long = path.transfer(*(metrics * 2 for metrics in FEW))
    other = path.transfer(*(metrics * 2 for metrics in FEW[:2]), (GENESIS_MICRO, 1))
    width = path.transfer(*FEW, scale="width=2")
    by_another = path.transfer(*FEW, signer_number=3)
    records = [short, long, other, width, by_another]
    rng = random.Random(1)
    seen = set()
    for _ in range(20):
        rng.shuffle(records)
        ledger = path.swarm.ledger(*path.base, *records)
        seen.add(tuple(record.id for record, _ in ledger.transfers()))
    (standing,) = seen
    assert set(standing) == {max(long.id, other.id), width.id, by_another.id}


def test_an_author_cannot_fill_the_page_with_scales() -> None:
    path = Path()
    records = [path.transfer(*FEW, scale=f"s{number:03d}") for number in range(SCALES_MAX + 5)]
    for order in (records, records[::-1]):
        shown = path.swarm.ledger(*path.base, *order).transfers()
        assert [body.scale for _, body in shown] == [f"s{n:03d}" for n in range(SCALES_MAX)]


def around(gain_micro: int, count: int, spread_micro: int = TAU // 10) -> tuple[int, ...]:
    return tuple(GENESIS_MICRO - gain_micro + spread_micro * (-1) ** n for n in range(count))


GENESIS = tuple(GENESIS_MICRO + 50 * n for n in range(16))


@pytest.mark.parametrize(
    ("gain_micro", "expected"),
    [(20 * TAU, "carried"), (TAU, "carried"), (0, "lost"), (-20 * TAU, "lost")],
)
def test_a_step_is_carried_or_lost(gain_micro: int, expected: str) -> None:
    comparison, over = JUDGE.compare(GENESIS, around(gain_micro, 16))
    assert (comparison.status, over, comparison.pairs) == (expected, True, 16)
    assert comparison.low_micro is not None
    assert comparison.high_micro is not None
    assert comparison.low_micro <= gain_micro + 500 <= comparison.high_micro + 1_000
    if expected == "carried":
        assert comparison.low_micro > 0
    else:
        assert comparison.high_micro < TAU


def test_few_pairs_decide_nothing() -> None:
    for count in (0, 1, 2):
        comparison, over = JUDGE.compare(GENESIS, around(20 * TAU, count))
        assert (comparison.status, over, comparison.low_micro) == ("undecided", False, None)


def test_the_first_boundary_stands() -> None:
    turned = (*around(20 * TAU, 6), *around(-500 * TAU, 10))
    assert JUDGE.compare(GENESIS, turned)[0].status == "carried"


def test_a_failure_ends_a_script_and_spares_what_came_before() -> None:
    failed = (*around(20 * TAU, 2), None)
    comparison, over = JUDGE.compare(GENESIS, failed)
    assert (comparison.status, over, comparison.pairs) == ("failed", True, 2)
    after = JUDGE.compare(failed, around(25 * TAU, 5))
    assert (after[0].status, after[1], after[0].pairs) == ("undecided", True, 2)
    assert JUDGE.next_run([(), (None,), ()], 8) == (0, 0)
    assert JUDGE.next_run([(5,), (None,), (4,)], 8) == (0, 1)


def test_false_carried_steps_are_as_rare_as_the_interval_says() -> None:
    rng = random.Random(7)
    runs = 600
    carried = 0
    for _ in range(runs):
        child = tuple(value + round(rng.gauss(0, 3 * TAU)) for value in GENESIS)
        carried += JUDGE.compare(GENESIS, child)[0].status == "carried"
    assert carried <= runs * 0.025 * 1.5


def replay(means: list[int], noise_micro: int, seeds_max: int = 16) -> list[list[int | None]]:
    """Run what the judge asks for until it asks for nothing."""
    rng = random.Random(3)
    metrics: list[list[int | None]] = [[] for _ in means]
    while (wanted := JUDGE.next_run(metrics, seeds_max)) is not None:
        number, seed = wanted
        assert seed == len(metrics[number]), "seeds are run in order, without gaps"
        metrics[number].append(means[number] + round(rng.gauss(0, noise_micro)))
    return metrics


def test_a_replay_stops_where_its_reader_would() -> None:
    gains = [0, 30 * TAU, 60 * TAU, 60 * TAU + TAU // 2]
    metrics = replay([GENESIS_MICRO - gain for gain in gains], TAU // 5)
    statuses = [JUDGE.compare(a, b)[0].status for a, b in pairwise(metrics)]
    assert statuses[:2] == ["carried", "carried"]
    lengths = [len(values) for values in metrics]
    # The clear steps stop early; the last one, near tau, keeps only its own two scripts busy.
    assert max(lengths[:2]) <= 5
    assert lengths[2] == lengths[3] > lengths[0]
    for seeds_max in (1, 2, 3):
        short = replay([GENESIS_MICRO, GENESIS_MICRO], 5 * TAU, seeds_max)
        assert [len(values) for values in short] == [seeds_max, seeds_max]


def test_a_report_names_what_was_compared() -> None:
    path = Path()
    body = path.transfer(GENESIS, around(20 * TAU, 16), around(20 * TAU, 16)).body
    assert isinstance(body, Transfer)
    found = report(body, JUDGE)
    assert (found.entry, found.scale) == (path.entries[2], "confirm")
    assert [step.baseline for step in found.steps] == path.entries[:2]
    assert [step.step.status for step in found.steps] == ["carried", "lost"]
    assert [step.whole.status for step in found.steps] == ["carried", "carried"]
    assert found.carried == 1
    assert report(replace(body, device="other"), JUDGE) == found
