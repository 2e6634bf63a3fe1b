"""A whole swarm in one thread: real ledgers, stores, researchers and stewards over a fake wire.

Training is replaced by a runner that reads the metric out of the script's text; everything from the
proposal to the merged record is the node's own code.
"""

import abc
import contextlib
import hashlib
import random
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import trio

from gossip.errors import BlobUnavailableError
from node import news
from node.activity import Activity, Work
from node.agent.proposal import Proposal, Proposer, Rejection, ResearchView
from node.author import Author
from node.bench import Bench, RunsPairs
from node.blobs import BlobStore
from node.desk import Desk
from node.drafts import Drafts
from node.intake import Intake
from node.materials import Materials
from node.research import Researcher
from node.stewardship import Steward
from node.store import RecordStore
from node.trial_logs import TrialLogs
from node.workbench import Tools
from protocol.envelope import open_envelope, seal
from protocol.ids import blob_digest
from protocol.keys import SigningKey
from protocol.policy import DEMO, Policy
from protocol.records import Genesis, Metric, Record, TaskRef
from swarm.events import Event
from trainer.job import Budget, Evaluation, Job, Outcome, Progress
from trainer.scorer import Bits

GENESIS_SCRIPT = (
    "GAIN = 0\n\n\ndef build_model(run):\n    pass\n\n\ndef train(run, model):\n    pass\n"
)
BASELINE_MICRO = 3_000_000
BIG = 300_000
"""A gain that nobody doubts."""
RUN_S = 5.0


def script(gain_micro: int, extra: str = "") -> str:
    """A script that is better than the genesis script by a gain, or ends in another way."""
    return GENESIS_SCRIPT.replace("GAIN = 0", f"GAIN = {gain_micro}") + extra


def make_job(source: str, seed: int) -> Job:
    """The job of a script and a seed."""
    return Job(source, Budget("tokens", 1), Evaluation(8, 1), seed)


class ArmsRunner(abc.ABC):
    """A runner of which only `run` is left to say: a pair is one arm after the other."""

    @abc.abstractmethod
    async def run(
        self,
        job: Job,
        *,
        parent_bits: Bits | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        yields: bool = False,
    ) -> Outcome:
        """Run one job."""

    async def pair(
        self,
        parent: Job,
        child: Job,
        *,
        on_progress: Callable[[Literal["parent", "child"], Progress], None] | None = None,
    ) -> tuple[Outcome, Outcome]:
        return await self.run(parent), await self.run(child)

    def bits_of(self, job: Job) -> Bits | None:
        return None


class FakeRunner(ArmsRunner):
    """Takes virtual time and computes the metric from the script, with noise from the seed.

    The gain is the sum of all constants whose name starts with GAIN.

    Attributes:
        clash: Constants that together undo all gains.
        runs: Number of runs begun.
        log_tail: What a crash prints.
    """

    def __init__(self, noise_micro: int = 3_000) -> None:
        self.noise_micro = noise_micro
        self.clash: tuple[str, ...] = ()
        self.runs = 0
        self.log_tail = "\x1b[31mboom\n"

    async def run(
        self,
        job: Job,
        *,
        parent_bits: Bits | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        yields: bool = False,
    ) -> Outcome:
        self.runs += 1
        await trio.sleep(RUN_S)
        if on_progress is not None:
            on_progress(Progress("train", 1.0))
        if "CRASH" in job.script:
            return Outcome("crashed", train_cpu_ms=10, reason="no", log_tail=self.log_tail)
        gains = [int(gain) for gain in re.findall(r"^GAIN\w* = (-?\d+)", job.script, re.MULTILINE)]
        gain = sum(gains)
        if self.clash and all(f"{name} = " in job.script for name in self.clash):
            gain = 0
        # Most of the noise is shared by both arms of a pair, as it is in real training.
        shared = random.Random(job.seed).gauss(0, 5 * self.noise_micro)
        own = random.Random(f"{job.seed}{job.script}").gauss(0, self.noise_micro)
        metric = BASELINE_MICRO - gain + round(shared + own)
        return Outcome("ok", metric, train_cpu_ms=100, score_cpu_ms=10, peak_memory_kib=1000)


