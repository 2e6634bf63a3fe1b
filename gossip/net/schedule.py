"""When things happen: dialling, hellos and reconciliation, each a loop in the network's nursery.

This file decides the times and the choice of peers. It refuses to know how the work is done.
"""

import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from gossip.core.dialer import Attempt, Dialer
from gossip.errors import RequestError, UnreachableError, WrongSwarmError
from gossip.interface import NetworkConfig, SyncReport
from gossip.net.meetings import Meetings
from gossip.net.peers import Peer, PeerTable

log = logging.getLogger(__name__)

_TICK_S: Final = 0.5
_INTRODUCTION_S: Final = 60.0
"""A connection whose peer has not shown that it is of our swarm by then is closed."""

_FAILURES_MAX: Final = 2
"""Hellos in a row that a peer may leave unanswered."""

_SYNCS_MAX: Final = 3
"""Reconciliations that we run at once, so that a slow peer does not hold up the others."""

_EXCHANGE_PERIOD_S: Final = 60.0
"""Time between two questions to one peer for the addresses of others."""

_SYNC_GAP_S: Final = 1.0
"""Least time between reconciliations with one peer, whatever its hellos say."""

_SYNC_RETRY_S: Final = 5.0
_SYNC_RETRY_MAX_S: Final = 300.0
"""Time until a peer that did not see a reconciliation through is asked for another one, at first
and at most."""

Reconcile = Callable[[bytes], Awaitable[SyncReport]]


