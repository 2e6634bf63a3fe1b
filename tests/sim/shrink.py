"""A failing plan made small: the least that still breaks the same invariant."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from tests.sim.plan import Plan
from tests.sim.run import run

RUNS_MAX: Final = 150


def shrink(plan: Plan, violation: str, *, tell: Callable[[str], None] = lambda _: None) -> Plan:
    """The smallest plan found whose run still violates an invariant.

    Args:
        plan: One that does.
        violation: The invariant's name.
        tell: Hears of progress.
    """
    runs = 0
    smaller = True
    while smaller and runs < RUNS_MAX:
        smaller = False
        for words, candidate in _smaller(plan):
            runs += 1
            if runs > RUNS_MAX:
                break
            if run(candidate).violation == violation:
                tell(f"still fails with {words}")
                plan, smaller = candidate, True
                break
    return plan


def _smaller(plan: Plan) -> Iterator[tuple[str, Plan]]:
    """Plans that are a step smaller, the largest steps first."""
    if plan.bad_s > 20:
        yield "half the time", replace(plan, bad_s=plan.bad_s / 2)
    if plan.nodes > 3:
        for nodes in sorted({3, plan.nodes // 2, plan.nodes - 1} - {1, 2, plan.nodes}):
            yield f"{nodes} nodes", with_nodes(plan, nodes)
    if plan.events:
        yield "no events", replace(plan, events=())
    if plan.hostile:
        yield "nobody hostile", replace(plan, hostile=())
    for number, event in enumerate(plan.events):
        rest = plan.events[:number] + plan.events[number + 1 :]
        yield f"no {event.kind} at {event.at_s:.0f} s", replace(plan, events=rest)
    for item in plan.hostile:
        rest_hostile = tuple(other for other in plan.hostile if other != item)
        yield f"no {item[1]}", replace(plan, hostile=rest_hostile)
    if len(plan.effects_micro) > 1:
        yield (
            "half the ideas",
            replace(plan, effects_micro=plan.effects_micro[len(plan.effects_micro) // 2 :]),
        )
        yield "an idea less", replace(plan, effects_micro=plan.effects_micro[1:])
        yield "another idea less", replace(plan, effects_micro=plan.effects_micro[:-1])
    plain = {"loss": 0.0, "duplication": 0.0, "skew_s": 0.0, "latency_s": 0.02}
    for name, value in plain.items():
        if getattr(plan, name) != value:
            yield f"{name} {value}", replace(plan, **{name: value})  # type: ignore[arg-type]
    if plan.workers > 1:
        yield "one worker", replace(plan, workers=1)


def with_nodes(plan: Plan, nodes: int) -> Plan:
    """The plan of a swarm that lacks the last nodes."""
    events = [
        replace(event, nodes=tuple(number for number in event.nodes if number < nodes))
        for event in plan.events
    ]
    return replace(
        plan,
        nodes=nodes,
        events=tuple(event for event in events if event.nodes),
        hostile=tuple(item for item in plan.hostile if item[0] < nodes),
    )


def describe(plan: Plan) -> str:
    """A plan in a few lines."""
    lines = [
        f"seed {plan.seed}: {plan.nodes} nodes with {plan.workers} worker(s),"
        f" {len(plan.effects_micro)} ideas, bad for {plan.bad_s:.0f} s",
        f"  network: latency {plan.latency_s} s, loss {plan.loss:.0%},"
        f" duplication {plan.duplication:.0%}, clocks wrong by up to {plan.skew_s:.0f} s",
        f"  policy: alpha {plan.policy.alpha_ppm} ppm, {plan.policy.liars} liars of"
        f" {plan.policy.max_verifiers} verifiers",
    ]
    lines += [f"  node {number} is a {kind}" for number, kind in plan.hostile]
    lines += [
        f"  at {event.at_s:5.1f} s {event.kind} {list(event.nodes)} for {event.lasts_s:.0f} s"
        for event in plan.events
    ]
    return "\n".join(lines)
