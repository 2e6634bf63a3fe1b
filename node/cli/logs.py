"""`swarm-node logs`: what the node wrote down, and what sandboxed runs printed."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from node.cli.options import Home, home_option, json_option
from node.cli.table import Cell, Column, Tone, ago, paint, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from node.log_reader import LogLine

_POLL_S: Final = 0.25
_LINES_MAX: Final = 100_000
_RUNS_SHOWN: Final = 200
_RUN_BYTES_MAX: Final = 64 * 1024
_TONES: Final[dict[str, Tone]] = {"warning": "warn", "error": "bad", "critical": "bad"}


@click.command()
@home_option
@click.option("-f", "--follow", is_flag=True, help="Go on with what is added, until Ctrl-C.")
@click.option(
    "-n", "--lines", "count", type=click.IntRange(0, _LINES_MAX), default=50, show_default=True,
    help="Lines to show, of the last MiB at most.",
)  # fmt: skip
@click.option(
    "--level", type=click.Choice(["debug", "info", "warning", "error"]), default="debug",
    help="Only lines of this level or a graver one.",
)  # fmt: skip
@click.option("--runs", is_flag=True, help="List the sandboxed runs whose output is kept.")
@click.option("--run", metavar="NAME", help="What a run printed; its name's start is enough.")
@json_option
def logs(
    *, home: Home, follow: bool, count: int, level: str, runs: bool, run: str | None, as_json: bool
) -> None:
    """Show the node's log, running or not. With --json: one JSON object a line."""
    from node.errors import NodeError

    if runs or run is not None:
        if follow or (runs and run is not None):
            raise click.UsageError("--runs, --run and --follow exclude each other")
        _show_runs(home.trial_logs, as_json=as_json) if run is None else _show_run(
            home.trial_logs, run
        )
        return
    if not home.log.exists() and not follow:
        raise NodeError(f"there is no log at {home.log}; no node has run on this home yet")
    try:
        _show_log(home.log, count, level, follow=follow, as_json=as_json)
    except OSError as error:
        raise NodeError(f"cannot read {home.log}: {error.strerror}") from error


def _show_log(path: Path, count: int, level: str, *, follow: bool, as_json: bool) -> None:
    from node.log_reader import LogFollower, at_least

    follower = LogFollower(path)
    shown = at_least(follower.tail(), level)
    _print(shown[len(shown) - min(count, len(shown)) :], as_json=as_json)
    while follow:
        time.sleep(_POLL_S)
        _print(at_least(follower.added(), level), as_json=as_json)


def _print(lines: "Sequence[LogLine]", *, as_json: bool) -> None:
    import json

    for line in lines:
        if as_json:
            click.echo(json.dumps(asdict(line)))
        elif not line.at:
            click.echo(paint(line.text, _TONES.get(line.level, "quiet")))
        else:
            tone = _TONES.get(line.level, "plain")
            where = paint(f"{line.level:<8} {line.name}", tone if tone != "plain" else "quiet")
            click.echo(f"{paint(line.at, 'quiet')} {where} {paint(line.text, tone)}")


def _runs(directory: Path) -> list[Path]:
    """Kept outputs, the latest last."""
    found = [path for path in directory.glob("*.log") if path.is_file()]
    return sorted(found, key=lambda path: path.stat().st_mtime_ns)


def _show_runs(directory: Path, *, as_json: bool) -> None:
    from node import clock
    from node.cli.options import print_json

    found = _runs(directory)[-_RUNS_SHOWN:]
    if as_json:
        print_json([{"name": path.stem, "path": str(path), "bytes": path.stat().st_size}
                    for path in found])  # fmt: skip
        return
    if not found:
        click.echo("no run has printed anything yet")
        return
    now_ms = clock.now_ms()
    rows = [
        [
            Cell(path.stem, "accent"),
            Cell(str(path.stat().st_size)),
            Cell(ago(path.stat().st_mtime_ns // 1_000_000, now_ms), "quiet"),
        ]
        for path in found
    ]
    print_table([Column("run"), Column("bytes", right=True), Column("ended", right=True)], rows)


def _show_run(directory: Path, name: str) -> None:
    from node.errors import NodeError
    from protocol.schema import printable

    found = [path for path in _runs(directory) if path.stem.startswith(name)]
    if not found:
        raise NodeError(
            f"no kept run has a name that starts with {name}; see swarm-node logs --runs"
        )
    for path in found:
        if len(found) > 1:
            click.echo(paint(f"{path.stem}:", "quiet"))
        with path.open("rb") as file:
            text = file.read(_RUN_BYTES_MAX).decode(errors="replace")
        click.echo(printable(text, _RUN_BYTES_MAX, lines=True).rstrip("\n"))
