"""The network of one node: `Network` wires engine, peers, pubsub, reconciliation and blobs.

Everything runs in the nursery of `serve`; a cancelled `serve` leaves nothing behind. This file
decides when things happen: whom to dial, greet and reconcile with. It refuses to know what records
mean, and it imports libp2p only when the network is served, since that takes seconds.
"""

import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio

from gossip.core.addresses import Address, parse_address, parse_dialable
from gossip.core.dialer import Dialer
from gossip.core.messages import Hello
from gossip.core.rates import FAULT_BLOB, FAULT_FRAME
from gossip.errors import (
    AddressError,
    BlobUnavailableError,
    GossipError,
    RequestError,
    WrongSwarmError,
)
from gossip.interface import NetworkConfig, PeerInfo, RecordStore, SyncReport
from gossip.net.peers import PeerTable, ignore_ban
from protocol.keys import SigningKey
from protocol.limits_network import (
    BLOB_RATE_BYTES_PER_S,
    BLOB_STALL_S,
    BLOB_STREAMS_PER_PEER_MAX,
    BLOB_STREAMS_TOTAL_MAX,
    BLOB_TIMEOUT_S,
    HELLO_TIMEOUT_S,
    PEER_ADDRESSES_MAX,
    SYNC_TIMEOUT_S,
)

if TYPE_CHECKING:
    # These import libp2p.
    from gossip.net.engine import Engine
    from gossip.net.meetings import Meetings
    from gossip.net.relay import Relay
    from gossip.net.schedule import Schedule
    from gossip.net.streams import Frames
    from gossip.net.sync import Synchroniser

_AGREEMENT_POLL_S: Final = 0.1


