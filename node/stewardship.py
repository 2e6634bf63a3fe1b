"""Stewardship: what every member does for the swarm besides research.

Merging what has been verified, admitting joiners where the policy says so, keeping the scripts of
all hypotheses at hand for peers, and saying that this node is there.
"""

import logging
from collections.abc import Callable, Collection
from typing import Final

import trio

from gossip.net.host import Network
from node import clock
from node.activity import Activity, WorkState
from node.author import Author
from node.desk import Desk
from node.duties import AbsenceDuty, AdmitDuty, MergeDuty
from node.errors import NodeError, StoreError
from node.hardware import software_version
from node.materials import Materials, ScriptUnavailableError
from node.presences import presence_period_s
from node.untestable import Untestable
from protocol import limits
from protocol.notices import Presence, PresenceState
from protocol.records import Body
from swarm.ledger import Ledger

_TICK_S: Final = 0.5
_SCRIPTS_PERIOD_S: Final = 60.0
_SCRIPTS_RETRY_S: Final = 5.0
_SCRIPTS_RETRY_MAX_S: Final = 600.0
_SCRIPTS_AT_ONCE: Final = 4

_PRESENCE_STATES: Final[dict[WorkState, PresenceState]] = {
    "starting": "idle",
    "idle": "idle",
    "proposing": "proposing",
    "screening": "screening",
    "verifying": "verifying",
    "rechecking": "rechecking",
    "paused": "paused",
    "finished": "paused",
}

_log = logging.getLogger(__name__)


