import random
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gossip.core.addresses import Address
from gossip.core.dialer import (
    BACKOFF_MAX_S,
    FAILURES_MAX,
    LOST_FACTOR,
    LOST_PERIOD_S,
    Dialer,
)
from protocol.limits_network import PEER_ADDRESSES_MAX, PEERS_KNOWN_MAX

SELF = b"\xff" * 32


def address(node: int, port: int = 1) -> Address:
    return Address(kind="ip4", host="10.0.0.1", port=port, node_id=node.to_bytes(32, "big"))


def dialer(wanted: int = 6) -> Dialer:
    return Dialer(self_id=SELF, wanted=wanted, rng=random.Random(1))


def test_never_dials_itself() -> None:
    book = dialer()
    book.learn([Address(kind="ip4", host="10.0.0.1", port=1, node_id=SELF)], bootstrap=True)
    assert len(book) == 0
    assert book.due([], 0, 0.0) == []


def test_every_address_is_tried_and_the_one_that_works_comes_first() -> None:
    book = dialer()
    places = tuple(address(1, port) for port in (1, 2, 3))
    book.learn(places)
    (attempt,) = book.due([], 0, 0.0)
    assert attempt.addresses == places
    assert book.due([], 0, 100.0) == []
    book.succeeded(attempt.node_id, places[2], 100.0)
    (again,) = book.due([], 0, 200.0)
    assert again.addresses == (places[2], places[0], places[1])


def test_backs_off_with_jitter_up_to_a_ceiling() -> None:
    book = dialer()
    book.learn([address(1)], bootstrap=True)
    now_s = 0.0
    waits = []
    for _ in range(20):
        start_s = now_s
        while not (due := book.due([], 0, now_s)):
            now_s += 0.25
        waits.append(now_s - start_s)
        book.failed(due[0].node_id, now_s)
    assert waits[0] == 0.0
    assert 1.0 <= waits[1] <= 2.25
    assert all(BACKOFF_MAX_S / 2 <= wait <= BACKOFF_MAX_S + 0.25 for wait in waits[8:])
    assert len(set(waits[8:])) > 5


def test_wants_so_many_and_no_more() -> None:
    book = dialer(wanted=6)
    book.learn(address(node) for node in range(20))
    first = book.due([], 0, 0.0)
    assert len(first) == 6
    assert book.due([], 0, 0.0) == []
    for attempt in first[:2]:
        book.failed(attempt.node_id, 0.0)
    connected = {attempt.node_id for attempt in first[2:]}
    for attempt in first[2:]:
        book.succeeded(attempt.node_id, None, 0.0)
    more = book.due(connected, len(connected), 0.0)
    assert len(more) == 2
    assert not {attempt.node_id for attempt in more} & {attempt.node_id for attempt in first}


def test_inbound_connections_do_not_count_as_enough() -> None:
    book = dialer(wanted=2)
    book.learn(address(node) for node in range(3))
    inbound = {(100 + node).to_bytes(32, "big") for node in range(50)}
    assert len(book.due(inbound, 0, 0.0)) == 2


def test_learnt_nodes_are_forgotten_and_bootstrap_nodes_are_not() -> None:
    book = dialer()
    book.learn([address(1)], bootstrap=True)
    book.learn([address(2)])
    now_s = 0.0
    for _ in range(FAILURES_MAX):
        for attempt in book.due([], 0, now_s):
            book.failed(attempt.node_id, now_s)
        now_s += 2 * BACKOFF_MAX_S
    assert [attempt.node_id for attempt in book.due([], 0, now_s)] == [address(1).node_id]
    assert len(book) == 1


def test_shares_only_what_worked() -> None:
    book = dialer()
    book.learn([address(1), address(2)])
    assert book.share(10, asker=b"") == []
    book.due([], 0, 0.0)
    book.succeeded(address(1).node_id or b"", address(1), 0.0)
    assert book.share(10, asker=b"") == [address(1)]
    assert book.share(10, asker=address(1).node_id or b"") == []


