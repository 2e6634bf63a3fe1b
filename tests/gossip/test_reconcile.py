import random
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gossip.core.index import INFINITY, Key, RecordIndex
from gossip.core.reconcile import (
    VERSION,
    Fingerprint,
    IdList,
    Reconciliation,
    Skip,
    parse_message,
    respond,
)
from protocol.errors import WireError
from protocol.limits_network import (
    SYNC_IDS_MAX,
    SYNC_MESSAGE_BYTES_MAX,
    SYNC_RANGES_MAX,
    SYNC_ROUNDS_MAX,
)

SMALL_BYTES = 1_200
"""A message size that forces many continuations."""

Item = tuple[int, bytes]


def reconcile(
    mine: RecordIndex, theirs: RecordIndex, bytes_max: int
) -> tuple[set[bytes], set[bytes], int, int]:
    """Run to the end: what only I have, what only they have, rounds, bytes."""
    run = Reconciliation(mine, message_bytes_max=bytes_max)
    message: bytes | None = run.initiate()
    have: set[bytes] = set()
    need: set[bytes] = set()
    rounds = size = 0
    complete = False
    while message is not None:
        assert len(message) <= bytes_max
        answer = respond(theirs, message, message_bytes_max=bytes_max)
        assert len(answer) <= bytes_max
        size += len(message) + len(answer)
        step = run.advance(answer)
        have |= set(step.have_ids)
        need |= set(step.need_ids)
        message, complete = step.message, step.complete
        rounds += 1
    assert complete
    return have, need, rounds, size


def ids(items: set[Item]) -> set[bytes]:
    return {record_id for _, record_id in items}


@settings(max_examples=80)
@given(
    st.integers(0, 2**32),
    st.tuples(st.integers(0, 300), st.integers(0, 60), st.integers(0, 60)),
    st.sampled_from([1, 5, 1_000, 2**61]),
    st.sampled_from([SMALL_BYTES, 4_000, SYNC_MESSAGE_BYTES_MAX]),
)
@example(0, (0, 0, 0), 1, SMALL_BYTES)
@example(1, (300, 60, 60), 1, SMALL_BYTES)
def test_any_two_sets_reconcile_to_their_union(
    seed: int, sizes: tuple[int, int, int], times: int, bytes_max: int
) -> None:
    rng = random.Random(seed)

    def draw(count: int) -> set[Item]:
        return {(rng.randrange(times), rng.randbytes(32)) for _ in range(count)}

    common, left, right = (draw(size) for size in sizes)
    have, need, _, _ = reconcile(RecordIndex(common | left), RecordIndex(common | right), bytes_max)
    assert have == ids(left)
    assert need == ids(right)


@settings(max_examples=40)
@given(st.sets(st.tuples(st.integers(0, 3), st.sampled_from([bytes([n]) * 32 for n in range(90)]))))
def test_ids_that_share_long_prefixes(items: set[Item]) -> None:
    mine = {item for item in items if item[1][0] % 3}
    theirs = {item for item in items if item[1][0] % 2}
    have, need, _, _ = reconcile(RecordIndex(mine), RecordIndex(theirs), SMALL_BYTES)
    # An id is a hash of its record, so one id under two times cannot happen; compare pairwise.
    assert have >= ids(mine) - ids(theirs)
    assert need >= ids(theirs) - ids(mine)


def test_recent_difference_in_a_large_set_is_cheap() -> None:
    rng = random.Random(3)
    items = [(1_760_000_000_000 + number, rng.randbytes(32)) for number in range(50_000)]
    have, need, rounds, size = reconcile(
        RecordIndex(items[:-500]), RecordIndex(items), SYNC_MESSAGE_BYTES_MAX
    )
    assert not have
    assert need == {record_id for _, record_id in items[-500:]}
    assert rounds <= 4
    # The 500 ids themselves are 16 KB.
    assert size < 40_000


def test_joining_from_nothing_needs_little_more_than_the_ids() -> None:
    rng = random.Random(4)
    items = [(number, rng.randbytes(32)) for number in range(20_000)]
    _, need, rounds, size = reconcile(RecordIndex(), RecordIndex(items), SYNC_MESSAGE_BYTES_MAX)
    assert len(need) == 20_000
    assert rounds <= 4
    assert size < 20_000 * 33


