"""The statements that the golden vectors are made of: at least one of every kind.

Keys come from seeds of one repeated byte, so that a reader of a vector can tell who speaks.
"""

from dataclasses import dataclass, replace
from typing import Final

from protocol.envelope import peek_id, seal
from protocol.ids import blob_digest, entry_id, seed_from_proof
from protocol.keys import SigningKey
from protocol.notices import Claim, NoticeBody, Presence, seal_notice
from protocol.policy import Policy
from protocol.records import (
    Absence,
    Admit,
    Arm,
    Body,
    DataRef,
    Genesis,
    Hypothesis,
    Merge,
    Metric,
    Origin,
    TaskRef,
    Transfer,
    TransferRun,
    Trial,
)

CREATED_MS: Final = 1_790_000_000_000

FOUNDER: Final = SigningKey.from_seed(b"\x01" * 32)
ALICE: Final = SigningKey.from_seed(b"\x02" * 32)
BOB: Final = SigningKey.from_seed(b"\x03" * 32)

POLICY: Final = Policy(
    alpha_ppm=1_000,
    tau_micro=10_000,
    min_verifiers=2,
    max_verifiers=3,
    liars=0,
    cap_pairs=12,
    park_pairs=4,
    cost_ratio_permille=2_500,
    admission="all",
    admit_depth_max=2,
    verify_share_permille=800,
    recheck_permille=0,
    self_verified=False,
    lease_s=120,
)
"""Fixed here, so that a change of the named policies leaves the vectors alone."""


@dataclass(frozen=True, slots=True)
class RecordSample:
    """A record, its author and what it becomes on the wire."""

    name: str
    key: SigningKey
    swarm: bytes | None
    created_ms: int
    body: Body

    @property
    def envelope(self) -> bytes:
        return seal(self.body, key=self.key, swarm=self.swarm, created_ms=self.created_ms)

    @property
    def id(self) -> bytes:
        return peek_id(self.envelope)


@dataclass(frozen=True, slots=True)
class NoticeSample:
    """A notice, its author and its swarm."""

    name: str
    key: SigningKey
    swarm: bytes
    created_ms: int
    body: NoticeBody

    @property
    def envelope(self) -> bytes:
        return seal_notice(self.body, key=self.key, swarm=self.swarm, created_ms=self.created_ms)


GENESIS: Final = RecordSample(
    name="genesis",
    key=FOUNDER,
    swarm=None,
    created_ms=CREATED_MS,
    body=Genesis(
        name="reading group",
        task=TaskRef(name="bytes-gpt", digest=blob_digest(b"task"), scorer="trusted"),
        tier="smoke",
        metric=Metric(name="val_bpb", unit="bits/byte", direction="min"),
        data=(
            DataRef(name="train", digest=blob_digest(b"train"), size_bytes=17_000_000),
            DataRef(name="val", digest=blob_digest(b"val"), size_bytes=800_000),
        ),
        source=blob_digest(b"train.py"),
        policy=POLICY,
        nonce=bytes(range(16)),
    ),
)
SWARM: Final = GENESIS.id
ROOT_ENTRY: Final = entry_id((SWARM,), blob_digest(b"train.py"))

GENESIS_OTHER: Final = RecordSample(
    name="genesis of another task, without data, measured upwards",
    key=ALICE,
    swarm=None,
    created_ms=0,
    body=Genesis(
        name="Übung",
        task=TaskRef(name="maze", digest=blob_digest(b"maze"), scorer="reported"),
        tier="long",
        metric=Metric(name="score", unit="points", direction="max"),
        data=(),
        source=blob_digest(b"maze.py"),
        policy=replace(
            POLICY, max_verifiers=7, liars=2, cap_pairs=28, recheck_permille=100, admission="ticket"
        ),
        nonce=bytes(16),
    ),
)

ADMIT: Final = RecordSample(
    name="admit",
    key=FOUNDER,
    swarm=SWARM,
    created_ms=CREATED_MS + 1_000,
    body=Admit(member=BOB.public, can_admit=True, grant=SWARM, expires_depth=0),
)

HYPOTHESIS: Final = RecordSample(
    name="hypothesis",
    key=ALICE,
    swarm=SWARM,
    created_ms=CREATED_MS + 2_000,
    body=Hypothesis(
        parents=(ROOT_ENTRY,),
        source=blob_digest(b"train.py, changed"),
        title="Double the learning rate",
        rationale="The loss still falls at the end of the run.",
        origin=Origin(
            proposer="offline", model="", category="schedule", change="LEARNING_RATE=0.002"
        ),
    ),
)

HYPOTHESIS_COMBINED: Final = RecordSample(
    name="hypothesis that combines two siblings, by a language model, in two lines",
    key=ALICE,
    swarm=SWARM,
    created_ms=CREATED_MS + 2_500,
    body=Hypothesis(
        parents=(ROOT_ENTRY, entry_id((ROOT_ENTRY,), blob_digest(b"sibling"))),
        source=blob_digest(b"train.py, combined"),
        title="ReLU² and 旋转位置编码",
        rationale="First line.\nSecond line – with a dash.",
        origin=Origin(proposer="claude", model="claude-x", category="activation", change=""),
    ),
)

_PARENT_ARM: Final = Arm(
    status="ok",
    metric_micro=3_600_123,
    train_cpu_ms=5_100,
    score_cpu_ms=700,
    wall_ms=6_000,
    peak_memory_kib=350_000,
    steps=303,
    tokens=310_272,
)
_CHILD_ARM: Final = replace(_PARENT_ARM, metric_micro=2_950_000, train_cpu_ms=5_400)

