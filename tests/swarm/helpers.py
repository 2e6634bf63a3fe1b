"""Builders of real, signed records under deterministic keys, opened as a node would open them."""

import hashlib
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal

from protocol.envelope import open_envelope, seal
from protocol.ids import entry_id, seed_from_proof
from protocol.keys import SigningKey
from protocol.policy import DEMO, Policy
from protocol.records import (
    Admit,
    Arm,
    Body,
    Genesis,
    Hypothesis,
    Merge,
    Metric,
    Origin,
    Purpose,
    Record,
    Status,
    TaskRef,
    Trial,
)
from swarm.admission import Admitted
from swarm.ledger import Ledger

TAU = DEMO.tau_micro
PARENT_MICRO = 3_000_000
BITS_PER_BYTE = Metric(name="val_bpb", unit="bits/byte", direction="min")


@cache
def key(number: int) -> SigningKey:
    """The same key for the same number, every time."""
    return SigningKey.from_seed(hashlib.sha256(b"test key %d" % number).digest())


def digest(text: str) -> bytes:
    """A digest that stands for some blob."""
    return hashlib.sha256(text.encode()).digest()


def arm(metric_micro: int | None, status: Status = "ok", **changes: int) -> Arm:
    """One run's outcome, of ordinary cost."""
    plain = Arm(
        status=status,
        metric_micro=metric_micro if status == "ok" else None,
        train_cpu_ms=5_000,
        score_cpu_ms=500,
        wall_ms=6_000,
        peak_memory_kib=300_000,
        steps=300,
        tokens=300_000,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def trial_body(
    hypothesis: bytes,
    signer: SigningKey,
    pair: int,
    parent: Arm,
    child: Arm,
    *,
    purpose: Purpose = "verify",
    screening_seed: int = 0,
    machine: str = "test",
) -> Trial:
    """A trial that may be admitted, beside a genesis script of ordinary cost."""
    screened = purpose == "screen"
    proof = b"" if screened else signer.prove_seed(hypothesis, pair)
    return Trial(
        hypothesis=hypothesis,
        purpose=purpose,
        pair=pair,
        seed=screening_seed if screened else seed_from_proof(proof),
        seed_proof=proof,
        parent=parent,
        child=child,
        genesis_cpu_ms=5_500,
        genesis_wall_ms=6_000,
        genesis_memory_kib=300_000,
        genesis_tokens=300_000,
        device=machine,
        runtime=machine,
    )


FOUNDER = key(0)


@dataclass
class Swarm:
    """A swarm's records, made one by one.

    Attributes:
        policy: The genesis policy.
        metric: The genesis metric.
        clock_ms: Advances with every record.
        scorer: Who computes the metric.
    """

    policy: Policy = DEMO
    metric: Metric = BITS_PER_BYTE
    clock_ms: int = 1_000_000
    scorer: Literal["trusted", "reported"] = "trusted"
    genesis: Record = field(init=False)

    def __post_init__(self) -> None:
        body = Genesis(
            name="test",
            task=TaskRef(name="bytes-gpt", digest=digest("task"), scorer=self.scorer),
            tier="smoke",
            metric=self.metric,
            data=(),
            source=digest("genesis script"),
            policy=self.policy,
            nonce=bytes(16),
        )
        envelope = seal(body, key=FOUNDER, swarm=None, created_ms=self.clock_ms)
        self.genesis = open_envelope(envelope, swarm=None)

    @property
    def id(self) -> bytes:
        return self.genesis.id

    @property
    def root(self) -> bytes:
        return entry_id((self.id,), digest("genesis script"))

    def ledger(self, *records: Record) -> Ledger:
        """A ledger that holds these records."""
        ledger = Ledger(self.genesis)
        for record in records:
            ledger.add(record)
        return ledger

    def record(self, body: Body, signer: SigningKey) -> Record:
        self.clock_ms += 1
        envelope = seal(body, key=signer, swarm=self.id, created_ms=self.clock_ms)
        return open_envelope(envelope, swarm=self.id)

    def admit(
        self,
        member: SigningKey,
        *,
        by: SigningKey = FOUNDER,
        grant: bytes | None = None,
        can_admit: bool = False,
        expires_depth: int = 0,
    ) -> Record:
        body = Admit(
            member=member.public,
            can_admit=can_admit,
            grant=self.id if grant is None else grant,
            expires_depth=expires_depth,
        )
        return self.record(body, by)

    def members(self, count: int) -> list[Record]:
        """Admissions of keys 1 to `count`."""
        return [self.admit(key(number)) for number in range(1, count + 1)]

    def hypothesis(
        self, name: str, author: SigningKey, *, parents: tuple[bytes, ...] | None = None
    ) -> Record:
        body = Hypothesis(
            parents=(self.root,) if parents is None else parents,
            source=digest(f"script {name}"),
            title=name,
            rationale="",
            origin=Origin(proposer="offline", model="", category="optimizer", change=name),
        )
        return self.record(body, author)

    def trial(
        self,
        hypothesis: Record,
        signer: SigningKey,
        pair: int,
        gain_micro: int,
        *,
        purpose: Purpose = "verify",
        child: Arm | None = None,
        parent: Arm | None = None,
        measured: bool = True,
    ) -> Record:
        sign = -1 if self.metric.direction == "min" else 1
        body = trial_body(
            hypothesis.id,
            signer,
            pair,
            arm(PARENT_MICRO) if parent is None else parent,
            arm(PARENT_MICRO + sign * gain_micro) if child is None else child,
            purpose=purpose,
            screening_seed=pair,
        )
        if not measured:
            body = replace(
                body, genesis_cpu_ms=0, genesis_wall_ms=0, genesis_memory_kib=0, genesis_tokens=0
            )
        return self.record(body, signer)

    def trials(
        self, hypothesis: Record, verifiers: list[SigningKey], gains_micro: list[int]
    ) -> list[Record]:
        """One pair a gain, dealt to the verifiers in turn."""
        return [
            self.trial(hypothesis, verifiers[index % len(verifiers)], index // len(verifiers), gain)
            for index, gain in enumerate(gains_micro)
        ]

    def merge(self, hypothesis: Record, signer: SigningKey, trials: list[Record]) -> Record:
        body = Merge(hypothesis=hypothesis.id, trials=tuple(record.id for record in trials))
        return self.record(body, signer)

    def merged(
        self,
        name: str,
        author: SigningKey,
        verifiers: list[SigningKey],
        gains_micro: list[int],
        *,
        parents: tuple[bytes, ...] | None = None,
    ) -> list[Record]:
        """A hypothesis with its trials and its merge; the hypothesis comes first."""
        hypothesis = self.hypothesis(name, author, parents=parents)
        trials = self.trials(hypothesis, verifiers, gains_micro)
        return [hypothesis, *trials, self.merge(hypothesis, author, trials)]


def entry_of(hypothesis: Record) -> bytes:
    """Id of the entry that a hypothesis yields."""
    assert isinstance(hypothesis.body, Hypothesis)
    return entry_id(hypothesis.body.parents, hypothesis.body.source)


def steady(gain_micro: int, count: int, spread_micro: int = TAU // 10) -> list[int]:
    """Gains around a mean with a small, regular spread."""
    return [gain_micro + spread_micro * (-1) ** index for index in range(count)]


def admitted(ledger: Ledger, record: Record) -> Admitted:
    """Add a record that must enter."""
    outcome = ledger.add(record)
    assert isinstance(outcome, Admitted), outcome
    return outcome
