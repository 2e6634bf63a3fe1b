"""How every benchmark reports: one aligned line a figure on stdout, and one JSON file."""

import json
import platform
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

OUT = Path(__file__).parent / "out"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure.

    Attributes:
        name: What was measured.
        value: The figure.
        unit: Its unit.
        target: What it should be, such as `<= 0.1`; None where it is only reported.
        limit: The bare physical or library limit measured in the same run; None without one.
        ok: Whether the target is met; true without one.
    """

    name: str
    value: float
    unit: str
    target: str | None = None
    limit: float | None = None
    ok: bool = True


def figure(
    name: str,
    value: float,
    unit: str,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    limit: float | None = None,
) -> Figure:
    """Make a figure and judge it against its target."""
    assert at_most is None or at_least is None
    if at_most is not None:
        return Figure(name, value, unit, f"<= {at_most:g}", limit, value <= at_most)
    if at_least is not None:
        return Figure(name, value, unit, f">= {at_least:g}", limit, value >= at_least)
    return Figure(name, value, unit, None, limit)


def line(item: Figure) -> str:
    """A figure as one aligned line."""
    limit = "-" if item.limit is None else f"{item.limit:.4g}"
    word = "-" if item.target is None else "ok" if item.ok else "short"
    return (
        f"{item.name:<58} {item.value:>10.4g} {item.unit:<8} {item.target or '-':>9} "
        f"{limit:>7}  {word}"
    )


def write(name: str, figures: list[Figure]) -> Path:
    """Write `benchmarks/out/NAME.json`."""
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{name}.json"
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    content = {
        "figures": [asdict(item) for item in figures],
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "commit": commit.stdout.strip(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path
