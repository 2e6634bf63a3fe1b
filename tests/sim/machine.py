"""The machine under one simulated node: its disk, its door and its gossip.

What is simulated is the disk (a write takes a moment, and a crash loses it) and the network. Which
records enter, what is reconciled and relayed, is decided by the code that real nodes run. What the
node does with what it knows is in `peer.py`.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gossip.core.bundles import Bundler, OutEvent, Publish, SendBundle, SetTimer, TimerFired
from gossip.core.rates import SeenCache
from gossip.core.reconcile import Reconciliation, respond
from node.door import Disposition, Door, Judged, Row
from protocol.envelope import peek_id, seal
from protocol.records import Body
from swarm.events import Event, HeadChanged
from swarm.ledger import Ledger
from tests.sim.memo import key_of, unpack
from tests.sim.world import EPOCH_MS, World

if TYPE_CHECKING:
    from tests.sim.peer import Peer

DISK_S: Final = 0.01
SYNC_S: Final = 5.0
BATCH_MAX: Final = 256
SETTLED_S: Final = 60.0

Done = Callable[[Disposition], None]


@dataclass
class _Request:
    envelope: bytes
    local: bool
    done: Done


class Machine:
    """The part of a node that keeps records and passes them on.

    Attributes:
        up: Whether it runs.
        gone: Whether it will never run again.
        life: How often it has started.
        acknowledged: Ids of which it has said that they are durable.
        door: Its ledger and the checks before it; built anew at every start.
    """

    honest = True

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.key = key_of(number)
        self.rng = random.Random(f"peer {world.plan.seed} {number}")
        self.up = False
        self.gone = False
        self.acknowledged: set[bytes] = set()
        self.disk: dict[bytes, bytes] = {}
        skew_s = world.plan.skew_s
        self._skew_ms = round(1000 * self.rng.uniform(-skew_s, skew_s))
        self.head_changes: list[tuple[float, HeadChanged]] = []
        self.life = 0

    # -- start and end ----------------------------------------------------------------------------

    def start(self) -> None:
        """Start, from what the disk has."""
        assert not self.up
        self.up = True
        self.life += 1
        self.world.came(self.number)
        self.door = Door(self.world.genesis, self.disk.values())
        self.bundler = Bundler()
        self.seen = SeenCache()
        self.settled = SeenCache(keep_s=SETTLED_S)
        self._queue: list[_Request] = []
        self._writing = False
        self._later(self.rng.uniform(0, SYNC_S), self._reconcile)

    def stop(self, *, torn: bool = False) -> None:
        """End at once; what was not yet written is lost, unless the disk was just done with it."""
        self.up = False
        self.world.went(self.number)
        if torn and self._pending and self.rng.random() < 0.5:
            self._write(self._pending)
        self._pending: tuple[Row, ...] = ()

    _pending: tuple[Row, ...] = ()
    _writing = False

    @property
    def is_writing(self) -> bool:
        """Whether the disk is at work."""
        return self.up and self._writing

    def _later(self, delay_s: float, do: Callable[[], None]) -> None:
        """Do something later, unless the node has stopped by then."""
        life = self.life

        def alive() -> None:
            if self.up and self.life == life:
                do()

        self.world.after(delay_s, alive)

    @property
    def ledger(self) -> Ledger:
        """The state now."""
        return self.door.ledger

    @property
    def me(self) -> bytes:
        """This node's key."""
        return self.key.public

    def now_ms(self) -> int:
        """This node's wall clock, which may be wrong."""
        return EPOCH_MS + round(1000 * self.world.now_s) + self._skew_ms

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        if self.world.tracing:
            self.world.note(f"node {self.number:<3} {text}")

    # -- the door ---------------------------------------------------------------------------------

    def submit(self, envelope: bytes, done: Done, *, local: bool = False) -> None:
        """Bring a record in; `done` hears what became of it once it is durable."""
        answer = self.door.at_once(envelope)
        if answer is not None:
            done(answer)
            return
        self._queue.append(_Request(envelope, local, done))
        self._pump()

    def _pump(self) -> None:
        if self._writing or not self._queue:
            return
        batch, self._queue = self._queue[:BATCH_MAX], self._queue[BATCH_MAX:]
        judged = [
            self.door.judge(request.envelope, local=request.local, now_s=self.world.now_s)
            for request in batch
        ]
        rows = tuple(row for one in judged for row in one.rows)
        if not rows:
            self._answer(batch, judged)
            self._pump()
            return
        self._writing = True
        self._pending = rows
        self._later(DISK_S, lambda: self._written(batch, judged, rows))

    def _write(self, rows: Sequence[Row]) -> None:
        for identity, _, envelope in rows:
            self.disk.setdefault(identity, envelope)

    def _written(
        self, batch: Sequence[_Request], judged: Sequence[Judged], rows: Sequence[Row]
    ) -> None:
        self._write(rows)
        self._writing = False
        self._pending = ()
        self.door.settle(rows)
        self.acknowledged.update(identity for identity, _, _ in rows)
        self._answer(batch, judged)
        events = [event for one in judged for event in one.events]
        if events:
            self._on_events(events)
        self._pump()

    def _answer(self, batch: Sequence[_Request], judged: Sequence[Judged]) -> None:
        for request, one in zip(batch, judged, strict=True):
            request.done(one.disposition)

    def _on_events(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, HeadChanged):
                self.head_changes.append((self.world.now_s, event))
                back = ", rolled back" if event.rolled_back else ""
                self.note(f"head is {event.after.hex()[:6]}{back}")
        self.on_change()

    def on_change(self) -> None:
        """React to what has changed in the ledger."""

    # -- gossip -----------------------------------------------------------------------------------

    def publish(self, body: Body, *, aloud: bool = True) -> bytes:
        """Sign a record, make it durable, and only then tell others, or let them find it."""
        created_ms = self.now_ms()
        envelope = seal(body, key=self.key, swarm=self.ledger.swarm, created_ms=created_ms)

        def done(disposition: Disposition) -> None:
            assert disposition != "rejected", "an honest node's own record was rejected"
            if aloud:
                self._perform(self.bundler.handle(Publish(envelope), self.world.now_s))

        self.submit(envelope, done, local=True)
        return peek_id(envelope)

    def _perform(self, events: Sequence[OutEvent]) -> None:
        for event in events:
            match event:
                case SendBundle(data):
                    self.relay(data, None)
                case SetTimer(at_s):
                    self._later(
                        at_s - self.world.now_s,
                        lambda: self._perform(self.bundler.handle(TimerFired(), self.world.now_s)),
                    )

    def relay(self, data: bytes, source: int | None) -> None:
        """Send a bundle on."""
        self.seen.add(data, self.world.now_s)
        for partner in self.world.partners(self.number):
            if partner != source:
                self.world.send(
                    self.number, partner, lambda peer: peer.on_bundle(data, self.number)
                )

    def on_bundle(self, data: bytes, source: int) -> None:
        """Take in what a partner sent, and relay it when nothing in it was wrong."""
        if not self.seen.add(data, self.world.now_s):
            return
        envelopes = unpack(data)
        answers: list[Disposition] = []

        def done(disposition: Disposition) -> None:
            answers.append(disposition)
            if len(answers) == len(envelopes) and "rejected" not in answers:
                self.relay(data, source)

        for envelope in envelopes:
            self.submit(envelope, done)

    def _reconcile(self) -> None:
        """Compare the set of records with one partner's, in rounds that take time."""
        self._later(self.rng.uniform(0.5, 1.5) * SYNC_S, self._reconcile)
        candidates = [
            number
            for number in self.world.partners(self.number)
            if self.world.connected(self.number, number)
        ]
        if not candidates:
            return
        peer = self.world.peers[self.rng.choice(candidates)]
        if peer.door.index.digest() == self.door.index.digest():
            return
        size = self.world.plan.sync_bytes_max
        run = Reconciliation(self.door.index, message_bytes_max=size)
        self._ask(peer, run, run.initiate())

    def _ask(self, peer: "Peer", run: Reconciliation, message: bytes) -> None:
        life = peer.life

        def answer() -> None:
            if not peer.up or peer.life != life:
                return
            if not self.world.connected(self.number, peer.number):
                return
            size = self.world.plan.sync_bytes_max
            step = run.advance(respond(peer.door.index, message, message_bytes_max=size))
            self._take(peer.envelopes(step.need_ids))
            peer._take(self.envelopes(step.have_ids))
            if step.message is not None:
                self._ask(peer, run, step.message)

        self._later(2 * self.world.latency_s(), answer)

    def envelopes(self, ids: Sequence[bytes]) -> list[bytes]:
        """Those records that the disk has."""
        return [self.disk[identity] for identity in ids if identity in self.disk]

    def _take(self, envelopes: Sequence[bytes]) -> None:
        for envelope in envelopes:
            identity = peek_id(envelope)
            if self.settled.has(identity, self.world.now_s):
                continue

            def done(disposition: Disposition, identity: bytes = identity) -> None:
                if disposition in {"held", "rejected"}:
                    self.settled.add(identity, self.world.now_s)

            self.submit(envelope, done)
