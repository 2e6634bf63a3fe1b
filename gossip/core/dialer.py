"""Whom to dial when: known addresses, back-off, and how many connections are enough.

Theory: for each known node the dialer keeps its addresses in the order in which they are to be
tried. `due` hands out one attempt per node at a time, an attempt being all addresses of the node
in turn; success puts the address that answered first, failure waits twice as long as the last
time, with jitter, up to a ceiling. Bootstrap nodes are never forgotten; learnt ones are when they
keep failing or the table is full. The driver reports what came of every attempt.

A node that has enough connections still dials, now and then, one of those that it has lost. Else
the two sides of a large swarm that was cut would fill up with connections of their own, and nobody
would have a reason to dial across when the cut is healed.

This file refuses to know sockets, clocks and libp2p; the clock and the random numbers are
arguments.
"""

import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from gossip.core.addresses import Address
from protocol.limits_network import PEER_ADDRESSES_MAX, PEERS_KNOWN_MAX

BACKOFF_FIRST_S: Final = 1.0
BACKOFF_MAX_S: Final = 60.0
"""A node that was away is found again within about a minute."""

FAILURES_MAX: Final = 8
"""A learnt node that failed so often in a row is forgotten, if it never worked."""

LOST_FAILURES_MAX: Final = 100
"""And one that once worked, after more than an hour: it may be behind a cut."""

LOST_PERIOD_S: Final = 10.0
"""Least time between two attempts at lost nodes by a node that has enough connections."""

LOST_FACTOR: Final = 2
"""With this many times the connections that it wants, it has no use for what it lost."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Dial this node at these addresses, one after the other, until one answers."""

    node_id: bytes
    addresses: tuple[Address, ...]


@dataclass(slots=True)
class _Node:
    addresses: list[Address] = field(default_factory=list)
    bootstrap: bool = False
    worked: bool = False
    failures: int = 0
    due_s: float = 0.0
    dialling: bool = False


class Dialer:
    """The address book and its back-off."""

    def __init__(self, *, self_id: bytes, wanted: int, rng: random.Random) -> None:
        assert wanted > 0
        self._self_id = self_id
        self._wanted = wanted
        self._rng = rng
        self._nodes: dict[bytes, _Node] = {}
        self._lost_due_s = 0.0

    def __len__(self) -> int:
        return len(self._nodes)

    def learn(self, addresses: Iterable[Address], *, bootstrap: bool = False) -> None:
        """Note where nodes listen; our own address is passed over.

        Args:
            addresses: Dialable addresses with their node ids.
            bootstrap: Whether the operator named them.
        """
        for address in addresses:
            assert address.node_id is not None
            if address.node_id == self._self_id:
                continue
            node = self._nodes.get(address.node_id)
            if node is None:
                if len(self._nodes) >= PEERS_KNOWN_MAX and not self._make_room():
                    continue
                node = self._nodes[address.node_id] = _Node()
            node.bootstrap = node.bootstrap or bootstrap
            if address in node.addresses:
                continue
            if len(node.addresses) >= PEER_ADDRESSES_MAX:
                # The last address is the one that has gone longest without success.
                node.addresses.pop()
            node.addresses.append(address)

    def due(self, connected: Collection[bytes], dialled: int, now_s: float) -> list[Attempt]:
        """Attempts to start now; report each with `succeeded` or `failed`.

        Args:
            connected: Ids of the nodes with a live connection; they are not dialled.
            dialled: How many good connections we have made ourselves.
            now_s: The driver's clock in seconds.
        """
        under_way = sum(node.dialling for node in self._nodes.values())
        missing = self._wanted - dialled - under_way
        candidates = [
            (not node.bootstrap, node.failures, self._rng.random(), node_id)
            for node_id, node in self._nodes.items()
            if not node.dialling and node.due_s <= now_s and node_id not in connected
        ]
        chosen = [node_id for _, _, _, node_id in sorted(candidates)[: max(0, missing)]]
        if missing <= 0 and dialled + under_way < LOST_FACTOR * self._wanted:
            lost = [node_id for _, _, _, node_id in candidates if self._nodes[node_id].worked]
            chosen = self._one_lost(lost, now_s)
        attempts = []
        for node_id in chosen:
            node = self._nodes[node_id]
            node.dialling = True
            attempts.append(Attempt(node_id, tuple(node.addresses)))
        return attempts

    def _one_lost(self, lost: list[bytes], now_s: float) -> list[bytes]:
        """One of the nodes that were lost, or none when the last attempt is too recent."""
        if not lost or now_s < self._lost_due_s:
            return []
        self._lost_due_s = now_s + LOST_PERIOD_S * self._rng.uniform(1.0, 1.5)
        return [self._rng.choice(lost)]

    def succeeded(self, node_id: bytes, address: Address | None, now_s: float) -> None:
        """A node answered; the address that worked is tried first from now on."""
        node = self._nodes.get(node_id)
        if node is None:
            return
        node.dialling = False
        node.worked = True
        node.failures = 0
        # Should the connection break at once, the next attempt still waits a moment.
        node.due_s = now_s + BACKOFF_FIRST_S
        if address is not None and address in node.addresses:
            node.addresses.remove(address)
            node.addresses.insert(0, address)

    def failed(self, node_id: bytes, now_s: float) -> None:
        """No address of a node answered."""
        node = self._nodes.get(node_id)
        if node is None:
            return
        node.dialling = False
        node.failures += 1
        failures_max = LOST_FAILURES_MAX if node.worked else FAILURES_MAX
        if node.failures >= failures_max and not node.bootstrap:
            del self._nodes[node_id]
            return
        ceiling_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(node.failures, 16))
        node.due_s = now_s + ceiling_s * self._rng.uniform(0.5, 1.0)

    def forget(self, node_id: bytes) -> None:
        """Drop a node for good: it belongs to another swarm, or is banned."""
        self._nodes.pop(node_id, None)

    def share(self, count: int, *, asker: bytes) -> list[Address]:
        """Addresses that worked, or that the operator named, for a peer that asks."""
        good = [
            node.addresses[0]
            for node_id, node in self._nodes.items()
            if node_id != asker
            and (node.worked or node.bootstrap)
            and node.failures == 0
            and node.addresses
        ]
        self._rng.shuffle(good)
        return good[:count]

    def _make_room(self) -> bool:
        """Forget the worst node that nobody named and nobody is dialling."""
        candidates = [
            (node.failures, self._rng.random(), node_id)
            for node_id, node in self._nodes.items()
            if not node.bootstrap and not node.dialling
        ]
        if not candidates:
            return False
        del self._nodes[max(candidates)[2]]
        return True