def test_inserts_between_rounds_do_no_harm() -> None:
    rng = random.Random(5)
    items = [(number // 3, rng.randbytes(32)) for number in range(4_000)]
    mine, theirs = RecordIndex(items[::2]), RecordIndex(items[1::2])
    run = Reconciliation(mine, message_bytes_max=SMALL_BYTES)
    message: bytes | None = run.initiate()
    need: set[bytes] = set()
    while message is not None:
        step = run.advance(respond(theirs, message, message_bytes_max=SMALL_BYTES))
        need |= set(step.need_ids)
        for record_id in step.need_ids:
            key = next(item for item in items if item[1] == record_id)
            mine.insert(*key)
        for record_id in step.have_ids:
            key = next(item for item in items if item[1] == record_id)
            theirs.insert(*key)
        late = (rng.randrange(1_300), rng.randbytes(32))
        items.append(late)
        mine.insert(*late)
        message = step.message
    assert need >= {record_id for _, record_id in items[1:4_000:2]}


def test_golden_bytes() -> None:
    index = RecordIndex([(1, bytes(31) + b"\1"), (1, bytes(31) + b"\2"), (300, b"\xff" * 32)])
    listed = Reconciliation(index).initiate()
    # Version, infinity (0, no prefix), a list (2) of three ids.
    expected = "6100000203" + "00" * 31 + "01" + "00" * 31 + "02" + "ff" * 32
    assert listed.hex() == expected
    # To nothing, the responder answers with its own list; a fingerprint it knows it skips.
    assert respond(RecordIndex(), listed).hex() == "6100000200"
    known = bytes([VERSION, 0, 0, 1]) + index.fingerprint(0, 3)
    assert respond(index, known).hex() == "61"
    # Bounds: time as the difference to the one before plus one, and a prefix of the id.
    bounds = bytes.fromhex("6102000082 2c01 ff000000 02 00".replace(" ", ""))
    assert [part.upper for part in parse_message(bounds)] == [
        Key(1, b""),
        Key(300, b"\xff"),
        INFINITY,
    ]


def test_parsing_tells_the_modes_apart() -> None:
    data = bytes.fromhex("61020000020001" + "ab" * 16 + "00000201" + "cd" * 32)
    contents = [part.content for part in parse_message(data)]
    assert contents == [Skip(), Fingerprint(b"\xab" * 16), IdList((b"\xcd" * 32,))]
    whole_ranges = {1, 4, 23}
    for cut in range(len(data)):
        if cut not in whole_ranges:
            with pytest.raises(WireError):
                parse_message(data[:cut])
    with pytest.raises(WireError):
        parse_message(data + b"\0")


@settings(max_examples=200)
@given(st.binary(max_size=400))
def test_hostile_bytes_raise_wire_error_only(noise: bytes) -> None:
    index = RecordIndex([(number, number.to_bytes(32, "big")) for number in range(200)])
    for data in (noise, bytes([VERSION]) + noise):
        with suppress(WireError):
            assert len(respond(index, data)) <= SYNC_MESSAGE_BYTES_MAX
        with suppress(WireError):
            Reconciliation(index).advance(data)


@settings(max_examples=80)
@given(st.data())
def test_mutated_messages_raise_wire_error_only(data: st.DataObject) -> None:
    rng = random.Random(6)
    mine = RecordIndex([(number, rng.randbytes(32)) for number in range(500)])
    theirs = RecordIndex([(number, rng.randbytes(32)) for number in range(500)])
    message = bytearray(respond(theirs, Reconciliation(mine).initiate()))
    for _ in range(data.draw(st.integers(1, 5))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    with suppress(WireError):
        Reconciliation(mine).advance(bytes(message))
        respond(mine, bytes(message))


def test_a_peer_that_never_agrees_is_left_after_bounded_rounds() -> None:
    index = RecordIndex([(number, number.to_bytes(32, "big")) for number in range(1_000)])
    run = Reconciliation(index)
    message: bytes | None = run.initiate()
    rounds = 0
    while message is not None:
        lie = bytes([VERSION, 0, 0, 1]) + rounds.to_bytes(16, "big")
        step = run.advance(lie)
        message = step.message
        assert not step.complete
        rounds += 1
    assert rounds == SYNC_ROUNDS_MAX


def test_a_peer_that_invents_ids_is_left_after_bounded_ids() -> None:
    run = Reconciliation(RecordIndex())
    run.initiate()
    rng = random.Random(8)
    collected = 0
    message: bytes | None = b""
    while message is not None:
        # A list of invented ids up to some time, then a fingerprint that promises more.
        invented = b"".join(rng.randbytes(32) for _ in range(8_000))
        lie = bytes([VERSION, 2, 0, 2, 0x80 | 8_000 >> 7, 8_000 & 0x7F]) + invented
        lie += bytes([0, 0, 1]) + bytes(16)
        step = run.advance(lie)
        collected += len(step.need_ids)
        message = step.message
    assert SYNC_IDS_MAX <= collected < SYNC_IDS_MAX + 8_192


def test_oversized_message_is_refused_before_it_is_read() -> None:
    with pytest.raises(WireError, match="over"):
        respond(RecordIndex(), bytes([VERSION]) + bytes(SYNC_MESSAGE_BYTES_MAX))


def test_a_message_of_too_many_ranges_is_refused() -> None:
    ranges = b"".join(b"\2\0\0" for _ in range(SYNC_RANGES_MAX + 1))
    assert len(parse_message(bytes([VERSION]) + ranges[:-3])) == SYNC_RANGES_MAX
    with pytest.raises(WireError, match="more than 1024 ranges"):
        parse_message(bytes([VERSION]) + ranges)


def test_many_scattered_differences_keep_to_the_bound_on_ranges() -> None:
    rng = random.Random(5)
    keys = [(rng.randrange(1 << 40), rng.randbytes(32)) for _ in range(40_000)]
    ours, theirs = RecordIndex(keys[1_500:]), RecordIndex(keys[:-1_500])
    run = Reconciliation(ours)
    message: bytes | None = run.initiate()
    have: set[bytes] = set()
    need: set[bytes] = set()
    rounds = most = 0
    complete = False
    while message is not None:
        answer = respond(theirs, message)
        most = max(most, len(parse_message(message)), len(parse_message(answer)))
        step = run.advance(answer)
        have.update(step.have_ids)
        need.update(step.need_ids)
        message, complete = step.message, step.complete
        rounds += 1
    assert complete
    assert have == {record_id for _, record_id in keys[-1_500:]}
    assert need == {record_id for _, record_id in keys[:1_500]}
    assert 900 < most <= SYNC_RANGES_MAX
    assert rounds < 100