class Schedule:
    """The loops of a network that has entered a swarm."""

    def __init__(
        self,
        config: NetworkConfig,
        *,
        peers: PeerTable,
        dialer: Dialer,
        meetings: Meetings,
        reconcile: Reconcile,
        rng: random.Random,
    ) -> None:
        self._config = config
        self._peers = peers
        self._dialer = dialer
        self._meetings = meetings
        self._reconcile = reconcile
        self._rng = rng
        self._wanted: set[bytes] = set()
        self._syncing: set[bytes] = set()
        self._sync_now = trio.Event()

    def suggest_sync(self, node_id: bytes) -> None:
        """Reconcile with a peer as soon as may be."""
        self._wanted.add(node_id)
        self._sync_now.set()

    async def run(self) -> None:
        """Keep the node connected, introduced and up to date; runs until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_dialling, nursery)
            nursery.start_soon(self._keep_greeting, nursery)
            nursery.start_soon(self._keep_reconciling, nursery)

    async def _keep_dialling(self, nursery: trio.Nursery) -> None:
        while True:
            attempts = self._dialer.due(
                self._peers.ids(), self._peers.dialled(), trio.current_time()
            )
            for attempt in attempts:
                nursery.start_soon(self._attempt, attempt)
            await trio.sleep(_TICK_S)

    async def _attempt(self, attempt: Attempt) -> None:
        node_id = attempt.node_id
        if self._peers.refused(node_id):
            self._dialer.failed(node_id, trio.current_time())
            return
        try:
            address, _, _ = await self._meetings.meet(node_id, attempt.addresses)
        except UnreachableError as error:
            log.info("%s", error)
            self._dialer.failed(node_id, trio.current_time())
            return
        except WrongSwarmError as error:
            log.warning("%s: %s", attempt.addresses[0], error)
            return
        self._dialer.succeeded(node_id, address, trio.current_time())
        self._compare(node_id)
        await self._look_for_others(node_id)

    async def _keep_greeting(self, nursery: trio.Nursery) -> None:
        while True:
            now_s = trio.current_time()
            for peer in self._peers.all():
                stranger = not self._peers.same_swarm(peer.node_id)
                if stranger and now_s - peer.connected_s > _INTRODUCTION_S:
                    nursery.start_soon(self._meetings.part_from, peer.node_id)
                elif not peer.greeting_now and self._is_greeting_due(peer, now_s):
                    peer.greeting_now = True
                    nursery.start_soon(self._greet, peer)
            await trio.sleep(_TICK_S)

    def _is_greeting_due(self, peer: Peer, now_s: float) -> bool:
        if peer.greeted_s is None or peer.rtt_ms is None:
            return True
        # Jitter keeps the hellos of many peers from coming in step.
        return now_s - peer.greeted_s > self._config.hello_period_s * self._rng.uniform(0.8, 1.2)

    async def _greet(self, peer: Peer) -> None:
        try:
            await self._meetings.greet(peer.node_id)
        except RequestError as error:
            peer.failures += 1
            log.debug("no hello from %s: %s", peer.node_id.hex()[:8], error)
            if peer.failures >= _FAILURES_MAX:
                await self._meetings.part_from(peer.node_id)
        except WrongSwarmError as error:
            log.warning("%s", error)
        else:
            self._compare(peer.node_id)
            await self._look_for_others(peer.node_id)
        finally:
            peer.greeting_now = False

    async def _look_for_others(self, node_id: bytes) -> None:
        """Ask a member for addresses while we have too few connections."""
        if self._peers.dialled() >= self._config.wanted_peers:
            return
        peer = self._peers.get(node_id)
        now_s = trio.current_time()
        if peer is None or not self._peers.same_swarm(node_id):
            return
        if peer.exchanged_s is not None and now_s - peer.exchanged_s < _EXCHANGE_PERIOD_S:
            return
        peer.exchanged_s = now_s
        try:
            await self._meetings.exchange(node_id)
        except RequestError as error:
            log.debug("no addresses from %s: %s", node_id.hex()[:8], error)

    def _compare(self, node_id: bytes) -> None:
        """Reconcile with a peer whose set of records is not ours; an equal set needs nothing."""
        peer = self._peers.get(node_id)
        if peer is None or peer.greeting is None or not self._peers.same_swarm(node_id):
            return
        if peer.greeting.hello.digest != self._meetings.own_greeting().hello.digest:
            self.suggest_sync(node_id)
        else:
            self._peers.agreed(node_id)

    async def _keep_reconciling(self, nursery: trio.Nursery) -> None:
        while True:
            period_s = self._config.sync_period_s * self._rng.uniform(0.5, 1.5)
            with trio.move_on_after(period_s) as waiting:
                await self._sync_now.wait()
            self._sync_now = trio.Event()
            now_s = trio.current_time()
            ready = [
                peer
                for peer in self._peers.members()
                if peer.node_id not in self._syncing
                and (peer.synced_s is None or now_s - peer.synced_s >= _SYNC_GAP_S)
                and now_s >= peer.sync_again_s
            ]
            self._rng.shuffle(ready)
            self._wanted &= self._peers.ids()
            chosen = [peer for peer in ready if peer.node_id in self._wanted]
            if waiting.cancelled_caught and not chosen:
                chosen = ready[:1]
            for peer in chosen[: max(0, _SYNCS_MAX - len(self._syncing))]:
                peer.synced_s = now_s
                self._wanted.discard(peer.node_id)
                self._syncing.add(peer.node_id)
                nursery.start_soon(self._sync, peer)
            if self._wanted:
                await trio.sleep(_TICK_S)
                self._sync_now.set()

    async def _sync(self, peer: Peer) -> None:
        try:
            report = await self._reconcile(peer.node_id)
        except RequestError as error:
            log.debug("reconciliation with %s ended: %s", peer.node_id.hex()[:8], error)
            # Few run at once: who stalls them must not keep those waiting who answer.
            wait_s = min(_SYNC_RETRY_MAX_S, _SYNC_RETRY_S * 2.0**peer.sync_failures)
            peer.sync_failures = min(peer.sync_failures + 1, 16)
            peer.sync_again_s = trio.current_time() + wait_s
        except Exception:
            # Our own store failed, such as on a full disk: the next reconciliation tries again.
            log.exception("reconciliation with %s failed here", peer.node_id.hex()[:8])
        else:
            peer.sync_failures = 0
            if not report.complete and report.received + report.sent > 0:
                self.suggest_sync(peer.node_id)
        finally:
            self._syncing.discard(peer.node_id)
