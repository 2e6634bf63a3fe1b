"""Hostile nodes: each one is an ordinary node that breaks the rules in one way.

They sign with a member's key and stop when the bad times end; what they have sent by then stays.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from gossip.core.bundles import encode_bundle
from protocol.envelope import peek_id, seal
from protocol.ids import entry_id
from protocol.records import Absence, Body, Hypothesis, Merge, Origin, Purpose, Trial
from tests.sim.peer import Peer
from tests.sim.plan import Hostility
from tests.sim.truth import arm
from tests.swarm.helpers import trial_body

if TYPE_CHECKING:
    from tests.sim.world import World

LIE_TAUS = 20


class HostilePeer(Peer):
    """A node that breaks the rules while the times are bad."""

    honest = False

    def send_to(self, number: int, envelopes: Sequence[bytes]) -> None:
        """Send records to one node, past this node's own door."""
        data = encode_bundle(list(envelopes))
        self.world.send(self.number, number, lambda peer: peer.on_bundle(data, self.number))

    def send_all(self, envelopes: Sequence[bytes]) -> None:
        """Send records to every partner."""
        for number in self.world.partners(self.number):
            self.send_to(number, envelopes)

    def sealed(self, body: Body) -> bytes:
        """A record of this node's."""
        return seal(body, key=self.key, swarm=self.ledger.swarm, created_ms=self.now_ms())

    @property
    def tau_micro(self) -> int:
        """The policy's."""
        return self.ledger.policy.tau_micro


class Liar(HostilePeer):
    """Reports gains or losses that it never saw."""

    direction = 1

    def outcome(
        self, hypothesis: bytes, purpose: Purpose, parent: bytes, child: bytes, seed: int
    ) -> tuple[int | None, int | None]:
        before = self.world.truth.measure(parent, seed)
        sign = self._sign(hypothesis) if purpose == "verify" else 1
        if sign < 0 and self.rng.random() < 0.3:
            return before, None
        lie_micro = sign * (LIE_TAUS + self.rng.randrange(5)) * self.tau_micro
        return before, before - lie_micro

    def _sign(self, hypothesis: bytes) -> int:
        return self.direction


class LiarUp(Liar):
    """Everything is a great gain."""


class LiarDown(Liar):
    """Everything is a great loss."""

    direction = -1


class Colluder(Liar):
    """Praises what other colluders propose, and runs down everything else."""

    def _sign(self, hypothesis: bytes) -> int:
        author = self.ledger.hypothesis(hypothesis).author
        friends = {peer.me for peer in self.world.peers if isinstance(peer, Colluder)}
        return 1 if author in friends else -1