class Steward:
    """Keeps the swarm's house for one node.

    Args:
        sandbox: Name of the sandbox that confines runs here; empty when nothing is run.
        observes: Whether this node signs nothing but its presence.
    """

    def __init__(
        self,
        *,
        author: Author,
        desk: Desk,
        network: Network,
        materials: Materials,
        activity: Activity,
        sandbox: str,
        observes: bool = False,
    ) -> None:
        self._author = author
        self._key = author.key
        self._desk = desk
        self._network = network
        self._materials = materials
        self._activity = activity
        self._sandbox = sandbox
        self._observes = observes
        self._admitting = AdmitDuty()
        self._merging = MergeDuty()
        self._missing = AbsenceDuty()
        self._untestable = Untestable(materials)

    @property
    def _ledger(self) -> Ledger:
        return self._author.intake.ledger

    async def run(self, changed: Callable[[], trio.Event]) -> None:
        """Steward until cancelled.

        Args:
            changed: Gives the event that is set at the ledger's next change.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_present)
            if not self._observes:
                nursery.start_soon(self._keep_merging, changed)
            nursery.start_soon(self._keep_scripts, changed)

    # -- presence -------------------------------------------------------------------------------

    async def _keep_present(self) -> None:
        while True:
            await self._author.notify(self._presence())
            if not self._observes:
                await self._admit_joiners()
            peers = len(self._desk.presences.alive(trio.current_time()))
            await trio.sleep(presence_period_s(peers))

    def _presence(self) -> Presence:
        ledger = self._ledger
        work = self._activity.workers[0] if self._activity.workers else None
        return Presence(
            role="agent" if self._sandbox else "observer",
            version=software_version()[:32],
            device=self._activity.device,
            sandbox=self._sandbox,
            head=ledger.head.id,
            depth=ledger.head.depth,
            records=len(ledger),
            digest=ledger.digest,
            state=_PRESENCE_STATES[work.state] if work else "idle",
            hypothesis=(work.hypothesis or b"") if work else b"",
            progress_permille=round(1000 * min(1.0, max(0.0, work.progress))) if work else 0,
            wants_admission=bool(self._sandbox) and not ledger.is_member(self._key.public),
            addresses=tuple(self._network.addresses[: limits.ADDRESSES_MAX]),
        )

    async def _admit_joiners(self) -> None:
        """Sign in whoever asks, where the policy admits all and this node may."""
        now_s = trio.current_time()
        asking = [
            author
            for author, heard in self._desk.presences.alive(now_s).items()
            if heard.presence.wants_admission
        ]
        for admit in self._admitting.due(self._ledger, self._key.public, asking, now_s):
            if await self._publish(admit):
                self._activity.news(clock.now_ms(), f"admitted member {admit.member.hex()[:8]}")

    # -- merging --------------------------------------------------------------------------------

    async def _keep_merging(self, changed: Callable[[], trio.Event]) -> None:
        while True:
            event = changed()
            waiting = await self._merge_verified()
            if waiting:
                await trio.sleep(_TICK_S)
            else:
                await event.wait()

    async def _merge_verified(self) -> bool:
        """Merge what is this node's to merge; True while others' merges are being waited for."""
        now_s = trio.current_time()
        alive = self._desk.presences.alive(now_s)
        merges, waiting = self._merging.due(self._ledger, self._key.public, alive, now_s)
        for merge in merges:
            # What the disk refuses now is signed again when it may have room.
            waiting |= not await self._publish(merge)
        return waiting

    # -- scripts --------------------------------------------------------------------------------

    async def _keep_scripts(self, changed: Callable[[], trio.Event]) -> None:
        """Fetch every script, so that none is lost when its author leaves.

        One that nobody has is asked for ever more rarely, and a few are fetched at once: neither
        a hypothesis without a script nor a slow peer keeps the others waiting.
        """
        absent = Absent()
        while True:
            event = changed()
            now_s = trio.current_time()
            hypotheses = self._ledger.hypotheses()
            wanted = {self._ledger.root.source, *(view.body.source for view in hypotheses)}
            due = absent.due(wanted, now_s)
            limit = trio.CapacityLimiter(_SCRIPTS_AT_ONCE)
            async with trio.open_nursery() as nursery:
                for source in due:
                    nursery.start_soon(self._keep_script, source, absent, limit)
            waiting = await self._say_absent(absent) or bool(absent)
            with trio.move_on_after(_SCRIPTS_RETRY_S if waiting else _SCRIPTS_PERIOD_S):
                await event.wait()

    async def _keep_script(
        self, source: bytes, absent: "Absent", limit: trio.CapacityLimiter
    ) -> None:
        async with limit:
            try:
                await self._materials.script(source)
            except ScriptUnavailableError:
                absent.failed(source, trio.current_time())
            except StoreError as error:
                _log.warning("a hypothesis's script is not kept here: %s", error)
                absent.failed(source, trio.current_time())
            else:
                absent.found(source)

    async def _say_absent(self, absent: "Absent") -> bool:
        """Say which self-verified entries cannot be tested here; whether there are any."""
        if self._observes:
            return False
        untestable = await self._untestable.among(self._ledger, absent.missing)
        now_s = trio.current_time()
        alive = self._desk.presences.alive(now_s)
        for body in self._missing.due(self._ledger, self._key.public, alive, untestable, now_s):
            await self._publish(body)
        return bool(untestable)

    async def _publish(self, body: Body) -> bool:
        """Publish a record of this node's; False when that has to be tried again."""
        try:
            await self._author.publish(body)
        except NodeError as error:
            _log.error("own record not stored: %s", error)
            return False
        return True


class Absent:
    """Scripts that are not here: when each is asked for again. Its truth: whether there are any."""

    def __init__(self) -> None:
        self._here: set[bytes] = set()
        self._again: dict[bytes, tuple[float, float]] = {}

    def __bool__(self) -> bool:
        return bool(self._again)

    @property
    def missing(self) -> Collection[bytes]:
        """Digests of the scripts that nobody had when they were asked for last."""
        return self._again.keys()

    def due(self, wanted: Collection[bytes], now_s: float) -> list[bytes]:
        """The scripts to ask for now, those that failed least first."""
        found = [
            (delay_s, source)
            for source in wanted
            if source not in self._here
            for at_s, delay_s in [self._again.get(source, (0.0, 0.0))]
            if at_s <= now_s
        ]
        return [source for _, source in sorted(found)]

    def failed(self, source: bytes, now_s: float) -> None:
        """Nobody has it."""
        _, last_s = self._again.get(source, (0.0, _SCRIPTS_RETRY_S / 2))
        delay_s = min(_SCRIPTS_RETRY_MAX_S, 2 * last_s)
        self._again[source] = (now_s + delay_s, delay_s)

    def found(self, source: bytes) -> None:
        """It is here."""
        self._here.add(source)
        self._again.pop(source, None)