class ListedProposer:
    """Proposes scripts from a list, each once on each head it has not been tried on.

    Args:
        steps: Gains in micro-units over the head, or text to append.
    """

    def __init__(self, steps: list[int | str]) -> None:
        self.steps = list(steps)

    async def propose(
        self, view: ResearchView, rng: random.Random, rejection: Rejection | None = None
    ) -> Proposal | None:
        if not self.steps:
            return None
        step = self.steps.pop(0)
        found = re.search(r"GAIN = (-?\d+)", view.head_source)
        assert found is not None
        base = int(found[1])
        source = script(base, step) if isinstance(step, str) else script(base + step)
        return Proposal(f"step {step!r}"[:60], "because", "better", "test", f"step {step}", source)


@dataclass
class FakeWire:
    """Carries records, notices and blobs between nodes, late and in any order."""

    latency_s: float = 0.1
    nodes: "list[FakeNode]" = field(default_factory=list)
    nursery: trio.Nursery | None = None

    def carry(self, sender: "FakeNode", deliver: Callable[["FakeNode"], object]) -> None:
        """Hand something to every other node a moment later."""
        assert self.nursery is not None
        for node in self.nodes:
            if node is not sender and node.online:
                self.nursery.start_soon(self._deliver, node, deliver)

    async def _deliver(self, node: "FakeNode", deliver: Callable[["FakeNode"], object]) -> None:
        await trio.sleep(self.latency_s)
        await deliver(node)  # type: ignore[misc]


@dataclass(frozen=True)
class Subject:
    """What a fake swarm works on; by default the script whose gains stand in its text.

    Attributes:
        source: What the lineage starts from.
        metric: What is measured.
        make_job: The job of a source and a seed.
        runner: Runs it; None for a fake runner of each node's own.
    """

    source: str = GENESIS_SCRIPT
    metric: Metric = field(default_factory=lambda: Metric("val_bpb", "bits/byte", "min"))
    make_job: Callable[[str, int], Job] = make_job
    runner: RunsPairs | None = None


class FakeNode:
    """One node of the fake swarm: the node's own parts over the fake wire and the fake runner."""

    def __init__(
        self,
        path: Path,
        number: int,
        wire: FakeWire,
        genesis: Record,
        proposer: Proposer | None,
        *,
        subject: Subject,
        workers: int,
    ) -> None:
        self.wire = wire
        self.online = True
        self.key = key_of(number)
        self.path = path / f"node-{number}"
        self.path.mkdir(exist_ok=True)
        self.store = RecordStore(self.path / "records.sqlite")
        self.blobs = BlobStore(self.path / "blobs")
        self.blobs.put(subject.source.encode())
        self.desk = Desk(node_id=self.key.public, store=self.store, blobs=self.blobs, role="agent")
        self.activity = Activity("test", [Work("starting")] * workers)
        self.runner = FakeRunner()
        self.changed = trio.Event()
        self.intake = self.desk.intake = Intake(
            genesis=genesis, store=self.store, clock=trio.current_time, on_events=self._on_events
        )
        body = genesis.body
        assert isinstance(body, Genesis)
        self.author = Author(self.key, self.intake, self)
        self.materials = Materials(body, self.blobs, self)  # type: ignore[arg-type]
        self.steward = Steward(
            author=self.author,
            desk=self.desk,
            network=self,  # type: ignore[arg-type]
            materials=self.materials,
            activity=self.activity,
            sandbox="fake",
        )
        self.tools = Tools(
            author=self.author,
            materials=self.materials,
            bench=Bench(
                subject.runner or self.runner,
                subject.make_job,
                self.key,
                body.policy.cost_ratio_permille,
            ),
            claims=self.desk.claims,
            activity=self.activity,
            logs=TrialLogs(self.path / "trial-logs"),
            drafts=Drafts(self.path / "drafts"),
            alive=lambda: self.desk.presences.agents(trio.current_time()),
        )
        self.researcher = Researcher(self.tools, proposer, number)
        self.desk.on_claim = self.researcher.on_change

    def _on_events(self, events: Sequence[Event]) -> None:
        for event in events:
            line = news.describe(event, self.intake.ledger)
            if line is not None:
                self.activity.news(0, *line)
        self.changed.set()
        self.changed = trio.Event()
        self.researcher.on_change()

    # -- the parts of a network that a node uses -------------------------------------------------

    addresses: tuple[str, ...] = ()

    async def publish_record(self, envelope: bytes) -> None:
        self.wire.carry(self, lambda node: node.desk.on_records([envelope], self.key.public))

    async def publish_notice(self, notice: bytes) -> None:
        self.wire.carry(self, lambda node: node.desk.on_notice(notice, self.key.public))

    async def fetch_blob(self, digest: bytes, size_limit: int, sink: Path) -> None:
        await trio.sleep(self.wire.latency_s)
        for node in self.wire.nodes:
            data = node.blobs.read(digest) if node.online else None
            if data is not None and len(data) <= size_limit:
                sink.write_bytes(data)
                return
        raise BlobUnavailableError("nobody has it")

    async def run_late(self, begin: trio.Event) -> None:
        """Wait, then run, and hear what there is as reconciliation would bring it."""
        await begin.wait()
        self.online = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.run)
            for envelope in list(self.wire.nodes[0].store):
                await self.intake.submit(envelope)

    async def run(self, *, task_status: object = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.intake.run)
            nursery.start_soon(self.steward.run, lambda: self.changed)
            for worker in range(len(self.activity.workers)):
                nursery.start_soon(self.researcher.work, worker)


