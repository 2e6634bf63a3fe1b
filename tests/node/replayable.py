"""A home that founded a swarm on the tiny task: a lineage of real scripts, with made-up trials."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from node.blobs import BlobStore
from node.founding import Founding, found_swarm
from node.home import Home
from node.identity import load_identity
from node.store import RecordStore
from protocol.envelope import open_envelope, seal
from protocol.ids import entry_id
from protocol.policy import DEMO
from protocol.records import Admit, Body, Genesis, Hypothesis, Merge, Origin, Record
from tests.swarm.helpers import PARENT_MICRO, arm, key, steady, trial_body
from tests.trainer.tiny import write_task
from trainer.constants import set_constants
from trainer.task import load_task

if TYPE_CHECKING:
    from pathlib import Path

    from protocol.keys import SigningKey

SCALES = """
[scales.width]
constants = ["D_MODEL"]
factors = [2]
budget_exponent = 1
"""

TIER = "tokens"
"""Its genesis script learns slowly: a larger rate helps at every width."""


@dataclass
class Replayable:
    """The home and what its lineage is made of.

    Attributes:
        home: The founder's home; no node runs on it.
        genesis: The swarm's genesis.
        entries: Entry ids from the genesis on.
    """

    home: Home
    genesis: Record
    entries: list[bytes]
    _clock_ms: int = 0

    def record(self, body: Body, signer: SigningKey) -> Record:
        """Sign a record and put it into the home's store."""
        self._clock_ms += 1
        created_ms = self.genesis.created_ms + self._clock_ms
        envelope = seal(body, key=signer, swarm=self.genesis.id, created_ms=created_ms)
        store = RecordStore(self.home.database)
        record = open_envelope(envelope, swarm=self.genesis.id)
        store.append([(record.id, created_ms, envelope)])
        store.close()
        return record

    def merge(self, title: str, script: str) -> bytes:
        """Add an entry to the lineage, verified by two members; returns its id."""
        source = BlobStore(self.home.blobs).put(script.encode())
        parent = self.entries[-1]
        origin = Origin("offline", "", "optimizer", title)
        hypothesis = self.record(Hypothesis((parent,), source, title, "", origin), key(1))
        trials = []
        for index, gain_micro in enumerate(steady(200_000, 8)):
            verifier, pair = key(2 + index % 2), index // 2
            arms = arm(PARENT_MICRO), arm(PARENT_MICRO - gain_micro)
            trial = trial_body(hypothesis.id, verifier, pair, *arms, machine="")
            trials.append(self.record(trial, verifier).id)
        self.record(Merge(hypothesis.id, tuple(trials)), key(1))
        self.entries.append(entry_id((parent,), source))
        return self.entries[-1]


def replayable(directory: Path, manifest_more: str = "") -> Replayable:
    """Found a swarm and merge a change that helps, then one that does nothing.

    Args:
        directory: Where task and home are made.
        manifest_more: Put behind the task's manifest, such as another tier.
    """
    task = write_task(directory / "task")
    manifest = task / "task.toml"
    manifest.write_text(manifest.read_text() + SCALES + manifest_more)
    home = Home(directory / "home")
    genesis = found_swarm(home, Founding("tiny", task, TIER, DEMO))
    assert isinstance(genesis.body, Genesis)
    root = entry_id((genesis.id,), genesis.body.source)
    made = Replayable(home, genesis, [root])
    founder = load_identity(home.key)
    for number in (1, 2, 3):
        made.record(Admit(key(number).public, False, genesis.id, 0), founder)
    script = load_task(task).genesis_script(TIER)
    assert hashlib.sha256(script.encode()).digest() == genesis.body.source
    faster = set_constants(script, {"LEARNING_RATE": 0.02})
    made.merge("faster", faster)
    made.merge("nothing", faster + "\nUNUSED = 1\n")
    return made
