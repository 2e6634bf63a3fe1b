"""One simulated node: the node's own door, duties, claims and scheduling over a simulated machine.

What is simulated is the disk (a write takes a moment, and a crash loses it), the workers (a run
takes virtual time and measures the truth plus noise) and the network. What is decided is decided
by the code that real nodes run.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from gossip.core.bundles import Bundler, OutEvent, Publish, SendBundle, SetTimer, TimerFired
from gossip.core.rates import SeenCache
from gossip.core.reconcile import Reconciliation, respond
from node.claims import Claims
from node.door import Disposition, Door, Judged, Row
from node.duties import AdmitDuty, MergeDuty, screens_enough, share_allows
from node.presences import Presences, presence_period_s
from protocol.envelope import peek_id, seal
from protocol.ids import seed_from_proof
from protocol.notices import Claim, Presence
from protocol.records import Body, Hypothesis, Origin, Purpose, Trial
from swarm.events import Event, HeadChanged
from swarm.ledger import Ledger
from swarm.memory import experiences
from swarm.verification import Leases, VerificationTask, is_wanted, next_verification
from tests.sim.memo import key_of, unpack
from tests.sim.truth import arm
from tests.sim.world import EPOCH_MS, World

DISK_S: Final = 0.01
IDLE_S: Final = 5.0
GLANCE_S: Final = 0.3
"""How long an idle worker lets changes gather before it looks for work."""
SYNC_S: Final = 5.0
CLAIM_LEASE_S: Final = 300
BATCH_MAX: Final = 256
SETTLED_S: Final = 60.0

Done = Callable[[Disposition], None]


@dataclass(eq=False)
class Job:
    """What a worker does, and whether it is still useful."""

    kind: str
    useful: Callable[[], bool]
    finish: Callable[[], None]
    began_s: float
    slot: tuple[bytes, int] | None = None


@dataclass
class _Request:
    envelope: bytes
    local: bool
    done: Done


class Peer:
    """One node.

    Attributes:
        up: Whether it runs.
        gone: Whether it will never run again.
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
        self.exploring = True
        self.acknowledged: set[bytes] = set()
        self.disk: dict[bytes, bytes] = {}
        skew_s = world.plan.skew_s
        self._skew_ms = round(1000 * self.rng.uniform(-skew_s, skew_s))
        self.arm_s = self.rng.uniform(2.0, 6.0)
        self.head_changes: list[tuple[float, HeadChanged]] = []
        self._life = 0

    # -- start and end ----------------------------------------------------------------------------

    def start(self) -> None:
        """Start, from what the disk has."""
        assert not self.up
        self.up = True
        self._life += 1
        self.door = Door(self.world.genesis, self.disk.values())
        self.claims = Claims()
        self.presences = Presences()
        self.bundler = Bundler()
        self.seen = SeenCache()
        self.settled = SeenCache(keep_s=SETTLED_S)
        self.merging = MergeDuty()
        self.leases = Leases()
        self.admitting = AdmitDuty()
        self.jobs: list[Job] = []
        self._busy_s = {"verifying": 0.0, "screening": 0.0}
        self._queue: list[_Request] = []
        self._writing = False
        self._looking = False
        self._keeping_house = False
        self._later(self.rng.uniform(0, 1), self._say_present)
        self._later(self.rng.uniform(0, SYNC_S), self._reconcile)
        self._later(self.rng.uniform(0, 1), self._idle)

    def stop(self, *, torn: bool = False) -> None:
        """End at once; what was not yet written is lost, unless the disk was just done with it."""
        self.up = False
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
        life = self._life

        def alive() -> None:
            if self.up and self._life == life:
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
        self._look_again()
        self._keep_house()

    # -- gossip -----------------------------------------------------------------------------------

    def publish(self, body: Body) -> bytes:
        """Sign a record, make it durable, and only then tell others."""
        created_ms = self.now_ms()
        envelope = seal(body, key=self.key, swarm=self.ledger.swarm, created_ms=created_ms)

        def done(disposition: Disposition) -> None:
            assert disposition != "rejected", "an honest node's own record was rejected"
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
        life = peer._life

        def answer() -> None:
            if not peer.up or peer._life != life:
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

    # -- stewardship ------------------------------------------------------------------------------

    def _say_present(self) -> None:
        presence = Presence(
            role="agent",
            version="sim",
            device="sim",
            sandbox="sim",
            head=b"",
            depth=0,
            records=len(self.ledger),
            digest=bytes(32),
            state="idle",
            hypothesis=b"",
            progress_permille=0,
            wants_admission=not self.ledger.is_member(self.me),
            addresses=(),
        )
        created_ms = self.now_ms()
        for number in range(len(self.world.peers)):
            if number != self.number:
                self.world.send(
                    self.number,
                    number,
                    lambda peer: peer.on_presence(self.me, presence, created_ms),
                )
        alive = self.presences.alive(self.world.now_s)
        asking = [author for author, heard in alive.items() if heard.presence.wants_admission]
        for admit in self.admitting.due(self.ledger, self.me, asking, self.world.now_s):
            self.publish(admit)
        self._later(2 * presence_period_s(len(alive)), self._say_present)

    def on_presence(self, author: bytes, presence: Presence, created_ms: int) -> None:
        """Note that a peer is there."""
        self.presences.take(author, presence, created_ms, self.world.now_s)

    def _keep_house(self) -> None:
        if not self._keeping_house:
            self._keeping_house = True
            self._later(0.0, self._merge)

    def _merge(self) -> None:
        self._keeping_house = False
        now_s = self.world.now_s
        alive = self.presences.alive(now_s)
        merges, waiting = self.merging.due(self.ledger, self.me, alive, now_s)
        for merge in merges:
            self.note(f"merges {merge.hypothesis.hex()[:6]}")
            self.publish(merge)
        if waiting:
            self._keeping_house = True
            self._later(0.5, self._merge)

    # -- research ---------------------------------------------------------------------------------

    def _idle(self) -> None:
        self._look_again()
        self._later(IDLE_S, self._idle)

    def _look_again(self) -> None:
        """Drop what has become pointless, and look for work."""
        for job in [job for job in self.jobs if not job.useful()]:
            self._end(job)
        if not self._looking and len(self.jobs) < self.world.plan.workers:
            self._looking = True
            self._later(GLANCE_S, self._work)

    def _work(self) -> None:
        self._looking = False
        while len(self.jobs) < self.world.plan.workers:
            if not self._step():
                return

    def _step(self) -> bool:
        """Begin one piece of work; False when there is none."""
        share_permille = self.ledger.policy.verify_share_permille
        alive = frozenset(self.presences.alive(self.world.now_s))
        busy_s = self._busy_s
        if not self.exploring or share_allows(
            busy_s["verifying"], busy_s["screening"], share_permille
        ):
            task = self._next_verification(alive)
            if task is not None:
                self._verify(task)
                return True
        if self.exploring and self._explore():
            return True
        task = self._next_verification(alive, quiet=True)
        if task is not None:
            self._verify(task)
        return task is not None

    def _next_verification(
        self, alive: frozenset[bytes], *, quiet: bool = False
    ) -> VerificationTask | None:
        return next_verification(
            self.ledger,
            self.me,
            alive=alive,
            leases=self.leases,
            now_s=self.world.now_s,
            running=frozenset(job.slot for job in self.jobs if job.slot is not None),
            quiet=quiet,
        )

    def _begin(
        self,
        kind: str,
        useful: Callable[[], bool],
        finish: Callable[[], None],
        slot: tuple[bytes, int] | None = None,
        arms: int = 1,
    ) -> None:
        job = Job(kind, useful, finish, self.world.now_s, slot)
        self.jobs.append(job)

        def over() -> None:
            if job in self.jobs:
                self._end(job)
                finish()
                self._look_again()

        self._later(arms * self.arm_s * self.rng.uniform(0.9, 1.1), over)

    def _end(self, job: Job) -> None:
        self.jobs.remove(job)
        self._busy_s[job.kind] += self.world.now_s - job.began_s

    def _verify(self, task: VerificationTask) -> None:
        def finish() -> None:
            self.publish(self.trial(task.hypothesis, "verify", task.pair))

        self._begin(
            "verifying",
            lambda: is_wanted(self.ledger, self.me, task),
            finish,
            (task.hypothesis, task.pair),
            arms=2,
        )

    def trial(self, hypothesis: bytes, purpose: Purpose, pair: int) -> Trial:
        """Run a pair, and write what came of it."""
        body = self.ledger.hypothesis(hypothesis).body
        parent = self.ledger.entries.get(body.parents[0])
        source = self.ledger.root.source if parent is None else parent.source
        proof = b"" if purpose == "screen" else self.key.prove_seed(hypothesis, pair)
        seed = self._own_seed(pair) if purpose == "screen" else seed_from_proof(proof)
        before, after = self.outcome(hypothesis, purpose, source, body.source, seed)
        if self.world.tracing:
            gain = "crash" if after is None or before is None else f"{(before - after) / 1e6:+.4f}"
            self.note(f"{purpose} {hypothesis.hex()[:6]} pair {pair}: {gain}")
        return Trial(
            hypothesis=hypothesis,
            purpose=purpose,
            pair=pair,
            seed=seed,
            seed_proof=proof,
            parent=arm(before, self.rng),
            child=arm(after, self.rng),
            genesis_cpu_ms=5_500,
            genesis_wall_ms=6_000,
            genesis_memory_kib=300_000,
            genesis_tokens=300_000,
            device="sim",
            runtime="sim",
        )

    def outcome(
        self, hypothesis: bytes, purpose: Purpose, parent: bytes, child: bytes, seed: int
    ) -> tuple[int | None, int | None]:
        """The metrics of both arms of a pair; hostile nodes make theirs up."""
        truth = self.world.truth
        return truth.measure(parent, seed), truth.measure(child, seed)

    def _own_seed(self, number: int) -> int:
        return int.from_bytes(self.me[:7], "big") + number

    def _explore(self) -> bool:
        """Screen a change to the head that nobody has tried or claimed."""
        head = self.ledger.head
        now_s = self.world.now_s
        tried = {item.source for item in experiences(self.ledger) if item.parent == head.id}
        claimed = self.claims.on(head.id, now_s)
        have = self.world.truth.changes(head.source)
        ideas = [
            (change, source)
            for change in range(len(self.world.plan.effects_micro))
            if change not in have
            and (source := self.world.truth.with_change(head.source, change)) not in tried
            and source not in claimed
        ]
        if not ideas:
            return False
        change, source = self.rng.choice(ideas)
        claim = Claim(head.id, source, CLAIM_LEASE_S)
        self.claims.take(claim, self.me, now_s)
        for number in range(len(self.world.peers)):
            if number != self.number:
                self.world.send(self.number, number, lambda peer: peer.on_claim(claim, self.me))
        self._screen(head.id, source, change, [])
        return True

    def on_claim(self, claim: Claim, author: bytes) -> None:
        """Note what a peer runs."""
        self.claims.take(claim, author, self.world.now_s)
        self._look_again()

    def _screen(self, head: bytes, source: bytes, change: int, gains: list[int | None]) -> None:
        def useful() -> bool:
            holder = self.claims.holder(head, source, self.world.now_s)
            return self.ledger.head.id == head and holder in {None, self.me}

        def finish() -> None:
            seed = self._own_seed(len(gains))
            entry = self.ledger.entries[head]
            before, after = self.outcome(b"", "screen", entry.source, source, seed)
            gains.append(None if before is None or after is None else before - after)
            if screens_enough(gains, self.ledger.policy.tau_micro):
                self._publish_idea(head, source, change, len(gains))
            else:
                self._screen(head, source, change, gains)

        self._begin("screening", useful, finish)

    def _publish_idea(self, head: bytes, source: bytes, change: int, runs: int) -> None:
        effect_micro = self.world.plan.effects_micro[change]
        identity = self.publish(
            Hypothesis(
                parents=(head,),
                source=source,
                title=f"change {change}",
                rationale="",
                origin=Origin("offline", "", "test", str(change)),
            )
        )
        self.note(
            f"proposes {identity.hex()[:6]}: change {change} on {head.hex()[:6]},"
            f" truly {effect_micro / 1e6:+.4f}"
        )
        # As in a real node, the trials follow when the hypothesis is durable.
        self._later(2 * DISK_S + 0.001, lambda: self._publish_screens(identity, runs))

    def _publish_screens(self, identity: bytes, runs: int) -> None:
        if not self.ledger.is_hypothesis(identity):
            self._later(DISK_S, lambda: self._publish_screens(identity, runs))
            return
        for number in range(runs):
            self.publish(self.trial(identity, "screen", number))