TRIAL_SCREEN: Final = RecordSample(
    name="trial that screens",
    key=ALICE,
    swarm=SWARM,
    created_ms=CREATED_MS + 3_000,
    body=Trial(
        hypothesis=HYPOTHESIS.id,
        purpose="screen",
        pair=0,
        seed=7,
        seed_proof=b"",
        parent=_PARENT_ARM,
        child=_CHILD_ARM,
        genesis_cpu_ms=5_800,
        genesis_wall_ms=6_100,
        genesis_memory_kib=340_000,
        genesis_tokens=310_000,
        device="2 cores",
        runtime="torch 2.13.0 cpu",
    ),
)

_PROOF: Final = BOB.prove_seed(HYPOTHESIS.id, 0)
_PROOF_SECOND: Final = BOB.prove_seed(HYPOTHESIS.id, 1)

TRIAL_VERIFY: Final = RecordSample(
    name="trial that verifies",
    key=BOB,
    swarm=SWARM,
    created_ms=CREATED_MS + 4_000,
    body=Trial(
        hypothesis=HYPOTHESIS.id,
        purpose="verify",
        pair=0,
        seed=seed_from_proof(_PROOF),
        seed_proof=_PROOF,
        parent=_PARENT_ARM,
        child=_CHILD_ARM,
        genesis_cpu_ms=5_800,
        genesis_wall_ms=6_100,
        genesis_memory_kib=340_000,
        genesis_tokens=310_000,
        device="8 cores, 1 GPU",
        runtime="torch 2.13.0 cuda",
    ),
)

TRIAL_CRASHED: Final = RecordSample(
    name="trial whose child crashed, and whose parent has a negative metric",
    key=BOB,
    swarm=SWARM,
    created_ms=CREATED_MS + 5_000,
    body=Trial(
        hypothesis=HYPOTHESIS.id,
        purpose="recheck",
        pair=1,
        seed=seed_from_proof(_PROOF_SECOND),
        seed_proof=_PROOF_SECOND,
        parent=replace(_PARENT_ARM, metric_micro=-1),
        child=replace(_CHILD_ARM, status="crashed", metric_micro=None, steps=0, tokens=0),
        genesis_cpu_ms=0,
        genesis_wall_ms=0,
        genesis_memory_kib=0,
        genesis_tokens=0,
        device="",
        runtime="",
    ),
)

MERGE: Final = RecordSample(
    name="merge",
    key=BOB,
    swarm=SWARM,
    created_ms=CREATED_MS + 6_000,
    body=Merge(hypothesis=HYPOTHESIS.id, trials=(TRIAL_VERIFY.id, TRIAL_CRASHED.id)),
)

ABSENCE: Final = RecordSample(
    name="absence",
    key=BOB,
    swarm=SWARM,
    created_ms=CREATED_MS + 6_200,
    body=Absence(hypothesis=HYPOTHESIS.id),
)

_TRANSFER_ENTRY: Final = entry_id((ROOT_ENTRY,), blob_digest(b"train.py, changed"))

TRANSFER: Final = RecordSample(
    name="transfer",
    key=BOB,
    swarm=SWARM,
    created_ms=CREATED_MS + 6_500,
    body=Transfer(
        scale="width=2",
        seed_proof=BOB.prove_transfer(_TRANSFER_ENTRY, "width=2"),
        runs=(
            TransferRun(
                entry=ROOT_ENTRY, status="ok", metrics=(3_100_000, 3_120_000, -5), cpu_ms=61_000
            ),
            TransferRun(
                entry=_TRANSFER_ENTRY, status="oom", metrics=(2_900_000, None), cpu_ms=40_000
            ),
        ),
        device="8 cores, 1 GPU",
        runtime="torch 2.13.0 cuda",
    ),
)

RECORDS: Final = (
    GENESIS,
    GENESIS_OTHER,
    ADMIT,
    HYPOTHESIS,
    HYPOTHESIS_COMBINED,
    TRIAL_SCREEN,
    TRIAL_VERIFY,
    TRIAL_CRASHED,
    MERGE,
    ABSENCE,
    TRANSFER,
)

CLAIM: Final = NoticeSample(
    name="claim",
    key=ALICE,
    swarm=SWARM,
    created_ms=CREATED_MS + 7_000,
    body=Claim(parent=ROOT_ENTRY, change=blob_digest(b"normalised"), lease_s=90),
)

PRESENCE: Final = NoticeSample(
    name="presence",
    key=BOB,
    swarm=SWARM,
    created_ms=CREATED_MS + 8_000,
    body=Presence(
        role="agent",
        version="0.1.0",
        device="8 cores, 1 GPU",
        sandbox="bubblewrap",
        head=ROOT_ENTRY,
        depth=0,
        records=9,
        digest=blob_digest(b"records"),
        state="verifying",
        hypothesis=HYPOTHESIS.id,
        progress_permille=250,
        wants_admission=False,
        addresses=("/ip4/127.0.0.1/tcp/4001",),
    ),
)

PRESENCE_EMPTY: Final = NoticeSample(
    name="presence of an observer that has nothing yet",
    key=ALICE,
    swarm=SWARM,
    created_ms=CREATED_MS + 9_000,
    body=Presence(
        role="observer",
        version="0.1.0",
        device="",
        sandbox="",
        head=b"",
        depth=0,
        records=0,
        digest=blob_digest(b""),
        state="idle",
        hypothesis=b"",
        progress_permille=0,
        wants_admission=True,
        addresses=(),
    ),
)

NOTICES: Final = (CLAIM, PRESENCE, PRESENCE_EMPTY)
