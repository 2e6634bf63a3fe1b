"""Signing: how this node's own records and notices come into the world.

A record is signed, brought in through the one door like any other, and only then, when it is
durable, told to others.
"""

from dataclasses import dataclass
from typing import Protocol

from node import clock
from node.errors import NodeError
from node.intake import Intake
from protocol.envelope import peek_id, seal
from protocol.keys import SigningKey
from protocol.notices import NoticeBody, seal_notice
from protocol.records import Body


class Publisher(Protocol):
    """The part of the network that carries what this node signs."""

    async def publish_record(self, envelope: bytes) -> None:
        """Send a record to the swarm."""

    async def publish_notice(self, notice: bytes) -> None:
        """Send a notice to the swarm."""


@dataclass(frozen=True, slots=True)
class Author:
    """This node as the author of records.

    Attributes:
        key: Its identity.
        intake: The door.
        publisher: Tells others.
    """

    key: SigningKey
    intake: Intake
    publisher: Publisher

    async def publish(self, body: Body, *, aloud: bool = True) -> bytes:
        """Sign a record, make it durable, and only then tell others.

        Args:
            body: What it says.
            aloud: Whether to send it to the swarm; else peers find it when they reconcile.

        Returns:
            Its id.

        Raises:
            StoreError: The disk refused it; nobody has been told.
            NodeError: This node's own gate rejected it.
        """
        swarm = self.intake.ledger.swarm
        envelope = seal(body, key=self.key, swarm=swarm, created_ms=clock.now_ms())
        return await self.bring_in(envelope, aloud=aloud)

    async def bring_in(self, envelope: bytes, *, aloud: bool = True) -> bytes:
        """Make a record that this node has signed durable, and only then tell others.

        Args:
            envelope: The record.
            aloud: As for `publish`.

        Returns:
            Its id.

        Raises:
            StoreError: The disk refused it; nobody has been told.
            NodeError: This node's own gate rejected it.
        """
        disposition = await self.intake.submit(envelope, local=True)
        if disposition == "rejected":
            raise NodeError("this node's own record was rejected; see its log")
        if aloud:
            await self.publisher.publish_record(envelope)
        return peek_id(envelope)

    async def notify(self, body: NoticeBody) -> None:
        """Sign a notice and send it."""
        swarm = self.intake.ledger.swarm
        notice = seal_notice(body, key=self.key, swarm=swarm, created_ms=clock.now_ms())
        await self.publisher.publish_notice(notice)