class Network:
    """A node's connection to its swarm."""

    def __init__(
        self,
        config: NetworkConfig,
        store: RecordStore,
        *,
        rng: random.Random | None = None,
        transport: Any = None,
    ) -> None:
        """Prepare; `serve` starts it.

        Args:
            config: How to run.
            store: The node's records.
            rng: Source of jitter and of choices among peers.
            transport: A libp2p transport in place of TCP, for simulations.
        """
        self._config = config
        self._store = store
        self._rng = rng or random.Random()
        self._transport = transport
        self._listen = parse_address(config.listen)
        self.node_id = SigningKey.from_seed(config.seed).public
        self._peers = PeerTable(clock=trio.current_time)
        self._dialer = Dialer(self_id=self.node_id, wanted=config.wanted_peers, rng=self._rng)
        self._running: _Running | None = None

    async def serve(self, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Listen and take part until cancelled.

        Args:
            task_status: Started once the network listens and `addresses` is known.

        Raises:
            AddressInUseError: Someone listens on the port already.
        """
        assert self._running is None
        from gossip.net.engine import listening_addresses, run_engine

        running = self._build()
        try:
            async with (
                run_engine(running.engine, self._listen, probe=self._transport is None),
                trio.open_nursery() as nursery,
            ):
                running.nursery = nursery
                running.meetings.own_addresses = self._advertised(
                    listening_addresses(running.engine)
                )
                self._peers.on_ban = lambda node_id: nursery.start_soon(
                    running.meetings.part_from, node_id
                )
                self._running = running
                try:
                    task_status.started()
                    await trio.sleep_forever()
                finally:
                    # The engine outlives the nursery by a moment, and may still find faults.
                    self._peers.on_ban = ignore_ban
        finally:
            self._running = None

    @property
    def addresses(self) -> tuple[str, ...]:
        """Full, concrete addresses at which others reach this node."""
        return () if self._running is None else self._running.meetings.own_addresses

    def peers(self) -> list[PeerInfo]:
        """The connected peers."""
        if self._running is None:
            return []
        return self._peers.infos(self._running.meetings.is_direct)

    async def meet(self, address: str) -> Hello:
        """Connect to a node and exchange hellos.

        Raises:
            AddressError: The address cannot be dialled.
            UnreachableError: Nobody, or somebody else, answers there.
            WrongSwarmError: The node belongs to another swarm.
        """
        hello, _ = await self._meet(address, genesis=False)
        return hello

    async def fetch_genesis(self, address: str) -> bytes:
        """Connect to a node of a swarm and fetch the swarm's genesis envelope.

        The envelope is unchecked bytes from a stranger.

        Raises:
            AddressError: The address cannot be dialled.
            UnreachableError: Nobody, or somebody else, answers there.
            WrongSwarmError: The node is in no swarm, or in another than ours.
        """
        _, genesis = await self._meet(address, genesis=True)
        if genesis is None:
            raise WrongSwarmError(f"the node at {address} has not joined a swarm yet")
        return genesis

    async def enter(self, swarm_id: bytes) -> None:
        """Take part in a swarm from now on: topics, dialer, hellos, reconciliation."""
        running = await self._served()
        assert running.nursery is not None
        assert self._peers.swarm_id is None, "a network enters one swarm"
        self._peers.swarm_id = swarm_id
        self._peers.greet_all_again()
        await running.relay.enter(swarm_id)
        self._dialer.learn(map(parse_dialable, self._config.bootstrap), bootstrap=True)
        running.nursery.start_soon(running.relay.run)
        running.nursery.start_soon(running.schedule.run)

    async def publish_record(self, envelope: bytes) -> None:
        """Send one of our records to the swarm, soon and in company."""
        await (await self._served()).relay.publish_record(envelope)

    async def publish_notice(self, notice: bytes) -> None:
        """Send a notice to the swarm now."""
        await (await self._served()).relay.publish_notice(notice)

    def suggest_sync(self, node_id: bytes) -> None:
        """Reconcile with a peer soon, such as after its presence showed another digest."""
        if self._peers.same_swarm(node_id):
            self._serving().schedule.suggest_sync(node_id)

    async def wait_reconciled(self, peers: int = 1) -> None:
        """Wait until our set of records was once found, or made, equal to those of so many peers.

        Args:
            peers: One may hide from us what it has; several seldom hide the same.
        """
        await self._served()
        while self._peers.agreeing() < peers:  # noqa: ASYNC110
            await trio.sleep(_AGREEMENT_POLL_S)

    async def reconcile(self, node_id: bytes) -> SyncReport:
        """Reconcile with a connected peer now.

        Raises:
            RequestError: The peer is not connected, or the reconciliation was cut.
        """
        from gossip.net.sync import SYNC_PROTOCOL

        running = await self._served()

        async def conversation(frames: "Frames") -> SyncReport:
            return await running.sync.initiate(node_id, frames)

        report = await running.meetings.ask(node_id, SYNC_PROTOCOL, SYNC_TIMEOUT_S, conversation)
        if report.complete:
            self._peers.agreed(node_id)
        return report

    async def fetch_blob(self, digest: bytes, size_limit: int, sink: Path) -> None:
        """Fetch a blob from any connected peer into a file.

        Args:
            digest: SHA-256 of the blob.
            size_limit: Largest size accepted, in bytes.
            sink: File to make; a part received earlier lies beside it and is used. Two tasks
                must not fetch into one sink at once.

        Raises:
            BlobUnavailableError: No connected peer delivered it.
            OSError: The file cannot be written.
        """
        members = [peer.node_id for peer in self._peers.members()]
        self._rng.shuffle(members)
        reasons = []
        for node_id in members:
            try:
                await self._fetch_from(node_id, digest, size_limit, sink)
            except GossipError as error:
                reasons.append(f"{node_id.hex()[:8]}: {error}")
            else:
                return
        tried = "; ".join(reasons) or "no peer of the swarm is connected"
        raise BlobUnavailableError(f"blob {digest.hex()[:12]} is not to be had ({tried})")

    async def _fetch_from(self, node_id: bytes, digest: bytes, size_limit: int, sink: Path) -> None:
        """Fetch a blob from one peer.

        Raises:
            GossipError: It did not deliver; it is charged if that is its fault.
        """
        from gossip.net.blobs import BLOB_PROTOCOL, BlobMismatchError, fetch_blob

        async def conversation(frames: "Frames") -> None:
            await fetch_blob(frames, digest, size_limit, sink)

        ask = (await self._served()).meetings.ask
        try:
            # A peer that trickles a small blob must not have the time that a corpus may take.
            timeout_s = min(BLOB_TIMEOUT_S, BLOB_STALL_S + size_limit / BLOB_RATE_BYTES_PER_S)
            await ask(node_id, BLOB_PROTOCOL, timeout_s, conversation)
        except BlobMismatchError as error:
            if error.resumed:
                # Another peer may have poisoned the part; from the start, it is this one's fault.
                await self._fetch_from(node_id, digest, size_limit, sink)
                return
            self._peers.fault(node_id, FAULT_BLOB, "a blob with the wrong hash")
            raise

    async def _meet(self, text: str, *, genesis: bool) -> tuple[Hello, bytes | None]:
        address = parse_dialable(text)
        assert address.node_id is not None
        if address.node_id == self.node_id:
            raise AddressError(f"{text} is this node itself")
        running = await self._served()
        _, greeting, envelope = await running.meetings.meet(
            address.node_id, [address], genesis=genesis
        )
        return greeting.hello, envelope

    async def _served(self) -> "_Running":
        """The running parts, for a caller that may be ending together with the network.

        A caller that was in a thread while everything was cancelled learns of it here, and not
        from an error that says that the network is gone.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        return self._serving()

    def _serving(self) -> "_Running":
        if self._running is None:
            raise RequestError("the network is not being served")
        return self._running

    def _advertised(self, listening: list[Address]) -> tuple[str, ...]:
        """What to tell others: the operator's addresses, else those we listen on."""
        given = [parse_address(text) for text in self._config.advertise]
        own = [replace(address, node_id=self.node_id) for address in given or listening]
        return tuple(str(address) for address in own[:PEER_ADDRESSES_MAX])

    def _build(self) -> "_Running":
        """Build the engine and connect it to our handlers; nothing runs yet."""
        from gossip.net.blobs import BLOB_PROTOCOL, serve_blob
        from gossip.net.engine import build_engine, watch_connections
        from gossip.net.meetings import HELLO_PROTOCOL, PEERS_PROTOCOL, Meetings
        from gossip.net.relay import Relay
        from gossip.net.schedule import Schedule
        from gossip.net.streams import Server, node_id_of
        from gossip.net.sync import SYNC_PROTOCOL, Synchroniser

        peers, store = self._peers, self._store

        def engine_fault(peer_id: Any) -> None:
            node_id = node_id_of(peer_id)
            if node_id is not None:
                peers.fault(node_id, FAULT_FRAME, "malformed traffic")

        engine = build_engine(
            seed=self._config.seed,
            listen=self._listen,
            peers_max=self._config.peers_max,
            clock=trio.current_time,
            on_fault=engine_fault,
            transport=self._transport,
        )
        relay = Relay(engine.pubsub, store, refuses=peers.refused, on_fault=peers.fault)
        sync = Synchroniser(store, clock=trio.current_time, on_fault=peers.fault)
        meetings = Meetings(engine.host, store, peers, self._dialer)
        watch_connections(engine, meetings.connected, meetings.disconnected)

        async def serve_sync(node_id: bytes, frames: "Frames") -> None:
            self._require_member(node_id)
            await sync.serve(node_id, frames)

        async def serve_blobs(node_id: bytes, frames: "Frames") -> None:
            self._require_member(node_id)
            await serve_blob(store, frames)

        server = Server(
            engine.host,
            refuses=peers.refused,
            on_fault=lambda node_id, words: peers.fault(node_id, FAULT_FRAME, words),
            on_heard=peers.heard,
        )
        server.add(HELLO_PROTOCOL, HELLO_TIMEOUT_S, meetings.serve_hello)
        server.add(PEERS_PROTOCOL, HELLO_TIMEOUT_S, meetings.serve_peers)
        server.add(SYNC_PROTOCOL, SYNC_TIMEOUT_S, serve_sync)
        server.add(
            BLOB_PROTOCOL,
            BLOB_TIMEOUT_S,
            serve_blobs,
            per_peer_max=BLOB_STREAMS_PER_PEER_MAX,
            total_max=BLOB_STREAMS_TOTAL_MAX,
        )
        schedule = Schedule(
            self._config,
            peers=peers,
            dialer=self._dialer,
            meetings=meetings,
            reconcile=self.reconcile,
            rng=self._rng,
        )
        return _Running(engine, relay, sync, meetings, schedule)

    def _require_member(self, node_id: bytes) -> None:
        if not self._peers.same_swarm(node_id):
            raise RequestError("the peer has not shown that it is of our swarm")


@dataclass(slots=True)
class _Running:
    """The parts of a network that is being served."""

    engine: "Engine"
    relay: "Relay"
    sync: "Synchroniser"
    meetings: "Meetings"
    schedule: "Schedule"
    nursery: trio.Nursery | None = None
