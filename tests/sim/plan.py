"""What happens in one simulated swarm: drawn from one seed, and made smaller by the shrinker.

A plan is data: the policy, the ideas that can be had, the network's faults, who crashes, leaves or
joins when, and who is hostile in which way. The same plan gives the same run to the last event.
"""

import random
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from protocol.policy import DEMO, LAB, SOLO, Policy

Hostility: TypeAlias = Literal[
    "liar_up",
    "liar_down",
    "colluder",
    "late_liar",
    "equivocator",
    "withholder",
    "spammer",
    "deep_forker",
    "hider",
    "denier",
    "replayer",
    "garbler",
]
LIARS: Final[tuple[Hostility, ...]] = ("liar_up", "liar_down", "colluder")
"""Those who lie in trials: at most the policy's number of them."""
LIARS_ALL: Final[frozenset[Hostility]] = frozenset((*LIARS, "late_liar"))
LATE_SHARE: Final = 0.3
"""Share of the swarms with liars in which they wait for a merge first."""
PESTS: Final[tuple[Hostility, ...]] = (
    "equivocator",
    "withholder",
    "spammer",
    "deep_forker",
    "replayer",
    "garbler",
)

Fault: TypeAlias = Literal["crash", "power_cut", "leave", "join", "partition"]

LEASE_S: Final = 30
"""Short, so that take-overs happen within a run."""

POLICIES: Final = (
    replace(DEMO, lease_s=LEASE_S),
    replace(DEMO, alpha_ppm=20_000, lease_s=LEASE_S),
    replace(DEMO, alpha_ppm=20_000, max_verifiers=5, liars=1, cap_pairs=20, lease_s=LEASE_S),
    replace(LAB, alpha_ppm=5_000, lease_s=LEASE_S),
)
"""Larger alphas than real swarms use: false merges have to be frequent enough to be counted."""
ALONE: Final = replace(SOLO, alpha_ppm=20_000, lease_s=LEASE_S)
ALONE_EVERY: Final = 20
"""One seed in so many is a swarm that begins with one node."""
ALONE_PESTS: Final[tuple[Hostility, ...]] = ("deep_forker", "hider", "denier")
"""Who joins such a swarm: somebody that claims to have been alone, too, whose scripts can be had or
not, or that denies that the founder's can."""
ALONE_S: Final = 120.0
"""Time that it has for itself: its own verification of a gain takes about forty seconds."""


@dataclass(frozen=True)
class Event:
    """Something that befalls the swarm.

    Attributes:
        at_s: When.
        kind: What.
        nodes: Whom; for a partition, one side of it.
        lasts_s: For how long; a leaver never returns.
    """

    at_s: float
    kind: Fault
    nodes: tuple[int, ...]
    lasts_s: float = 0.0


@dataclass(frozen=True)
class Plan:
    """One run. Times are virtual seconds.

    Attributes:
        seed: Seeds latencies, losses, measurements and choices.
        nodes: Nodes, joiners included. Node 0 founds the swarm and is honest.
        policy: The swarm's rules.
        noise_micro: Standard deviation of one run's own noise.
        effects_micro: True gain of each change that can be proposed.
        latency_s: Mean latency of a message.
        loss: Share of the messages that are lost while the network is bad.
        duplication: Share that arrives twice.
        skew_s: Largest error of a node's wall clock, either way.
        bad_s: When faults and hostility end, and no more ideas are proposed.
        events: What befalls whom.
        hostile: Nodes that are hostile, and how.
        sync_bytes_max: Size of a reconciliation message.
        workers: Workers a node.
    """

    seed: int
    nodes: int
    policy: Policy
    noise_micro: int
    effects_micro: tuple[int, ...]
    latency_s: float
    loss: float
    duplication: float
    skew_s: float
    bad_s: float
    events: tuple[Event, ...]
    hostile: tuple[tuple[int, Hostility], ...]
    sync_bytes_max: int
    workers: int = 1


