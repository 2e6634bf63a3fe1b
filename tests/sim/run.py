"""One run from a plan: bad times, healing, and the wait until the swarm is quiet."""

from dataclasses import dataclass
from typing import Final

from tests.sim.hostile import make_peer
from tests.sim.invariants import Tally, ViolationError, Watcher
from tests.sim.machine import DISK_S
from tests.sim.memo import remembered
from tests.sim.peer import Peer
from tests.sim.plan import Event, Plan
from tests.sim.world import EndlessError, World

LOOK_S: Final = 10.0
CUT_WAIT_S: Final = 10.0
QUIET_WITHIN_S: Final = 1_500.0
"""After healing, all begun verification ends within this time."""


@dataclass(frozen=True)
class Result:
    """What came of a run.

    Attributes:
        violation: The invariant that does not hold; empty when all do.
        detail: What was seen.
        tally: Counts for the statistics.
        trace: What happened, when it was asked for.
        events: Events in the run.
        messages: Messages sent.
        records: Records at the end.
        depth: Depth of the head at the end.
        virtual_s: How long it was.
    """

    violation: str
    detail: str
    tally: Tally
    trace: tuple[str, ...]
    events: int
    messages: int
    records: int
    depth: int
    virtual_s: float


def run(plan: Plan, *, tracing: bool = False) -> Result:
    """Play a plan to its end or to the first violation."""
    with remembered():
        world = World(plan, tracing)
        tally, violation, detail = Tally(), "", ""
        try:
            tally = _play(world)
        except ViolationError as error:
            violation, detail = error.invariant, str(error)
        except EndlessError as error:
            violation, detail = "endless", str(error)
        except Exception as error:  # noqa: BLE001  (a crash of a node is what we look for)
            violation, detail = "crash", f"{type(error).__name__}: {error}"
            world.note(f"VIOLATION crash: {detail}")
        peer = next((one for one in world.peers if one.honest and one.up), None)
        return Result(
            violation=violation,
            detail=detail,
            tally=tally,
            trace=tuple(world.trace),
            events=world.events,
            messages=world.messages,
            records=0 if peer is None else len(peer.ledger),
            depth=0 if peer is None else peer.ledger.head.depth,
            virtual_s=world.now_s,
        )


def _play(world: World) -> Tally:
    plan = world.plan
    hostile = dict(plan.hostile)
    world.peers = [make_peer(world, number, hostile.get(number)) for number in range(plan.nodes)]
    late = {number for event in plan.events if event.kind == "join" for number in event.nodes}
    for peer in world.peers:
        if peer.number not in late:
            peer.start()
    for event in plan.events:
        world.after(event.at_s, lambda event=event: _befall(world, event))  # type: ignore[misc]
    watcher = Watcher(world)
    while world.now_s < plan.bad_s:
        world.run_until(min(plan.bad_s, world.now_s + LOOK_S))
        watcher.look()
    _heal(world)
    watcher.heal()
    world.run_until(plan.bad_s + watcher.healing_s)
    watcher.healed()
    while not watcher.quiet():
        if world.now_s > plan.bad_s + QUIET_WITHIN_S:
            raise ViolationError("quiet", f"the swarm still works after {QUIET_WITHIN_S:.0f} s")
        world.run_until(world.now_s + LOOK_S)
        watcher.look()
    return watcher.finish()


def _befall(world: World, event: Event) -> None:
    """Let an event happen."""
    world.note(f"{event.kind} {list(event.nodes)} for {event.lasts_s:.0f} s")
    if event.kind == "power_cut":
        _cut_power(world, event)
        return
    if event.kind == "partition":
        side = frozenset(event.nodes)
        world.walls.append(side)
        world.after(event.lasts_s, lambda: world.walls.remove(side) if world.walls else None)
        return
    peer = world.peers[event.nodes[0]]
    if event.kind == "join":
        if not peer.up:
            peer.start()
        return
    if not peer.up:
        return
    peer.stop()
    if event.kind == "leave":
        peer.gone = True
    else:
        _come_back(world, peer, event.lasts_s)


def _cut_power(world: World, event: Event) -> None:
    """Stop a node in the middle of its next write, which is the worst moment."""
    peer = world.peers[event.nodes[0]]
    if not peer.up:
        return
    if not peer.is_writing and world.now_s < event.at_s + CUT_WAIT_S and not world.good:
        world.after(DISK_S / 3, lambda: _cut_power(world, event))
        return
    peer.stop(torn=True)
    world.note(f"node {peer.number:<3} loses power")
    _come_back(world, peer, event.lasts_s)


def _come_back(world: World, peer: Peer, after_s: float) -> None:
    world.after(after_s, lambda: None if peer.up or peer.gone else peer.start())


def _heal(world: World) -> None:
    """End the bad times: everybody is back who is not gone, and nobody begins anything new."""
    world.note("the network heals")
    world.good = True
    world.walls.clear()
    for peer in world.peers:
        if peer.honest:
            if not (peer.up or peer.gone):
                peer.start()
            peer.exploring = False
        elif peer.up:
            peer.stop()
            peer.gone = True