class Overlay:
    """Dialers that know each other, and who is connected to whom."""

    def __init__(self, nodes: int, wanted: int) -> None:
        places = [address(node) for node in range(nodes)]
        self.ids = [place.node_id or b"" for place in places]
        self.books = {
            node_id: Dialer(self_id=node_id, wanted=wanted, rng=random.Random(number))
            for number, node_id in enumerate(self.ids)
        }
        for book in self.books.values():
            book.learn(places)
        self.dialled: dict[bytes, set[bytes]] = {node_id: set() for node_id in self.ids}
        self.side: frozenset[bytes] = frozenset()
        self.now_s = 0.0

    def cut(self, side: frozenset[bytes]) -> None:
        """Cut one side off, and end the connections that cross; an empty side heals the cut."""
        self.side = side
        for node_id, others in self.dialled.items():
            self.dialled[node_id] = {one for one in others if self._reaches(node_id, one)}

    def _reaches(self, one: bytes, other: bytes) -> bool:
        return (one in self.side) == (other in self.side)

    def run(self, lasts_s: float) -> None:
        """Let every node dial twice a second."""
        end_s = self.now_s + lasts_s
        while self.now_s < end_s:
            self.now_s += 0.5
            for node_id, book in self.books.items():
                to_us = {one for one in self.ids if node_id in self.dialled[one]}
                mine = self.dialled[node_id]
                for attempt in book.due(mine | to_us, len(mine), self.now_s):
                    if self._reaches(node_id, attempt.node_id):
                        mine.add(attempt.node_id)
                        book.succeeded(attempt.node_id, None, self.now_s)
                    else:
                        book.failed(attempt.node_id, self.now_s)

    def crossing(self, side: frozenset[bytes]) -> int:
        """Connections between a side and the rest."""
        return sum(
            (one in side) != (other in side)
            for one, others in self.dialled.items()
            for other in others
        )


@pytest.mark.parametrize("cut_s", [30.0, 600.0])
def test_two_full_sides_of_a_cut_find_each_other_again(cut_s: float) -> None:
    overlay = Overlay(nodes=24, wanted=3)
    overlay.run(10.0)
    side = frozenset(overlay.ids[:12])
    assert overlay.crossing(side) > 10
    overlay.cut(side)
    overlay.run(cut_s)
    # Both sides have all the connections that they want.
    assert all(len(mine) >= 3 for mine in overlay.dialled.values())
    assert overlay.crossing(side) == 0
    overlay.cut(frozenset())
    overlay.run(60.0)
    assert overlay.crossing(side) >= 5
    assert all(len(mine) <= 6 for mine in overlay.dialled.values())


def test_who_has_enough_dials_lost_nodes_only_and_seldom() -> None:
    book = dialer(wanted=2)
    book.learn(address(node) for node in range(10))
    first = {attempt.node_id for attempt in book.due([], 0, 0.0)}
    for node_id in first:
        book.succeeded(node_id, None, 0.0)
    assert book.due(first, 2, 5.0) == []
    tried: list[tuple[bytes, int]] = []
    for second in range(10, 200):
        for attempt in book.due(set(), 2, float(second)):
            book.failed(attempt.node_id, float(second))
            tried.append((attempt.node_id, second))
    assert {node_id for node_id, _ in tried} == first
    seconds = [second for _, second in tried]
    assert all(b - a >= LOST_PERIOD_S for a, b in pairwise(seconds))
    assert book.due(set(), 4, 1_000.0) == []


class DialerMachine(RuleBasedStateMachine):
    """Whatever happens, in whatever order: bounded, never itself, never twice at once."""

    def __init__(self) -> None:
        super().__init__()
        self.book = dialer()
        self.now_s = 0.0
        self.dialling: set[bytes] = set()
        self.connected: set[bytes] = set()

    @rule(node=st.integers(0, 2_000), port=st.integers(1, 20), bootstrap=st.booleans())
    def learn(self, node: int, port: int, bootstrap: bool) -> None:
        self.book.learn([address(node, port)], bootstrap=bootstrap and node < 5)

    @rule(start=st.integers(0, 10**6))
    def flood(self, start: int) -> None:
        self.book.learn(address(10_000 + start + number) for number in range(PEERS_KNOWN_MAX + 9))

    @rule(wait_s=st.floats(0, 120))
    def tick(self, wait_s: float) -> None:
        self.now_s += wait_s
        for attempt in self.book.due(self.connected, len(self.connected), self.now_s):
            assert attempt.node_id != SELF
            assert attempt.node_id not in self.dialling
            assert attempt.node_id not in self.connected
            assert 0 < len(attempt.addresses) <= PEER_ADDRESSES_MAX
            self.dialling.add(attempt.node_id)
        assert len(self.dialling) + len(self.connected) <= 6 * LOST_FACTOR

    @rule(works=st.booleans(), data=st.data())
    def report(self, works: bool, data: st.DataObject) -> None:
        if not self.dialling:
            return
        node_id = data.draw(st.sampled_from(sorted(self.dialling)))
        self.dialling.discard(node_id)
        if works:
            self.connected.add(node_id)
            self.book.succeeded(node_id, None, self.now_s)
        else:
            self.book.failed(node_id, self.now_s)

    @rule()
    def hang_up(self) -> None:
        if self.connected:
            self.connected.pop()

    @invariant()
    def bounded(self) -> None:
        assert len(self.book) <= PEERS_KNOWN_MAX


TestDialerMachine = DialerMachine.TestCase
TestDialerMachine.settings = settings(max_examples=15, stateful_step_count=20)
