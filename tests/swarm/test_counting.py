"""Which trials count: rounds of seats, and what taking over one does."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from protocol.ids import rendezvous
from protocol.policy import DEMO
from protocol.records import Trial
from swarm.counting import counted_pairs, would_count
from swarm.verdict import conclude
from tests.swarm.helpers import BITS_PER_BYTE, PARENT_MICRO, TAU, arm, digest

HYPOTHESIS = digest("hypothesis")
POLICY = replace(DEMO, max_verifiers=3, cap_pairs=12)
MEMBERS = sorted(
    (digest(f"member {number}") for number in range(9)),
    key=lambda key: rendezvous(HYPOTHESIS, key),
)


def trial(pair: int, gain_micro: int) -> Trial:
    return Trial(
        hypothesis=HYPOTHESIS,
        purpose="verify",
        pair=pair,
        seed=0,
        seed_proof=bytes(64),
        parent=arm(PARENT_MICRO),
        child=arm(PARENT_MICRO - gain_micro),
        genesis_cpu_ms=5_500,
        genesis_wall_ms=6_000,
        genesis_memory_kib=300_000,
        genesis_tokens=300_000,
        device="",
        runtime="",
    )


def evidence_of(
    counts: Sequence[int], gain_micro: int = TAU
) -> dict[bytes, dict[int, tuple[bytes, Trial]]]:
    """That many pairs by each member, in rendezvous order."""
    return {
        MEMBERS[place]: {
            pair: (digest(f"trial {place} {pair}"), trial(pair, gain_micro))
            for pair in range(count)
        }
        for place, count in enumerate(counts)
    }


def order_of(counts: Sequence[int]) -> list[tuple[int, int]]:
    """The counted pairs as (place of the verifier, place of the seat)."""
    pairs = counted_pairs(HYPOTHESIS, evidence_of(counts), metric=BITS_PER_BYTE, policy=POLICY)
    return [(MEMBERS.index(pair.verifier), MEMBERS.index(pair.seat)) for pair in pairs]


def test_the_first_round_comes_first_and_takes_turns() -> None:
    assert order_of([2, 1, 3]) == [(0, 0), (1, 1), (2, 2), (0, 0), (2, 2), (2, 2)]


def test_who_takes_over_comes_behind_and_sits_on_a_seat_that_it_did_not_choose() -> None:
    assert order_of([1, 1, 1, 2, 0, 1]) == [
        (0, 0), (1, 1), (2, 2), (3, 0), (5, 1), (3, 0),
    ]  # fmt: skip


def test_the_cap_cuts_the_last_round() -> None:
    assert order_of([4, 4, 4, 4]) == [(place, place) for _ in range(4) for place in range(3)]


def test_a_gap_ends_what_counts() -> None:
    evidence = evidence_of([4])
    del evidence[MEMBERS[0]][1]
    pairs = counted_pairs(HYPOTHESIS, evidence, metric=BITS_PER_BYTE, policy=POLICY)
    assert [pair.trial for pair in pairs] == [digest("trial 0 0")]


@given(st.lists(st.integers(0, 5), min_size=9, max_size=9), st.integers(0, 8))
def test_a_pair_would_count_exactly_when_it_does_once_it_is_there(
    counts: list[int], place: int
) -> None:
    verifier = MEMBERS[place]
    foreseen = would_count(
        HYPOTHESIS, evidence_of(counts), verifier=verifier, pair=counts[place], policy=POLICY
    )
    after = [count + (number == place) for number, count in enumerate(counts)]
    pairs = counted_pairs(HYPOTHESIS, evidence_of(after), metric=BITS_PER_BYTE, policy=POLICY)
    assert foreseen == (digest(f"trial {place} {counts[place]}") in {one.trial for one in pairs})


@given(st.lists(st.integers(0, 5), min_size=9, max_size=9))
def test_somebody_can_always_go_on_until_the_cap_is_full(counts: list[int]) -> None:
    pairs = counted_pairs(HYPOTHESIS, evidence_of(counts), metric=BITS_PER_BYTE, policy=POLICY)
    if len(pairs) == POLICY.cap_pairs:
        return
    for place, count in enumerate(counts):
        assert would_count(
            HYPOTHESIS,
            evidence_of(counts),
            verifier=MEMBERS[place],
            pair=count,
            policy=POLICY,
        ), "whoever is left can decide it"


def test_liars_in_one_seat_are_left_out_together() -> None:
    policy = replace(DEMO, liars=1, min_verifiers=1, max_verifiers=3, cap_pairs=24)
    evidence = evidence_of([4, 4, 4, 4], 8 * TAU)
    honest = counted_pairs(HYPOTHESIS, evidence, metric=BITS_PER_BYTE, policy=policy)
    lies = evidence_of([4, 0, 0, 4], -100 * TAU)
    evidence |= {MEMBERS[place]: lies[MEMBERS[place]] for place in (0, 3)}
    lied = counted_pairs(HYPOTHESIS, evidence, metric=BITS_PER_BYTE, policy=policy)
    assert {pair.seat for pair in lied} == set(MEMBERS[:3])
    assert {pair.seat for pair in lied if pair.verifier == MEMBERS[3]} == {MEMBERS[0]}
    assert conclude(honest, policy, 1).status == "verified"
    assert conclude(lied, policy, 1).status != "refuted"
