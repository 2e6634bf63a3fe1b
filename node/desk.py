"""The node's desk: what the network engine hands over lands here, and what it asks is answered.

It implements `gossip.interface.RecordStore`. Before the genesis is known everything is held off.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from gossip.core.index import RecordIndex
from gossip.core.messages import Hello
from gossip.interface import Verdict
from node.blobs import BlobStore
from node.claims import Claims
from node.errors import StoreError
from node.hardware import software_version
from node.presences import Presences
from node.store import RecordStore
from protocol.errors import WireError
from protocol.notices import Claim, Presence, open_notice

if TYPE_CHECKING:
    from node.intake import Intake

_log = logging.getLogger(__name__)


class Desk:
    """Receives records and notices; answers for records, blobs and the hello.

    Attributes:
        intake: The door for records; None until the genesis is known.
        claims: What peers run now.
        presences: Who is there.
        on_claim: Called after a claim was noted.
    """

    def __init__(self, *, node_id: bytes, store: RecordStore, blobs: BlobStore, role: str) -> None:
        self._node_id = node_id
        self._store = store
        self._blobs = blobs
        self._role = role
        self.intake: Intake | None = None
        self.claims = Claims()
        self.presences = Presences()
        self.on_claim: Callable[[], None] = lambda: None

    async def on_records(self, envelopes: Sequence[bytes], peer: bytes) -> list[Verdict]:
        """Take in received records; see `gossip.interface.RecordStore`."""
        del peer
        if self.intake is None:
            return ["deferred"] * len(envelopes)
        answers = await self.intake.submit_all(envelopes)
        # What the disk refused was not acknowledged; reconciliation brings it again later.
        return ["deferred" if isinstance(answer, StoreError) else answer for answer in answers]

    async def on_notice(self, notice: bytes, peer: bytes) -> None:
        """Take in a short-lived notice; see `gossip.interface.RecordStore`."""
        del peer
        if self.intake is None:
            return
        try:
            opened = open_notice(notice, swarm=self.intake.ledger.swarm)
        except WireError as error:
            _log.info("rejected a notice: %s", error)
            return
        if opened.author == self._node_id:
            return
        now_s = trio.current_time()
        match opened.body:
            case Claim() as claim:
                # A claim makes others wait: keys that nobody admitted could stop all research.
                if self.intake.ledger.is_member(opened.author):
                    self.claims.take(claim, opened.author, now_s)
                    self.on_claim()
            case Presence() as presence:
                self.presences.take(opened.author, presence, opened.created_ms, now_s)

    def index(self) -> RecordIndex:
        """The keys of all records here."""
        return RecordIndex() if self.intake is None else self.intake.index

    async def envelopes(self, ids: Sequence[bytes]) -> list[bytes]:
        """Envelopes of those records that are here."""
        return await trio.to_thread.run_sync(self._store.envelopes, ids)

    async def open_blob(self, digest: bytes) -> Path | None:
        """The file of a blob that is here."""
        return self._blobs.find(digest)

    def hello(self) -> Hello:
        """What this node says about itself."""
        if self.intake is None:
            return Hello(software_version(), None, self._role, None, 0, b"")
        ledger = self.intake.ledger
        return Hello(
            version=software_version(),
            swarm=ledger.swarm,
            role=self._role,
            head=ledger.head.id,
            records=len(self.intake.index),
            digest=self.intake.index.digest(),
        )
