"""Founding a swarm: the genesis record, and the blobs that it names.

Everything that a joiner will need (task, first script, data) is put among the founder's blobs
here, so that peers can fetch it by hash.
"""

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

from node import clock
from node.blobs import BlobStore
from node.errors import NodeError, StoreCorruptError, UsageError
from node.home import Home
from node.identity import load_or_create_identity
from node.store import RecordStore
from protocol.envelope import open_envelope, seal
from protocol.errors import FieldError, WireError
from protocol.policy import Policy
from protocol.records import DataRef, Genesis, Metric, Record, TaskRef
from swarm.satisfiable import why_unsatisfiable
from trainer.checking import script_faults
from trainer.data import unpack
from trainer.job import TrainerError
from trainer.task import Task, load_task

SWARM_SETTING = "swarm"
"""Name of the stored setting that holds the swarm id."""


@dataclass(frozen=True, slots=True)
class Founding:
    """What a founder decides.

    Attributes:
        name: What people call the swarm.
        task_directory: The task.
        tier: Its tier.
        policy: The rules. The tier's own smallest gain of interest replaces `tau_micro`.
        tau_micro: Replaces that of the tier, as measured by `swarm-node calibrate`.
    """

    name: str
    task_directory: Path
    tier: str
    policy: Policy
    tau_micro: int | None = None


def found_swarm(home: Home, founding: Founding) -> Record:
    """Found a swarm in a home directory and return its genesis.

    Raises:
        UsageError: The home already belongs to a swarm, or the task or tier does not exist.
        NodeError: The home, the key or the store cannot be used.
    """
    home.create()
    key = load_or_create_identity(home.key)
    store = RecordStore(home.database)
    try:
        if (existing := store.setting(SWARM_SETTING)) is not None:
            raise UsageError(
                f"{home.root} already belongs to swarm {existing.hex()[:16]};"
                " choose another --home to found a new one"
            )
        try:
            task = load_task(founding.task_directory)
            if faults := script_faults(task):
                raise UsageError(f"cannot found a swarm on this task: {faults[0]}")
            body = _genesis(task, founding)
            if problem := why_unsatisfiable(body.policy):
                raise UsageError(f"nothing could be verified under this policy: {problem}")
            _put_materials(BlobStore(home.blobs), task, founding)
        except TrainerError as error:
            raise UsageError(str(error)) from error
        try:
            envelope = seal(body, key=key, swarm=None, created_ms=clock.now_ms())
        except FieldError as error:
            raise UsageError(f"cannot found this swarm: {error}") from error
        genesis = open_envelope(envelope, swarm=None)
        store.append([(genesis.id, genesis.created_ms, envelope)])
        store.put_setting(SWARM_SETTING, genesis.id)
        return genesis
    finally:
        store.close()


def _genesis(task: Task, founding: Founding) -> Genesis:
    tier = task.tier(founding.tier)
    return Genesis(
        name=founding.name,
        task=TaskRef(name=task.name, digest=task.digest, scorer=task.scorer),
        tier=tier.name,
        metric=Metric(
            name=task.metric.name, unit=task.metric.unit, direction=task.metric.direction
        ),
        data=tuple(
            DataRef(name=name, digest=bytes.fromhex(split.sha256), size_bytes=split.size_bytes)
            for name, split in sorted(task.pins.items())
        ),
        source=hashlib.sha256(task.genesis_script(tier.name).encode()).digest(),
        policy=replace(founding.policy, tau_micro=founding.tau_micro or tier.tau_micro),
        nonce=os.urandom(16),
    )


def _put_materials(blobs: BlobStore, task: Task, founding: Founding) -> None:
    blobs.put(task.bundle())
    blobs.put(task.genesis_script(founding.tier).encode())
    for split in task.pins.values():
        blobs.put(unpack(founding.task_directory, split))


def load_genesis(store: RecordStore) -> Record | None:
    """The genesis of the swarm that this store belongs to, or None for a new store.

    Raises:
        NodeError: The store names a swarm whose genesis it does not hold.
        StoreCorruptError: The stored genesis is damaged.
    """
    swarm = store.setting(SWARM_SETTING)
    if swarm is None:
        return None
    envelopes = store.envelopes([swarm])
    if not envelopes:
        raise NodeError("the store has lost its genesis record; join the swarm again")
    try:
        return open_envelope(envelopes[0], swarm=None)
    except WireError as error:
        raise StoreCorruptError(
            f"the stored genesis record is damaged ({error}); move the records file away and join"
            " the swarm again"
        ) from error
