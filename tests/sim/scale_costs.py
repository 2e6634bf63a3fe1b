"""What a record and a pubsub message cost a node: CPU seconds, measured with the node's real code.

A record: opened, its signature and seed proof checked, judged and folded into the ledger, written
to SQLite. A message: a bundle that real libp2p hosts pass to each other over the memory transport,
so without encryption and the kernel's share.
"""

import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio
import trio.testing

from node.door import Door
from node.store import RecordStore
from protocol.keys import SigningKey
from protocol.policy import LAB
from protocol.records import Body, Record
from tests.gossip.test_simulation import NODES, Simulation
from tests.swarm.helpers import TAU, Swarm, key

AUTHORS: Final = 20
HYPOTHESES: Final = 100
MESSAGES: Final = 60
APART_S: Final = 0.2
"""Longer than a bundle waits for company: each record is a message of its own."""


@dataclass(frozen=True)
class Costs:
    """CPU seconds.

    Attributes:
        record_s: A record, in the mix of a swarm.
        message_s: A pubsub message, all copies that arrive and leave included.
    """

    record_s: float
    message_s: float

    def describe(self) -> str:
        """Both in words."""
        return (
            f"{1e3 * self.record_s:.2f} ms CPU a record (checked, folded, stored),"
            f" {1e3 * self.message_s:.2f} ms a pubsub message (real hosts, no encryption)"
        )


def measure() -> Costs:
    """Measure on this machine; takes some ten CPU seconds."""
    return Costs(_record_s(), _message_s())


class _Sealed(Swarm):
    """A swarm that keeps the envelopes."""

    def record(self, body: Body, signer: SigningKey) -> Record:
        from protocol.envelope import seal

        record = super().record(body, signer)
        envelope = seal(body, key=signer, swarm=self.id, created_ms=record.created_ms)
        self.envelopes[record.id] = envelope
        return record

    def __post_init__(self) -> None:
        super().__post_init__()
        self.envelopes: dict[bytes, bytes] = {}


def _record_s() -> float:
    swarm = _Sealed(policy=LAB)
    rng = random.Random(1)
    swarm.members(AUTHORS)
    for number in range(HYPOTHESES):
        author = key(1 + number % AUTHORS)
        hypothesis = swarm.hypothesis(f"{number}", author)
        swarm.trial(hypothesis, author, 0, TAU if number % 7 == 0 else -TAU, purpose="screen")
        if number % 7 == 0:
            verifiers = [key(1 + (number + step) % AUTHORS) for step in range(1, 8)]
            swarm.trials(hypothesis, verifiers, [round(rng.gauss(2 * TAU, TAU)) for _ in range(12)])
    with tempfile.TemporaryDirectory() as folder:
        store = RecordStore(Path(folder) / "records.sqlite")
        door = Door(swarm.genesis, [])
        began_s = time.process_time()
        for envelope in swarm.envelopes.values():
            judged = door.judge(envelope, local=True, now_s=0.0)
            assert judged.disposition == "accepted"
            store.append(judged.rows)
            door.settle(judged.rows)
        spent_s = time.process_time() - began_s
        store.close()
    return spent_s / len(swarm.envelopes)


def _message_s() -> float:
    """CPU of a message at one host: with messages, less the same time without."""
    spent: dict[bool, float] = {}

    async def main(*, busy: bool) -> None:
        simulation = Simulation()
        async with trio.open_nursery() as nursery:
            await simulation.start(nursery)
            await simulation.until(
                lambda: min(len(network.peers()) for network in simulation.networks) >= 6
            )
            await trio.sleep(5)
            began_s = time.process_time()
            for number in range(MESSAGES):
                if busy:
                    await simulation.publish(number % NODES, 10_000 + number)
                await trio.sleep(APART_S)
            await trio.sleep(3)
            spent[busy] = time.process_time() - began_s
            if busy:
                assert simulation.counts() == {MESSAGES}
            nursery.cancel_scope.cancel()

    for busy in (False, True):
        trio.run(
            lambda busy=busy: main(busy=busy), clock=trio.testing.MockClock(autojump_threshold=0)
        )
    return max(0.0, spent[True] - spent[False]) / MESSAGES / NODES
