"""A swarm's signed records over real scripts, in a home's store and blobs, without a node."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from node.blobs import BlobStore
from node.founding import SWARM_SETTING
from node.home import Home
from node.identity import load_or_create_identity
from node.store import RecordStore
from protocol.envelope import open_envelope, seal
from protocol.ids import blob_digest, entry_id
from protocol.keys import SigningKey
from protocol.records import Body, Genesis, Hypothesis, Origin, Record
from tests.swarm.helpers import FOUNDER, Swarm

GENESIS_SCRIPT = """\
RATE = 0.1
WIDTH = 64
DEPTH = 2


def build_model(run):
    return WIDTH


def train(run, model):
    for _ in range(DEPTH):
        pass
"""


@dataclass
class ScriptedSwarm(Swarm):
    """Makes records as `Swarm` does, over scripts that are here.

    Attributes:
        scripts: Text of every script, by the name of its hypothesis.
        rows: Every record as a store keeps it.
        rationale: What hypotheses give as their reason.
    """

    scripts: dict[str, str] = field(default_factory=dict)
    rows: list[tuple[bytes, int, bytes]] = field(default_factory=list)
    rationale: str = "because"

    def __post_init__(self) -> None:
        super().__post_init__()
        body = self.genesis.body
        assert isinstance(body, Genesis)
        changed = Genesis(
            **{name: getattr(body, name) for name in body.__slots__ if name != "source"},
            source=blob_digest(GENESIS_SCRIPT.encode()),
        )
        envelope = seal(changed, key=FOUNDER, swarm=None, created_ms=self.clock_ms)
        self.genesis = open_envelope(envelope, swarm=None)
        self.rows.append((self.genesis.id, self.clock_ms, envelope))

    @property
    def root(self) -> bytes:
        return entry_id((self.id,), blob_digest(GENESIS_SCRIPT.encode()))

    def record(self, body: Body, signer: SigningKey) -> Record:
        record = super().record(body, signer)
        envelope = seal(body, key=signer, swarm=self.id, created_ms=record.created_ms)
        self.rows.append((record.id, record.created_ms, envelope))
        return record

    def hypothesis(
        self, name: str, author: SigningKey, *, parents: tuple[bytes, ...] | None = None
    ) -> Record:
        text = self.scripts[name].encode()
        body = Hypothesis(
            parents=(self.root,) if parents is None else parents,
            source=hashlib.sha256(text).digest(),
            title=name,
            rationale=self.rationale,
            origin=Origin(proposer="offline", model="", category="optimizer", change=name),
        )
        return self.record(body, author)

    def entry(self, name: str) -> bytes:
        """Id of the entry that a script yields on the genesis."""
        return entry_id((self.root,), blob_digest(self.scripts[name].encode()))

    def write(self, root: Path) -> Home:
        """Write everything into a home."""
        home = Home(root)
        home.create()
        load_or_create_identity(home.key)
        store = RecordStore(home.database)
        store.append(self.rows)
        store.put_setting(SWARM_SETTING, self.id)
        store.close()
        blobs = BlobStore(home.blobs)
        for text in (GENESIS_SCRIPT, *self.scripts.values()):
            blobs.put(text.encode())
        return home
