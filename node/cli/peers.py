"""`swarm-node peers`: who else is there, and what they do."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from node.cli.options import Home, home_option, json_option, print_json
from node.cli.table import Cell, Column, Tone, ago, paint, print_table


@click.command()
@home_option
@json_option
def peers(*, home: Home, as_json: bool) -> None:
    """Show the peers of the running node: hardware, version, head, work and distance.

    Exit code 3 when no node runs: who is there is known to a running one alone.
    """
    from node import clock
    from node.control import ask

    rows = ask(home.control, "peers")
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo("no other peer is known yet; swarm-node invite says how one joins")
        return
    print_table(columns(), table_rows(rows, ask(home.control, "status")["head"], clock.now_ms()))
    here = sum(row["alive"] for row in rows)
    click.echo(paint(f"\n{here} of {len(rows)} here", "quiet"))


def columns() -> list[Column]:
    """The headings of `table_rows`."""
    return [
        Column("peer"),
        Column("state"),
        Column("run", right=True),
        Column("head"),
        Column("records", right=True, spare=True),
        Column("last seen", right=True),
        Column("rtt", right=True, spare=True),
        Column("version", spare=True),
        Column("device", flexible=True),
        Column("address", flexible=True, spare=True),
    ]


def table_rows(
    rows: Sequence[Mapping[str, Any]], head: Mapping[str, Any], now_ms: int
) -> list[list[Cell]]:
    """One line a peer.

    Args:
        rows: In the form of `peers --json`.
        head: This node's head: `id` and `depth`.
        now_ms: The present.
    """
    return [_row(row, head, now_ms) for row in rows]


def _row(row: Mapping[str, Any], head: Mapping[str, Any], now_ms: int) -> list[Cell]:
    alive = row["alive"]
    tone: Tone = "plain" if alive else "quiet"
    state = (row["state"] or row["role"] or "connected") if alive else "gone"
    busy = state in {"screening", "verifying", "rechecking"}
    return [
        Cell(row["id"][:16], "accent" if alive else "quiet"),
        Cell(state, "good" if busy else tone),
        Cell(f"{row['progress']:.0%}" if busy else "", tone),
        _head(row, head),
        Cell("" if row["records"] is None else str(row["records"]), tone),
        Cell(ago(row["seen_ms"], now_ms), tone),
        Cell("" if row["rtt_ms"] is None else f"{row['rtt_ms']} ms", tone),
        Cell(row["version"], tone),
        Cell(row["device"], tone),
        Cell(", ".join(row["addresses"]), tone),
    ]


def _head(row: Mapping[str, Any], head: Mapping[str, Any]) -> Cell:
    """Whether it has this node's head, or how far behind it is."""
    if row["head"] is None:
        return Cell("unknown", "quiet")
    if row["head"] == head["id"]:
        return Cell("in step", "good" if row["alive"] else "quiet")
    if row["depth"] is not None and row["depth"] < head["depth"]:
        return Cell(f"{head['depth'] - row['depth']} behind", "warn")
    if row["depth"] is not None and row["depth"] > head["depth"]:
        return Cell(f"{row['depth'] - head['depth']} ahead", "warn")
    return Cell(f"other, {row['head'][:8]}", "warn")
