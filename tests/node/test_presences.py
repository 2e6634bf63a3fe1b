"""Who counts as present: in a small swarm after a minute's silence, in a large one after longer."""

import random

from node.presences import ALIVE_S, Presences, presence_period_s, silence_s
from protocol.notices import Presence

SAID = Presence(
    role="agent",
    version="",
    device="",
    sandbox="",
    head=b"",
    depth=0,
    records=0,
    digest=bytes(32),
    state="idle",
    hypothesis=b"",
    progress_permille=0,
    wants_admission=False,
    addresses=(),
)


def swarm_of(count: int, seconds: float, *, first: int = 0) -> Presences:
    """What a node has heard when everybody spoke at the period of such a swarm."""
    presences = Presences()
    speak(presences, count, 0, seconds, first=first)
    return presences


def speak(presences: Presences, count: int, from_s: float, to_s: float, *, first: int = 0) -> None:
    """Let nodes speak from one time to another."""
    rng = random.Random(count)
    period_s = presence_period_s(count)
    heard = []
    for number in range(first, first + count):
        at_s = from_s + rng.uniform(0, period_s)
        while at_s < to_s:
            heard.append((at_s, number))
            at_s += period_s
    for at_s, number in sorted(heard):
        presences.take(number.to_bytes(32, "big"), SAID, round(1000 * at_s), at_s)


def test_everybody_is_there_whatever_the_size_of_the_swarm() -> None:
    for count in (3, 35, 350, 3_500):
        now_s = 3 * presence_period_s(count)
        presences = swarm_of(count, now_s)
        assert len(presences.alive(now_s)) == count, count
        # At most four a second are heard, so that presences cost the same at any size.
        assert count / presence_period_s(count) <= 4


def test_a_lost_presence_is_not_a_departure() -> None:
    count = 350
    period_s = presence_period_s(count)
    presences = swarm_of(count, 4 * period_s)
    silent = swarm_of(1, period_s, first=10_000)
    presences._heard |= silent._heard
    assert len(presences.alive(3.5 * period_s)) == count + 1


def test_who_left_a_small_swarm_is_gone_after_a_minute() -> None:
    presences = swarm_of(5, 500)
    speak(presences, 5, 900, 1_000, first=100)
    assert len(presences.alive(1_000)) == 5
    assert silence_s([1.0] * 5 + [500.0] * 5) == ALIVE_S


def test_many_who_left_do_not_stay_for_being_many() -> None:
    presences = swarm_of(3_500, 2_000)
    now_s = 20_000.0
    speak(presences, 10, now_s - 100, now_s, first=10_000)
    assert len(presences.alive(now_s)) == 10


def test_a_restart_of_the_whole_swarm_counts_up_from_those_heard_first() -> None:
    assert silence_s([]) == ALIVE_S
    period_s = presence_period_s(3_500)
    spread = [number * period_s / 3_500 for number in range(3_500)]
    assert silence_s(spread) >= period_s