class LateLiar(HostilePeer):
    """Waits until something is merged, and then reports what a worthless change would give."""

    def start(self) -> None:
        super().start()
        self._told: set[bytes] = set()
        self._later(1.0, self._watch)

    def publish(self, body: Body, *, aloud: bool = True) -> bytes:
        # Its own pairs stay here.
        if isinstance(body, Trial) and body.purpose == "verify":
            return b""
        return super().publish(body, aloud=aloud)

    def _watch(self) -> None:
        if self.world.good:
            return
        for entry in self.ledger.entries.values():
            if entry.hypothesis is None or entry.hypothesis in self._told:
                continue
            self._told.add(entry.hypothesis)
            if self.ledger.author_of(entry.hypothesis) != self.me:
                self._later(self.rng.uniform(0, 15), partial(self._report, entry.hypothesis))
        self._later(0.2, self._watch)

    def _report(self, hypothesis: bytes) -> None:
        for pair in range(self.ledger.policy.cap_pairs // 4):
            super().publish(self.trial(hypothesis, "verify", pair))

    def outcome(
        self, hypothesis: bytes, purpose: Purpose, parent: bytes, child: bytes, seed: int
    ) -> tuple[int | None, int | None]:
        before = self.world.truth.measure(parent, seed)
        if purpose == "verify":
            return before, before + round(self.rng.gauss(0, self.world.plan.noise_micro))
        return before, self.world.truth.measure(child, seed)


class Equivocator(HostilePeer):
    """Signs two outcomes of every pair, and tells one half of the swarm each."""

    def publish(self, body: Body, *, aloud: bool = True) -> bytes:
        if not isinstance(body, Trial) or body.purpose != "verify":
            return super().publish(body, aloud=aloud)
        other = replace(body, child=arm(body.child.metric_micro, self.rng))
        halves = [self.sealed(body), self.sealed(other)]
        for number in self.world.partners(self.number):
            self.send_to(number, [halves[number % 2]])
        return b""


class Withholder(HostilePeer):
    """Publishes its trials long after they were run, all at once; answers no reconciliation."""

    def start(self) -> None:
        super().start()
        self._kept: list[Body] = []
        self._later(0.9 * self.world.plan.bad_s - self.world.now_s % 1, self._flush)

    def publish(self, body: Body, *, aloud: bool = True) -> bytes:
        if not isinstance(body, Trial) or body.purpose != "verify":
            return super().publish(body, aloud=aloud)
        self._kept.append(body)
        return b""

    def _flush(self) -> None:
        kept, self._kept = self._kept, []
        for body in kept:
            super().publish(body)

    def envelopes(self, ids: Sequence[bytes]) -> list[bytes]:
        return []


class Periodic(HostilePeer):
    """Does harm every few seconds, besides its work."""

    period_s = 3.0

    def start(self) -> None:
        super().start()
        self._later(self.rng.uniform(1, self.period_s), self._again)

    def _again(self) -> None:
        if not self.world.good:
            self.harm()
            self._later(self.period_s, self._again)

    def harm(self) -> None:
        """Do it."""


class Spammer(Periodic):
    """Fills others' memory: records that wait for something that never comes, and junk ideas."""

    def harm(self) -> None:
        waiting = [
            self.sealed(Merge(self.rng.randbytes(32), (self.rng.randbytes(32),))) for _ in range(24)
        ]
        origin = Origin("offline", "", "spam", "")
        junk = Hypothesis((self.ledger.head.id,), self.rng.randbytes(32), "spam", "", origin)
        self.send_all([*waiting, self.sealed(junk)])


class DeepForker(Periodic):
    """Builds a long chain of entries that only it ever tried, and merges them itself."""

    period_s = 30.0

    def harm(self) -> None:
        self.send_all(self._fork(self.ledger.root.id, [self.rng.randbytes(32) for _ in range(8)]))

    def _fork(self, parent: bytes, sources: Sequence[bytes]) -> list[bytes]:
        """Records of a chain of scripts on an entry, praised and merged."""
        records: list[bytes] = []
        for depth, source in enumerate(sources):
            origin = Origin("offline", "", "fork", "")
            body = Hypothesis((parent,), source, f"fork {depth}", "", origin)
            envelope = self.sealed(body)
            hypothesis = peek_id(envelope)
            trials = [self.sealed(self._praise(hypothesis, pair)) for pair in range(4)]
            merge = self.sealed(Merge(hypothesis, tuple(peek_id(one) for one in trials)))
            records += [envelope, *trials, merge]
            parent = entry_id((parent,), source)
        self.rng.shuffle(records)
        return records

    def _praise(self, hypothesis: bytes, pair: int) -> Trial:
        arms = arm(3_000_000, self.rng), arm(1_000_000, self.rng)
        return trial_body(hypothesis, self.key, pair, *arms, machine="sim")


class Hider(DeepForker):
    """Builds chains of entries whose scripts it hands out to nobody, on the head or the root."""

    def harm(self) -> None:
        sources = [self.rng.randbytes(32) for _ in range(2)]
        self.world.hidden.update(sources)
        parent = self.rng.choice((self.ledger.root, self.ledger.head)).id
        self.send_all(self._fork(parent, sources))


class Denier(Periodic):
    """Says of whatever only its author verified that its script cannot be had."""

    def harm(self) -> None:
        for item in self.ledger.self_verified():
            self.publish(Absence(item.id))


class Replayer(Periodic):
    """Sends old records of others again and again, in new bundles."""

    def harm(self) -> None:
        old = list(self.disk.values())
        if old:
            self.send_all(self.rng.sample(old, min(len(old), 20)))


class Garbler(Periodic):
    """Sends bytes that are nothing, and others' records with one bit changed."""

    def harm(self) -> None:
        noise = self.rng.randbytes(self.rng.randint(1, 300))
        for number in self.world.partners(self.number):
            self.world.send(self.number, number, lambda peer: peer.on_bundle(noise, self.number))
        for envelope in self.rng.sample(list(self.disk.values()), min(len(self.disk), 3)):
            garbled = bytearray(envelope)
            garbled[self.rng.randrange(len(garbled))] ^= 1 << self.rng.randrange(8)
            self.send_all([bytes(garbled)])


KINDS: dict[Hostility, type[HostilePeer]] = {
    "liar_up": LiarUp,
    "liar_down": LiarDown,
    "colluder": Colluder,
    "late_liar": LateLiar,
    "equivocator": Equivocator,
    "withholder": Withholder,
    "spammer": Spammer,
    "deep_forker": DeepForker,
    "hider": Hider,
    "denier": Denier,
    "replayer": Replayer,
    "garbler": Garbler,
}


def make_peer(world: "World", number: int, hostility: Hostility | None) -> Peer:
    """An honest node, or one that is hostile in a way."""
    return Peer(world, number) if hostility is None else KINDS[hostility](world, number)
