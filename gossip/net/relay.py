"""Publishing and relaying over pubsub: bundles of records, and notices.

A message is relayed only after our node took it in: the validator hands every record of a bundle
to the store, and a bundle with a record that is proven wrong stops here and counts against the
peer that forwarded it, which should have done the same. What is lost on the way is found by
reconciliation. This file refuses to know what records and notices say.
"""

import logging
from collections.abc import Callable
from typing import Any, Final

import trio

from gossip.core.bundles import (
    Bundler,
    OutEvent,
    Publish,
    SendBundle,
    SetTimer,
    TimerFired,
    split_bundle,
)
from gossip.core.rates import (
    FAULT_FLOOD,
    FAULT_FRAME,
    FAULT_RECORD,
    TokenBuckets,
)
from gossip.interface import RecordStore
from gossip.net import fixes
from gossip.net.streams import node_id_of
from protocol.errors import WireError
from protocol.limits import NOTICE_BYTES_MAX
from protocol.limits_network import (
    AUTHOR_BURST_MESSAGES,
    AUTHOR_RATE_MESSAGES_PER_S,
    BUNDLE_BYTES_MAX,
    FORWARDER_BURST_BYTES,
    FORWARDER_RATE_BYTES_PER_S,
    VALIDATIONS_MAX,
)

log = logging.getLogger(__name__)

_VALIDATION_S: Final = 30.0
"""Time for the store to take a bundle in."""


def records_topic(swarm_id: bytes) -> str:
    """Pubsub topic of a swarm's bundles."""
    return f"/swarm-node/{swarm_id.hex()}/records/1"


def notices_topic(swarm_id: bytes) -> str:
    """Pubsub topic of a swarm's notices."""
    return f"/swarm-node/{swarm_id.hex()}/notices/1"


class Relay:
    """Our side of pubsub for one swarm."""

    def __init__(
        self,
        pubsub: Any,
        store: RecordStore,
        *,
        refuses: Callable[[bytes], bool],
        on_fault: Callable[[bytes, float, str], None],
    ) -> None:
        """Prepare; nothing is subscribed before `enter`.

        Args:
            pubsub: The libp2p pubsub object.
            store: Where records and notices go.
            refuses: Whether messages of a node, as forwarder or author, are dropped.
            on_fault: Called with a node id, points, and words.
        """
        self._pubsub = pubsub
        self._store = store
        self._refuses = refuses
        self._on_fault = on_fault
        self._forwarders = TokenBuckets(
            rate_per_s=FORWARDER_RATE_BYTES_PER_S, burst=FORWARDER_BURST_BYTES
        )
        self._authors = TokenBuckets(
            rate_per_s=AUTHOR_RATE_MESSAGES_PER_S, burst=AUTHOR_BURST_MESSAGES
        )
        self._bundler = Bundler()
        self._due_s: float | None = None
        self._timer_changed = trio.Event()
        self._swarm_id: bytes | None = None
        pubsub.validation_timeout = _VALIDATION_S
        fixes.deliver_in_validator(pubsub, self._admit)
        fixes.contain_pubsub(pubsub, self._libp2p_fault)

    async def enter(self, swarm_id: bytes) -> None:
        """Subscribe to a swarm's topics.

        Peers say only once, on connecting, what they subscribe to. The one that told us the genesis
        has said so already, so until here every topic is noted, up to the library's limit a peer.
        """
        assert self._swarm_id is None
        self._swarm_id = swarm_id
        topics = (records_topic(swarm_id), notices_topic(swarm_id))
        self._pubsub.allowed_topics = frozenset(topics)
        for topic in self._pubsub.peer_topics.keys() - set(topics):
            del self._pubsub.peer_topics[topic]
        self._pubsub.set_topic_validator(topics[0], self._take_bundle, True)
        self._pubsub.set_topic_validator(topics[1], self._take_notice, True)
        for topic in topics:
            await self._pubsub.subscribe(topic)

    async def publish_record(self, envelope: bytes) -> None:
        """Send a record in the next bundle."""
        await self._perform(self._bundler.handle(Publish(envelope), trio.current_time()))

    async def publish_notice(self, notice: bytes) -> None:
        """Send a notice at once."""
        assert self._swarm_id is not None
        assert len(notice) <= NOTICE_BYTES_MAX
        await self._pubsub.publish(notices_topic(self._swarm_id), notice)

    async def run(self) -> None:
        """Send bundles when their time has come; runs until cancelled."""
        while True:
            self._timer_changed = trio.Event()
            if self._due_s is None:
                await self._timer_changed.wait()
                continue
            await trio.sleep_until(self._due_s)
            self._due_s = None
            await self._perform(self._bundler.handle(TimerFired(), trio.current_time()))

    async def _perform(self, events: list[OutEvent]) -> None:
        for event in events:
            match event:
                case SendBundle(data):
                    assert self._swarm_id is not None
                    await self._pubsub.publish(records_topic(self._swarm_id), data)
                case SetTimer(at_s):
                    self._due_s = at_s
                    self._timer_changed.set()

    def _admit(self, forwarder: Any, message: Any) -> bool:
        """The cheapest checks, before a signature is verified."""
        node_id = node_id_of(forwarder)
        size = len(message.data)
        if node_id is None or self._refuses(node_id) or size > BUNDLE_BYTES_MAX:
            return False
        if len(self._pubsub.validations_in_flight) >= VALIDATIONS_MAX:
            return False
        if not self._forwarders.take(node_id, size, trio.current_time()):
            self._on_fault(node_id, FAULT_FLOOD, "too much pubsub traffic")
            return False
        return True

    def _author_may(self, message: Any) -> bool:
        """The author's rate; its signature over the message has been verified."""
        from libp2p.peer.id import ID

        author = node_id_of(ID(message.from_id))
        if author is None or self._refuses(author):
            return False
        return self._authors.take(author, 1.0, trio.current_time())

    async def _take_bundle(self, forwarder: Any, message: Any) -> bool:
        """Validator of the records topic: whether the bundle is relayed."""
        if forwarder == self._pubsub.my_id:
            return True
        node_id = node_id_of(forwarder)
        if node_id is None or not self._author_may(message):
            return False
        try:
            envelopes = split_bundle(message.data)
        except WireError as error:
            self._on_fault(node_id, FAULT_FRAME, f"bundle: {error}")
            return False
        try:
            verdicts = await self._store.on_records(envelopes, node_id)
        except Exception:
            # Our own store failed, such as on a full disk; reconciliation tries again later.
            log.exception("taking in records failed here")
            return False
        rejected = verdicts.count("rejected")
        for _ in range(rejected):
            self._on_fault(node_id, FAULT_RECORD, "a rejected record in a bundle")
        return not rejected

    async def _take_notice(self, forwarder: Any, message: Any) -> bool:
        """Validator of the notices topic."""
        if forwarder == self._pubsub.my_id:
            return True
        node_id = node_id_of(forwarder)
        if node_id is None or not self._author_may(message):
            return False
        if not 0 < len(message.data) <= NOTICE_BYTES_MAX:
            self._on_fault(node_id, FAULT_FRAME, "notice of a wrong size")
            return False
        await self._store.on_notice(message.data, node_id)
        return True

    def _libp2p_fault(self, peer_id: Any) -> None:
        node_id = node_id_of(peer_id)
        if node_id is not None:
            self._on_fault(node_id, FAULT_FRAME, "malformed pubsub traffic")
