from hypothesis import given
from hypothesis import strategies as st

from gossip.core.rates import (
    BAN_S,
    FAULT_FRAME,
    FAULT_RECORD,
    FORGIVEN_PER_S,
    SeenCache,
    Standings,
    TokenBuckets,
)


@given(
    st.lists(st.tuples(st.floats(0, 5), st.floats(0.1, 30)), min_size=1, max_size=60),
)
def test_no_more_than_burst_and_rate_is_ever_granted(steps: list[tuple[float, float]]) -> None:
    buckets = TokenBuckets(rate_per_s=3.0, burst=20.0)
    now_s = granted = 0.0
    for wait_s, amount in steps:
        now_s += wait_s
        if buckets.take(b"peer", amount, now_s):
            granted += amount
    assert granted <= 20.0 + 3.0 * now_s + 1e-6


def test_bucket_refills_and_keys_are_apart() -> None:
    buckets = TokenBuckets(rate_per_s=1.0, burst=2.0)
    assert buckets.take(b"a", 2.0, 0.0)
    assert not buckets.take(b"a", 1.0, 0.5)
    assert buckets.take(b"b", 1.0, 0.5)
    assert buckets.take(b"a", 1.0, 1.0)
    # A clock that steps back neither grants nor breaks anything.
    assert not buckets.take(b"a", 1.0, -50.0)
    assert buckets.take(b"a", 1.0, 2.0)


def test_buckets_are_bounded_and_the_longest_unused_goes() -> None:
    buckets = TokenBuckets(rate_per_s=1e-9, burst=1.0, count_max=3)
    for key in (b"a", b"b", b"c"):
        assert buckets.take(key, 1.0, 0.0)
    assert not buckets.take(b"a", 1.0, 0.0)
    assert buckets.take(b"d", 1.0, 0.0)
    assert len(buckets) == 3
    assert not buckets.take(b"a", 1.0, 0.0)


def test_seen_cache_forgets_by_age_and_by_number() -> None:
    seen = SeenCache(count_max=3, keep_s=10.0)
    assert seen.add(b"a", 0.0)
    assert not seen.add(b"a", 9.0)
    assert seen.has(b"a", 9.9)
    assert not seen.has(b"a", 10.0)
    assert seen.add(b"a", 10.0)
    for key in (b"b", b"c", b"d", b"e"):
        seen.add(key, 11.0)
        assert len(seen) <= 3
    assert not seen.has(b"a", 11.0)
    assert seen.has(b"e", 11.0)


def test_faults_add_up_to_a_ban_that_ends() -> None:
    standings = Standings()
    bans = [standings.fault(b"p", FAULT_FRAME, float(second)) for second in range(5)]
    assert bans == [False, False, False, False, True]
    assert standings.banned(b"p", 4.0)
    assert standings.banned(b"p", 4.0 + BAN_S - 1)
    assert not standings.banned(b"p", 4.0 + BAN_S)
    assert not standings.banned(b"q", 4.0)


def test_rare_faults_are_forgiven() -> None:
    standings = Standings()
    pause_s = FAULT_RECORD / FORGIVEN_PER_S
    assert not any(standings.fault(b"p", FAULT_RECORD, n * pause_s) for n in range(1_000))


def test_standings_are_bounded() -> None:
    standings = Standings(count_max=10)
    for number in range(100):
        standings.fault(number.to_bytes(2, "big"), 1.0, 0.0)
    assert len(standings) == 10
