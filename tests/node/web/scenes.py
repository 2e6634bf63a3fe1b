"""Swarms with a past, made of real signed records: what the page is looked at and tested with."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from node import view
from node.activity import Activity, Work
from node.agency import Agency
from node.blobs import BlobStore
from node.founding import SWARM_SETTING
from node.home import Home
from node.presences import Presences
from node.store import RecordStore
from node.web.board import Board, BoardSource
from node.web.events import EventLog
from node.web.routes import Site
from protocol.envelope import seal
from protocol.keys import SigningKey
from protocol.notices import Presence
from protocol.records import Hypothesis, Origin, Record
from swarm.admission import Admitted
from swarm.events import Event
from swarm.ledger import Ledger
from tests.swarm.helpers import FOUNDER, Swarm, arm, key

START_MS = 1_790_000_000_000

IDEAS = (
    ("optimizer", "Muon for the blocks' matrices"),
    ("architecture", "Rotary positions"),
    ("schedule", "Warm-up, then a linear decay to zero"),
    ("architecture", "ReLU² in the MLP"),
    ("optimizer", "LEARNING_RATE from 0.001 to 0.002"),
    ("architecture", "Normalise queries and keys"),
    ("batch", "BATCH_SIZE from 8 to 4"),
    ("initialisation", "Zero-initialised output projections"),
    ("architecture", "Attention and MLP side by side"),
    ("regularisation", "No weight decay on embeddings"),
    ("architecture", "Each block starts from a weighted sum of all earlier ones"),
    ("optimizer", "Clip gradients at a norm of one"),
)

RATIONALE = (
    "Adam's updates of a matrix are nearly of low rank; orthogonalised momentum moves all"
    " directions alike, the rare ones too.\n\nExpected: a large gain per step, some fewer steps."
)


def script(width: int, rate: float, note: str) -> bytes:
    """A small training script that differs in its constants."""
    return (
        '"""Train a byte-level language model under a fixed budget."""\n\n'
        f"WIDTH = {width}\nLEARNING_RATE = {rate:.4f}\nBATCH_SIZE = 8\n\n\n"
        "def build_model(run):\n"
        f"    # {note}\n"
        "    return Model(WIDTH, heads=2)\n\n\n"
        "def train(run, model):\n"
        "    optimizer = AdamW(model.parameters(), lr=LEARNING_RATE)\n"
        "    for tokens in run.batches(BATCH_SIZE):\n"
        "        loss = model.loss(tokens)\n"
        "        loss.backward()\n"
        "        optimizer.step()\n"
        "        optimizer.zero_grad()\n"
    ).encode()


@dataclass
class Scene:
    """A swarm, its ledger, and a site that tells of it.

    Attributes:
        blobs: Where scripts are kept.
        authors: Number of agents.
        seed: Of everything random.
        scorer: Who computes the metric.
    """

    blobs: BlobStore
    authors: int = 5
    seed: int = 0
    scorer: Literal["trusted", "reported"] = "trusted"
    swarm: Swarm = field(init=False)
    ledger: Ledger = field(init=False)
    board: Board = field(init=False)
    site: Site = field(init=False)
    presences: Presences = field(default_factory=Presences)
    now_s: float = 1_000.0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.swarm = Swarm(clock_ms=START_MS, scorer=self.scorer)
        self.ledger = Ledger(self.swarm.genesis)
        self.activity = Activity("cpu x86_64 Test Processor x2", [Work("idle")])
        self.board = Board(
            BoardSource(
                ledger=lambda: self.ledger,
                running=self.running,
                heard=self.presences.known,
                blobs=self.blobs,
                now_ms=lambda: self.swarm.clock_ms,
                now_s=lambda: self.now_s,
            )
        )
        self.site = Site(self.board, EventLog("test"), frozenset({"board.example"}))
        self.value_micro = 3_597_506
        self.agent: dict[str, Any] = Agency(None, "offline").status()
        for record in self.swarm.members(self.authors):
            self.add(record)

    def running(self) -> view.Running:
        return view.Running(FOUNDER.public, [], self.activity, "", "only watching", self.agent)

    def add(self, record: Record) -> list[Event]:
        """Bring one record in; it must enter."""
        outcome = self.ledger.add(record)
        assert isinstance(outcome, Admitted), outcome
        self.board.note(outcome.events)
        return list(outcome.events)

    def propose(self, author: SigningKey, **changes: Any) -> Record:
        """A hypothesis on the head, with a script of its own."""
        number = self.random.randrange(10**9)
        category, title = self.random.choice(IDEAS)
        text = script(
            self.random.choice((64, 80, 96, 128)), self.random.uniform(0.0005, 0.004), f"{number}"
        )
        source = self.blobs.put(text)
        body = Hypothesis(
            parents=changes.get("parents", (self.ledger.head.id,)),
            source=source,
            title=changes.get("title", title),
            rationale=changes.get("rationale", RATIONALE),
            origin=Origin(
                proposer=changes.get("proposer", "offline"),
                model="",
                category=category,
                change=changes.get("change", title),
            ),
        )
        record = self.swarm.record(body, author)
        self.add(record)
        return record

    def outcome(
        self, hypothesis: Record, signer: SigningKey, pair: int, gain_micro: int, **changes: Any
    ) -> Record:
        """One trial; the parent's metric is the head's, give or take a seed."""
        noise = round(self.random.gauss(0, 9_000))
        before = self.value_micro + noise
        after = before - gain_micro + round(self.random.gauss(0, 2_500))
        record = self.swarm.trial(
            hypothesis,
            signer,
            pair,
            gain_micro,
            parent=arm(before),
            child=changes.pop("child", None) or arm(after),
            **changes,
        )
        self.add(record)
        return record

    def try_out(self, author: int, *, gain_micro: int, crashes: bool = False) -> Record:
        """One hypothesis's whole life, as far as it gets."""
        me = key(author)
        self.swarm.clock_ms += self.random.randrange(2_000, 40_000)
        hypothesis = self.propose(me)
        self.swarm.clock_ms += self.random.randrange(5_000, 20_000)
        child = arm(None, "crashed") if crashes else None
        self.outcome(hypothesis, me, 0, gain_micro, purpose="screen", child=child)
        if crashes or self.ledger.hypothesis(hypothesis.id).status == "screened_out":
            return hypothesis
        self.verify(hypothesis, author, gain_micro)
        return hypothesis

    def verify(self, hypothesis: Record, author: int, gain_micro: int, pairs_max: int = 12) -> None:
        """Run pairs by two others until something is decided, and merge what holds."""
        others = [number for number in range(1, self.authors + 1) if number != author][:2]
        cited: list[Record] = []
        for index in range(pairs_max):
            if self.ledger.hypothesis(hypothesis.id).verdict.status in {"verified", "refuted"}:
                break
            self.swarm.clock_ms += self.random.randrange(4_000, 9_000)
            verifier = key(others[index % 2])
            cited.append(self.outcome(hypothesis, verifier, index // 2, gain_micro))
        view_ = self.ledger.hypothesis(hypothesis.id)
        if view_.verdict.status == "verified":
            self.add(self.swarm.merge(hypothesis, key(author), cited))
            metric = self.ledger.hypothesis(hypothesis.id).verdict.metric_micro
            assert metric is not None
            self.value_micro = metric

    def live_through(self, hypotheses: int, *, merge_share: float = 0.03) -> None:
        """Let the agents try many things; the gains shrink as the script gets better."""
        for _ in range(hypotheses):
            author = self.random.randrange(1, self.authors + 1)
            chance = self.random.random()
            room = max(15_000, (self.value_micro - 2_150_000) // 9)
            if chance < merge_share:
                self.try_out(author, gain_micro=round(room * self.random.uniform(0.8, 1.3)))
            elif chance < merge_share + 0.05:
                self.try_out(author, gain_micro=0, crashes=True)
            elif chance < merge_share + 0.11:
                hypothesis = self.propose(key(author))
                self.swarm.clock_ms += 9_000
                self.outcome(hypothesis, key(author), 0, 30_000, purpose="screen")
                self.verify(hypothesis, author, round(self.random.gauss(-9_000, 8_000)))
            else:
                gain = -abs(round(self.random.gauss(10_000, max(40_000, room // 3))))
                self.try_out(author, gain_micro=gain)

    def branch(self, parent: bytes, author: int = 1, gain_micro: int = 30_000) -> Record:
        """A verified, merged entry on an older one, which fork choice leaves aside."""
        hypothesis = self.propose(key(author), parents=(parent,), title="The road not taken")
        self.outcome(hypothesis, key(author), 0, gain_micro, purpose="screen")
        before = self.value_micro
        self.verify(hypothesis, author, gain_micro)
        self.value_micro = before
        return hypothesis

    def presence(self, author: int, **changes: Any) -> None:
        """Let an agent say that it is there."""
        head = self.ledger.head
        said: dict[str, Any] = {
            "role": "agent",
            "version": "0.1.0",
            "device": f"cpu x86_64 Test Processor {author} x{2 + author}",
            "sandbox": "bubblewrap",
            "head": head.id,
            "depth": head.depth,
            "records": len(self.ledger),
            "digest": self.ledger.digest,
            "state": "idle",
            "hypothesis": b"",
            "progress_permille": 0,
            "wants_admission": False,
            "addresses": (),
            **changes,
        }
        self.presences.take(key(author).public, Presence(**said), self.swarm.clock_ms, self.now_s)

    def settle(self) -> dict[str, Any]:
        """Renew the board and tell what has changed, as the service does."""
        change = self.board.renew_now()
        self.site.ready = True
        return change


def make_scene(directory: Path, hypotheses: int = 60, **options: Any) -> Scene:
    """A scene with a past and five agents at work."""
    directory.mkdir(parents=True, exist_ok=True)
    scene = Scene(BlobStore(directory), **options)
    scene.live_through(hypotheses)
    return scene


def write_home(scene: Scene, root: Path) -> Home:
    """A home that holds a scene's records, with nobody running; its scripts stay where they are."""
    home = Home(root)
    home.create()
    store = RecordStore(home.database)

    def envelope(record: Record) -> tuple[bytes, int, bytes]:
        signers = [FOUNDER, *(key(number) for number in range(1, scene.authors + 1))]
        signer = next(one for one in signers if one.public == record.author)
        swarm = None if record.id == scene.swarm.id else scene.swarm.id
        sealed = seal(record.body, key=signer, swarm=swarm, created_ms=record.created_ms)
        return record.id, record.created_ms, sealed

    store.append([envelope(record) for record in scene.ledger.records()])
    store.put_setting(SWARM_SETTING, scene.swarm.id)
    store.close()
    return home