def key_of(number: int) -> SigningKey:
    """The identity of a node."""
    return SigningKey.from_seed(hashlib.sha256(f"node {number}".encode()).digest())


def found(
    policy: Policy = DEMO, subject: Subject | None = None, founder: int = 0
) -> tuple[Record, bytes]:
    """A genesis by the founding node, and its envelope."""
    subject = subject or Subject()
    body = Genesis(
        name="fake",
        task=TaskRef("fake", bytes(32), "trusted"),
        tier="smoke",
        metric=subject.metric,
        data=(),
        source=blob_digest(subject.source.encode()),
        policy=policy,
        nonce=bytes(16),
    )
    envelope = seal(body, key=key_of(founder), swarm=None, created_ms=1)
    return open_envelope(envelope, swarm=None), envelope


@contextlib.asynccontextmanager
async def fake_swarm(
    path: Path,
    proposers: list[Proposer | None],
    policy: Policy = DEMO,
    subject: Subject | None = None,
    *,
    workers: int = 1,
    late: Mapping[int, trio.Event] | None = None,
    first: int = 0,
) -> AsyncIterator[list[FakeNode]]:
    """Run one node a proposer, each with so many workers.

    Those that come late hear of the records of the first when their event is set. Nodes are
    numbered from `first`: their keys and all their chance follow from their numbers.
    """
    subject = subject or Subject()
    late = late or {}
    genesis, _ = found(policy, subject, first)
    wire = FakeWire()
    wire.nodes = [
        FakeNode(path, number, wire, genesis, proposer, subject=subject, workers=workers)
        for number, proposer in enumerate(proposers, first)
    ]
    async with trio.open_nursery() as nursery:
        wire.nursery = nursery
        for number, node in enumerate(wire.nodes):
            if number in late:
                node.online = False
                nursery.start_soon(node.run_late, late[number])
            else:
                nursery.start_soon(node.run)
        yield wire.nodes
        nursery.cancel_scope.cancel()
    for node in wire.nodes:
        node.store.close()


def statuses(node: FakeNode) -> dict[str, str]:
    """The status of every hypothesis that a node knows, by title."""
    return {item.body.title: item.status for item in node.intake.ledger.hypotheses()}


async def until(condition: Callable[[], bool], seconds: float = 2_000) -> None:
    """Wait, in virtual time, until something holds."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - the condition spans several nodes' ledgers
            await trio.sleep(1)
