"""The simulated world: a heap of events on a virtual clock, and a network that misbehaves.

It knows when things happen and who can hear whom. What nodes do is in `peer.py` and `hostile.py`;
what must hold is in `invariants.py`.
"""

import heapq
import itertools
import random
from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from protocol.envelope import open_envelope, seal
from protocol.limits_network import HELLO_TIMEOUT_S
from protocol.policy import Policy
from protocol.records import Genesis, Metric, Record, TaskRef
from tests.sim.memo import key_of
from tests.sim.plan import Plan
from tests.sim.truth import GENESIS_SOURCE, Truth

if TYPE_CHECKING:
    from tests.sim.invariants import Watcher
    from tests.sim.peer import Peer

EPOCH_MS: Final = 1_700_000_000_000
TRACE_LINES_MAX: Final = 100_000
PARTNERS_MAX: Final = 6
"""Peers to whom a node of a large swarm relays."""
EVERYBODY_MAX: Final = PARTNERS_MAX + 4
"""Nodes of a swarm in which everybody is everybody's partner."""
LOST_S: Final = 12.0 + 2 * HELLO_TIMEOUT_S
"""Time until a partner that fell silent is replaced: a real node dials another after two hellos,
each at most 12 s after the last one, stayed without an answer."""


class EndlessError(Exception):
    """A run made more events than any healthy one does."""


@dataclass
class World:
    """Everything that the nodes of one run share.

    Attributes:
        plan: What happens.
        tracing: Whether lines of the trace are kept.
        rng: The network's and the world's chance.
        now_s: Virtual time.
        good: Whether the network has become reliable.
        peers: All nodes, joiners included.
        trace: What happened, for people.
        events: Events so far.
        hidden: Scripts that their authors hand out to nobody.
        ring: Nodes that run, or whose partners have not yet noticed that they do not; ascending.
    """

    plan: Plan
    tracing: bool = False
    now_s: float = 0.0
    good: bool = False
    events: int = 0
    messages: int = 0
    peers: "list[Peer]" = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    walls: list[frozenset[int]] = field(default_factory=list)
    ring: list[int] = field(default_factory=list)
    hidden: set[bytes] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.rng = random.Random(f"world {self.plan.seed}")
        self.truth = Truth(self.plan)
        self.genesis, self.genesis_envelope = found(self.plan.policy)
        self.watcher: Watcher | None = None
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = itertools.count()

    # -- time -------------------------------------------------------------------------------------

    def after(self, delay_s: float, do: Callable[[], None]) -> None:
        """Do something later."""
        assert delay_s >= 0
        heapq.heappush(self._heap, (self.now_s + delay_s, next(self._sequence), do))

    def run_until(self, end_s: float) -> None:
        """Let time pass."""
        budget = 2_000_000
        while self._heap and self._heap[0][0] <= end_s:
            self.now_s, _, do = heapq.heappop(self._heap)
            self.events += 1
            if self.events > budget:
                raise EndlessError(f"more than {budget} events")
            do()
        self.now_s = end_s

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        if self.tracing and len(self.trace) < TRACE_LINES_MAX:
            self.trace.append(f"{self.now_s:9.3f}  {text}")

    # -- the network ------------------------------------------------------------------------------

    def connected(self, one: int, other: int) -> bool:
        """Whether two nodes can hear each other now."""
        if not (self.peers[one].up and self.peers[other].up):
            return False
        return all((one in side) == (other in side) for side in self.walls)

    def latency_s(self) -> float:
        """How long one message takes: sometimes much longer than another, so they overtake."""
        mean_s = min(self.plan.latency_s, 0.1) if self.good else self.plan.latency_s
        return 0.001 + self.rng.expovariate(1 / mean_s)

    def send(self, source: int, target: int, deliver: Callable[["Peer"], None]) -> None:
        """Hand a message to a node later, or never, or twice."""
        if not self.connected(source, target):
            return
        self.messages += 1
        copies = 1
        if not self.good:
            chance = self.rng.random()
            if chance < self.plan.loss:
                return
            if chance > 1 - self.plan.duplication:
                copies = 2
        for _ in range(copies):
            self.after(self.latency_s(), lambda: self._deliver(source, target, deliver))

    def _deliver(self, source: int, target: int, deliver: Callable[["Peer"], None]) -> None:
        if self.connected(source, target):
            deliver(self.peers[target])

    def came(self, number: int) -> None:
        """A node runs now, and has dialled its partners."""
        if number not in self.ring:
            insort(self.ring, number)

    def went(self, number: int) -> None:
        """A node runs no longer; its partners look for others once they are sure of it."""
        life = self.peers[number].life

        def noticed() -> None:
            peer = self.peers[number]
            if not peer.up and peer.life == life:
                self.ring.remove(number)

        self.after(LOST_S, noticed)

    def partners(self, number: int) -> list[int]:
        """To whom a node sends: everybody in a small swarm, a ring with chords in a large one.

        Like a real node, it has others in place of those that went.
        """
        count = len(self.ring)
        if count <= EVERYBODY_MAX:
            return [other for other in self.ring if other != number]
        place = bisect_left(self.ring, number)
        step = 1
        partners: list[int] = []
        while len(partners) < PARTNERS_MAX:
            partners += [self.ring[(place + step) % count], self.ring[(place - step) % count]]
            step *= 3
        return sorted({partner for partner in partners if partner != number})


def found(policy: Policy) -> tuple[Record, bytes]:
    """The genesis by node 0, and its envelope."""
    body = Genesis(
        name="simulated",
        task=TaskRef("simulated", bytes(32), "trusted"),
        tier="smoke",
        metric=Metric("val_bpb", "bits/byte", "min"),
        data=(),
        source=GENESIS_SOURCE,
        policy=policy,
        nonce=bytes(16),
    )
    envelope = seal(body, key=key_of(0), swarm=None, created_ms=EPOCH_MS - 1_000_000)
    return open_envelope(envelope, swarm=None), envelope