def draw(seed: int, *, large: bool = True) -> Plan:
    """The plan of a seed.

    Args:
        seed: Any number.
        large: Whether one seed in 250 is a swarm of up to 200 nodes.
    """
    rng = random.Random(f"plan {seed}")
    nodes = rng.choice((5, 5, 6, 7, 8, 9))
    if seed % 25 == 7:
        nodes = rng.randint(12, 20)
    if large and seed % 250 == 93:
        nodes = rng.choice((50, 100, 200))
    policy = POLICIES[rng.choice((0, 0, 1, 1, 2, 2, 3))]
    if nodes <= policy.max_verifiers:
        policy = POLICIES[rng.choice((0, 1))]
    tau = policy.tau_micro
    worthless = [rng.choice((0, 0, -tau // 2, -2 * tau)) for _ in range(rng.randint(2, 8))]
    good = [round(tau * rng.choice((1.5, 2, 3, 6, 20, 50))) for _ in range(rng.randint(1, 5))]
    bad_s = rng.uniform(60, 200) if nodes < 50 else 60.0
    plan = Plan(
        seed=seed,
        nodes=nodes,
        policy=policy,
        noise_micro=round(tau * rng.choice((0.2, 0.5, 1.0, 2.0))),
        effects_micro=tuple(worthless + good),
        latency_s=rng.choice((0.02, 0.1, 0.5, 2.0)),
        loss=rng.choice((0.0, 0.02, 0.1, 0.3)),
        duplication=rng.choice((0.0, 0.05, 0.3)),
        skew_s=rng.choice((0.0, 1.0, 20.0)),
        bad_s=bad_s,
        events=(),
        hostile=(),
        sync_bytes_max=rng.choice((1_200, 4_000, 256 * 1024)),
        workers=rng.choice((1, 1, 1, 2)),
    )
    hostile = _draw_hostile(rng, plan)
    plan = replace(plan, hostile=hostile, events=_draw_events(rng, plan, dict(hostile)))
    return begins_alone(plan) if seed % ALONE_EVERY == 11 and nodes < 50 else plan


def begins_alone(plan: Plan) -> Plan:
    """The founder begins alone and goes on from what it verified itself; the others join later."""
    rng = random.Random(f"alone {plan.seed}")
    bad_s = max(plan.bad_s, ALONE_S / 0.5)
    joins = [
        Event(rng.uniform(ALONE_S, 0.9 * bad_s), "join", (number,))
        for number in range(1, plan.nodes)
    ]
    # Who has not joined yet cannot leave, and a minority that goes would leave the founder alone.
    others = [event for event in plan.events if event.kind in {"crash", "power_cut", "partition"}]
    events = sorted([*joins, *others], key=lambda event: (event.at_s, event.nodes))
    hostile = tuple((number, kind) for number, kind in plan.hostile if kind not in LIARS_ALL)
    if not hostile and rng.random() < 0.5:
        number = rng.randrange(1, plan.nodes)
        hostile = ((number, rng.choice(ALONE_PESTS)),)
    return replace(plan, policy=ALONE, bad_s=bad_s, hostile=hostile, events=tuple(events))


def _draw_hostile(rng: random.Random, plan: Plan) -> tuple[tuple[int, Hostility], ...]:
    """At most the policy's liars, and pests up to a third of the swarm in all."""
    free = list(range(1, plan.nodes))
    rng.shuffle(free)
    hostile: list[tuple[int, Hostility]] = []
    kind = rng.choice(LIARS)
    if random.Random(f"late {plan.seed}").random() < LATE_SHARE:
        kind = "late_liar"
    hostile.extend((free.pop(), kind) for _ in range(plan.policy.liars * rng.choice((0, 1, 1))))
    room = (plan.nodes - 1) // 3 - len(hostile)
    pests = min(rng.choice((0, 0, 1, 2)), max(0, room))
    hostile.extend((free.pop(), rng.choice(PESTS)) for _ in range(pests))
    return tuple(hostile)


def _draw_events(
    rng: random.Random, plan: Plan, hostile: dict[int, Hostility]
) -> tuple[Event, ...]:
    events: list[Event] = []
    honest = [number for number in range(1, plan.nodes) if number not in hostile]
    rng.shuffle(honest)
    # Of the honest, fewer than half leave, and most start at once.
    for _ in range(rng.choice((0, 0, 1, 2))):
        if len(honest) > plan.nodes // 2 + 1:
            number = honest.pop()
            kind: Fault = rng.choice(("leave", "join"))
            events.append(Event(rng.uniform(0.1, 0.8) * plan.bad_s, kind, (number,)))
    if rng.random() < 0.2:
        # A minority goes at once, the founder perhaps among them.
        at_s = rng.uniform(0.2, 0.9) * plan.bad_s
        minority = (len(honest) + 1 - len(hostile) - 1) // 2
        going = rng.sample([0, *honest], max(0, min(minority, len(honest) - 2)))
        events.extend(Event(at_s, "leave", (number,)) for number in going)
        honest = [number for number in honest if number not in going]
    for _ in range(rng.choice((0, 1, 2, 4))):
        number = rng.choice([0, *honest])
        at_s = rng.uniform(5, plan.bad_s)
        kind = rng.choice(("crash", "power_cut"))
        events.append(Event(at_s, kind, (number,), rng.choice((1.0, 10.0, 60.0))))
    for _ in range(rng.choice((0, 0, 1, 2))):
        side = tuple(number for number in range(plan.nodes) if rng.random() < 0.5)
        at_s = rng.uniform(0, plan.bad_s * 0.8)
        events.append(Event(at_s, "partition", side, rng.uniform(10, plan.bad_s)))
    return tuple(sorted(events, key=lambda event: (event.at_s, event.nodes)))
