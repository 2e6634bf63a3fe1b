"""When a node rests: on battery, or while its machine is busy with other things.

This file decides, from readings and time alone, whether to begin or end a rest. A reading has to
hold for a while before it counts, and a rest ends at a lower load than it began at, so that a node
does not flutter. It refuses to know how a rest is carried out. `read_machine` at its end is the
only part that looks at the machine.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

BEGIN_S: Final = 30.0
"""How long a reason must hold before the node rests."""

END_S: Final = 60.0
"""How long all reasons must be gone before it goes on."""

LOAD_END_SHARE: Final = 0.7
"""A rest for load ends below this part of the load that began it."""

_POWER: Final = Path("/sys/class/power_supply")


@dataclass(frozen=True, slots=True)
class Readings:
    """What the machine says.

    Attributes:
        on_battery: Whether it runs on a battery; False where there is none.
        load: Programs that want to run, per core, without the node's own.
    """

    on_battery: bool
    load: float


@dataclass(frozen=True, slots=True)
class RestRules:
    """When to rest.

    Attributes:
        on_battery: Whether to rest on battery.
        load: Load from which to rest; 0 for never.
    """

    on_battery: bool
    load: float


@dataclass(frozen=True, slots=True)
class Rest:
    """Whether the node rests.

    Attributes:
        reason: Why it rests, in words; empty while it does not.
        since_s: When readings began to speak for a change; None while they do not.
    """

    reason: str = ""
    since_s: float | None = None


def decide_rest(rest: Rest, readings: Readings, rules: RestRules, now_s: float) -> Rest:
    """What follows on a state after new readings.

    Args:
        rest: The state.
        readings: What the machine says now.
        rules: When to rest.
        now_s: A clock that only goes forward.
    """
    reason = _reason(readings, rules, resting=bool(rest.reason))
    if bool(reason) == bool(rest.reason):
        # One reason may follow on another without a break.
        return Rest(reason)
    since_s = now_s if rest.since_s is None else rest.since_s
    wait_s = BEGIN_S if reason else END_S
    if now_s - since_s >= wait_s:
        return Rest(reason)
    return Rest(rest.reason, since_s)


def _reason(readings: Readings, rules: RestRules, *, resting: bool) -> str:
    if rules.on_battery and readings.on_battery:
        return "the machine runs on battery"
    limit = rules.load * (LOAD_END_SHARE if resting else 1.0)
    if rules.load > 0 and readings.load >= limit:
        return "the machine is busy with other programs"
    return ""


def read_machine(own_threads: int, power: Path = _POWER) -> Readings:
    """Look at the machine.

    Args:
        own_threads: Threads that this node keeps busy.
        power: Where Linux lists power supplies.
    """
    load = max(0.0, os.getloadavg()[0] - own_threads) / (os.cpu_count() or 1)
    return Readings(on_battery(power), load)


def on_battery(power: Path) -> bool:
    """Whether a battery discharges and no mains supply is plugged in."""
    discharging = online = False
    try:
        supplies = sorted(power.iterdir())
    except OSError:
        return False
    for supply in supplies:
        kind = _read(supply / "type")
        # A wireless mouse has a battery too, of which the machine does not live.
        if kind == "Battery" and _read(supply / "scope") != "Device":
            discharging = discharging or _read(supply / "status") == "Discharging"
        elif kind in {"Mains", "USB"}:
            online = online or _read(supply / "online") == "1"
    return discharging and not online


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
