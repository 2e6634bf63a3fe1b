"""One simulated node: the node's own duties, claims and scheduling on a simulated machine.

What is simulated are the workers: a run takes virtual time and measures the truth plus noise. What
is decided is decided by the code that real nodes run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from node.claims import Claims
from node.duties import (
    AbsenceDuty,
    AdmitDuty,
    MergeDuty,
    screens_enough,
    share_allows,
    tells_at_once,
)
from node.presences import Presences, presence_period_s
from protocol.ids import seed_from_proof
from protocol.notices import Claim, Presence
from protocol.records import Hypothesis, Origin, Purpose, Trial
from swarm.memory import ExperienceStatus, experiences
from swarm.verification import Leases, VerificationTask, is_wanted, next_verification
from tests.sim.carrying import Carrier, Idea
from tests.sim.machine import DISK_S, Machine
from tests.sim.truth import arm

IDLE_S: Final = 5.0
GLANCE_S: Final = 0.3
"""How long an idle worker lets changes gather before it looks for work."""
CLAIM_LEASE_S: Final = 300


@dataclass(eq=False)
class Job:
    """What a worker does, and whether it is still useful."""

    kind: str
    useful: Callable[[], bool]
    finish: Callable[[], None]
    began_s: float
    slot: tuple[bytes, int] | None = None


class Peer(Machine):
    """One node.

    Attributes:
        exploring: Whether it has ideas of its own. What was left behind it brings over anyway.
    """

    honest = True
    exploring = True

    def start(self) -> None:
        """Start, from what the disk has."""
        super().start()
        self.arm_s = self.rng.uniform(2.0, 6.0)
        self.claims = Claims()
        self.presences = Presences()
        self.merging = MergeDuty()
        self.missing = AbsenceDuty()
        self.admitting = AdmitDuty()
        self.leases = Leases()
        self.carrier = Carrier(self)
        self.jobs: list[Job] = []
        self._busy_s = {"verifying": 0.0, "screening": 0.0}
        self._looking = False
        self._keeping_house = False
        self._later(self.rng.uniform(0, 1), self._say_present)
        self._later(self.rng.uniform(0, 1), self._idle)

    def on_change(self) -> None:
        """Drop what has become pointless, look for work, and keep house."""
        self._look_again()
        self._keep_house()

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
        untestable = self._unusable()
        for absence in self.missing.due(self.ledger, self.me, alive, untestable, now_s):
            self.note(f"has no script of {absence.hypothesis.hex()[:6]}")
            self.publish(absence)
        if waiting:
            self._keeping_house = True
            self._later(0.5, self._merge)

    # -- research ---------------------------------------------------------------------------------

    def _idle(self) -> None:
        self._look_again()
        if self.world.hidden:
            self._keep_house()
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
        if self._explore():
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
            unusable=self._unusable(),
            quiet=quiet,
        )

    def _unusable(self) -> frozenset[bytes]:
        """Hypotheses that cannot be run for want of a script."""
        hidden = self.world.hidden
        if not hidden:
            return frozenset()
        return frozenset(
            item.id
            for item in self.ledger.hypotheses()
            if hidden & {item.body.source, self.ledger.source_of(item.body.parents[0])}
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
        """Screen what the merge queue brings, else a change to the head that nobody tried."""
        if self.ledger.head.source in self.world.hidden:
            return False  # Nobody can build on a script that nobody has.
        tried = self.tried_on_head()
        idea = self.carrier.next(tried)
        if idea is None and self.exploring:
            idea = self._own_idea(tried)
        if idea is None:
            return False
        claim = Claim(idea.parents[0], idea.source, CLAIM_LEASE_S)
        self.claims.take(claim, self.me, self.world.now_s)
        for number in range(len(self.world.peers)):
            if number != self.number:
                self.world.send(self.number, number, lambda peer: peer.on_claim(claim, self.me))
        self._screen(idea, [])
        return True

    def tried_on_head(self) -> dict[bytes, ExperienceStatus]:
        """What came of every script that was tried on the head."""
        head = self.ledger.head.id
        return {
            item.source: item.status for item in experiences(self.ledger) if item.parent == head
        }

    def _own_idea(self, tried: dict[bytes, ExperienceStatus]) -> Idea | None:
        """A change to the head that nobody has tried or claimed."""
        head = self.ledger.head
        truth = self.world.truth
        if not truth.is_real(head.source):
            return None  # Where some go on alone, a liar's entry is the head until a pair is run.
        claimed = self.claims.on(head.id, self.world.now_s)
        have = truth.changes(head.source)
        ideas = [
            (change, source)
            for change in range(len(self.world.plan.effects_micro))
            if change not in have
            and (source := truth.with_change(head.source, change)) not in tried
            and source not in claimed
        ]
        if not ideas:
            return None
        change, source = self.rng.choice(ideas)
        return Idea((head.id,), source, f"change {change}", str(change))

    def on_claim(self, claim: Claim, author: bytes) -> None:
        """Note what a peer runs."""
        self.claims.take(claim, author, self.world.now_s)
        self._look_again()

    def _screen(self, idea: Idea, gains: list[int | None]) -> None:
        head, source = idea.parents[0], idea.source

        def useful() -> bool:
            holder = self.claims.holder(head, source, self.world.now_s)
            return self.ledger.head.id == head and holder in {None, self.me}

        def finish() -> None:
            if not useful():
                return  # The head has fallen, and the disk does not have the reason yet.
            seed = self._own_seed(len(gains))
            entry = self.ledger.entries[head]
            before, after = self.outcome(b"", "screen", entry.source, source, seed)
            gains.append(None if before is None or after is None else before - after)
            if screens_enough(gains, self.ledger.policy.tau_micro):
                agents = len(self.presences.agents(self.world.now_s))
                aloud = tells_at_once(gains, self.ledger.policy.tau_micro, agents)
                self._publish_idea(idea, len(gains), aloud=aloud)
            else:
                self._screen(idea, gains)

        self._begin("screening", useful, finish)

    def _publish_idea(self, idea: Idea, runs: int, *, aloud: bool = True) -> None:
        head = self.ledger.entries[idea.parents[0]]
        identity = self.publish(
            Hypothesis(
                parents=idea.parents,
                source=idea.source,
                title=idea.title,
                rationale="",
                origin=Origin("offline", "", "test", idea.change),
            ),
            aloud=aloud,
        )
        truth = self.world.truth
        gain_micro = truth.metric_micro(head.source) - truth.metric_micro(idea.source)
        self.note(
            f"proposes {identity.hex()[:6]}: {idea.title} on {head.id.hex()[:6]},"
            f" truly {gain_micro / 1e6:+.4f}"
        )
        # As in a real node, the trials follow when the hypothesis is durable.
        publish_screens = partial(self._publish_screens, identity, runs, aloud=aloud)
        self._later(2 * DISK_S + 0.001, publish_screens)

    def _publish_screens(self, identity: bytes, runs: int, *, aloud: bool) -> None:
        if not self.ledger.is_hypothesis(identity):
            self._later(DISK_S, partial(self._publish_screens, identity, runs, aloud=aloud))
            return
        for number in range(runs):
            self.publish(self.trial(identity, "screen", number), aloud=aloud)
