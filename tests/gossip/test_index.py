import hashlib
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.core.index import FIRST, INFINITY, RecordIndex

Item = tuple[int, bytes]

keys = st.tuples(
    st.integers(min_value=0, max_value=40),
    st.integers(min_value=0, max_value=2**256 - 1).map(lambda number: number.to_bytes(32, "big")),
)


def plain_fingerprint(items: list[Item]) -> bytes:
    """The definition, without any of the index's short cuts."""
    assert len(items) < 128
    total = sum(int.from_bytes(record_id, "little") for _, record_id in items) % 2**256
    return hashlib.sha256(total.to_bytes(32, "little") + bytes([len(items)])).digest()[:16]


@given(st.lists(keys, max_size=120), keys)
def test_agrees_with_a_sorted_list(items: list[Item], probe: tuple[int, bytes]) -> None:
    index = RecordIndex()
    plain: set[Item] = set()
    for item in items:
        assert index.insert(*item) == (item not in plain)
        plain.add(item)
    ordered = sorted(plain)
    assert list(index) == ordered
    assert len(index) == len(ordered)
    assert (probe in index) == (probe in plain)
    assert index.position(probe) == sum(item < probe for item in ordered)
    assert index.position(FIRST) == 0
    assert index.position(INFINITY) == len(ordered)
    for low in range(0, len(ordered) + 1, 7):
        for high in range(low, len(ordered) + 1, 5):
            assert index.fingerprint(low, high) == plain_fingerprint(ordered[low:high])
            assert list(index.between(low, high)) == ordered[low:high]


@settings(max_examples=8)
@given(st.integers(min_value=0, max_value=2**32))
def test_blocks_split_and_sums_stay_right(seed: int) -> None:
    rng = random.Random(seed)
    items = [(rng.randrange(10**6), rng.randbytes(32)) for _ in range(3_000)]
    grown = RecordIndex(items[:1_000])
    for item in items[1_000:]:
        grown.insert(*item)
        if rng.random() < 0.01:
            low = rng.randrange(len(grown))
            grown.fingerprint(low, len(grown))
    built = RecordIndex(items)
    assert list(grown) == list(built) == sorted(items)
    for _ in range(50):
        low, high = sorted(rng.randrange(3_001) for _ in range(2))
        assert grown.fingerprint(low, high) == built.fingerprint(low, high)
        assert low == high or grown.at(low) == sorted(items)[low]


def test_digest_names_the_set_not_the_order() -> None:
    items = [(number, number.to_bytes(32, "big")) for number in range(1_000)]
    backwards = RecordIndex()
    for item in reversed(items):
        backwards.insert(*item)
    assert backwards.digest() == RecordIndex(items).digest()
    assert backwards.copy().digest() == backwards.digest()
    assert RecordIndex(items[1:]).digest() != backwards.digest()
