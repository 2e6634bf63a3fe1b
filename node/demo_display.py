"""What the demo shows in the terminal: nodes, hypotheses and the lineage, live.

All text that peers wrote is wrapped in `rich.text.Text`, so that it is shown and never read as
markup.
"""

from collections.abc import Sequence
from typing import Any, Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from node.demo import DemoNode, DemoResult
from node.words import SELF_VERIFIED, verdict_word

_HYPOTHESES_SHOWN: Final = 9
_STATUS_STYLES: Final = {
    "verified": "bold green",
    "merged": "bold green",
    "claimed": "yellow",
    "verifying": "yellow",
    "undecided": "yellow",
    "refuted": "red",
    "parked": "magenta",
    "screened_out": "dim",
    "crashed": "red dim",
    "stale": "dim",
}


class DemoDisplay:
    """Draws the demo, live on a terminal and as short lines elsewhere."""

    def __init__(self, console: Console, *, merges: int) -> None:
        self._console = console
        self._merges = merges
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._seen: set[int] = set()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def update(self, nodes: Sequence[DemoNode], elapsed_s: float) -> None:
        """Draw the present state."""
        if self._console.is_terminal:
            self._live.update(self._screen(nodes, elapsed_s))
            return
        self._print_news(nodes, elapsed_s)

    def _print_news(self, nodes: Sequence[DemoNode], elapsed_s: float) -> None:
        """Print each event of the first node once, for logs and pipes."""
        for item in nodes[0].snapshot.get("feed", []):
            if item["sequence"] not in self._seen:
                self._seen.add(item["sequence"])
                self._console.print(
                    Text(f"{elapsed_s:6.0f} s  {item['text']}"), soft_wrap=True, highlight=False
                )

    def _screen(self, nodes: Sequence[DemoNode], elapsed_s: float) -> RenderableType:
        first = nodes[0].snapshot
        return Group(
            self._header(first, elapsed_s),
            _nodes_table(nodes),
            "",
            _hypotheses_table(first, _names(nodes)),
            "",
            lineage_table(first.get("lineage", []), _names(nodes), _metric(first.get("status"))),
        )

    def _header(self, snapshot: dict[str, Any], elapsed_s: float) -> RenderableType:
        status = snapshot.get("status")
        minutes, seconds = divmod(int(elapsed_s), 60)
        text = Text(f"swarm-node demo   {minutes}:{seconds:02d}   ")
        if status is None:
            text.append("starting the nodes", style="dim")
        else:
            merges = max(0, len(snapshot.get("lineage", [])) - 1)
            text.append(f"merges {merges}/{self._merges}   ", style="bold")
            baseline, head = status["baseline_val_bpb"], status["head"]["val_bpb"]
            if baseline is not None:
                text.append(f"{_metric(status)} {baseline:.4f}")
            if head is not None and head != baseline:
                text.append(f" → {head:.4f} ({head / baseline - 1:+.1%})", style="bold green")
        return Panel(text, border_style="cyan")


def _names(nodes: Sequence[DemoNode]) -> dict[str, str]:
    return {
        node.snapshot["status"]["node_id"]: node.name for node in nodes if "status" in node.snapshot
    }


def _nodes_table(nodes: Sequence[DemoNode]) -> Table:
    table = Table(expand=True, box=None, padding=(0, 1))
    table.add_column("node", no_wrap=True)
    table.add_column("doing", no_wrap=True)
    table.add_column("hypothesis", ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column("run", width=16)
    table.add_column("records", justify="right")
    table.add_column("peers", justify="right")
    for node in nodes:
        status = node.snapshot.get("status")
        if status is None:
            table.add_row(node.name, Text("starting", style="dim"), "", "", "", "")
            continue
        worker = status["worker"]
        table.add_row(
            node.name,
            Text(describe_work(worker)),
            Text(worker["title"] or ""),
            ProgressBar(total=1.0, completed=worker["progress"] or 0.0, width=16),
            str(status["records"]),
            str(len(status["peers"])),
        )
    return table


def describe_work(worker: dict[str, Any]) -> str:
    """What a worker does, in a few words, from the `worker` of a status."""
    state: str = worker["state"]
    if worker["pair"] is None:
        return state
    number = worker["pair"] + 1
    what = f"pair {number}" if state == "verifying" else f"run {number}"
    return f"{state} {what}, {worker['arm']}"


def _hypotheses_table(snapshot: dict[str, Any], names: dict[str, str]) -> Table:
    table = Table(expand=True, box=None, padding=(0, 1), title="hypotheses", title_justify="left")
    table.add_column("title", ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column("author", no_wrap=True)
    table.add_column("screened gain", justify="right", no_wrap=True)
    table.add_column("pairs", justify="right")
    table.add_column("status", no_wrap=True)
    scorer = snapshot.get("status", {}).get("scorer", "trusted")
    for item in snapshot.get("hypotheses", [])[:_HYPOTHESES_SHOWN]:
        table.add_row(
            Text(item["title"]),
            Text(names.get(item["author"], item["author"][:8])),
            format_gain(item["screened_gain"]),
            str(item["pairs"]),
            Text(
                verdict_word(item["status"], scorer).replace("_", " "),
                style=_STATUS_STYLES.get(item["status"], ""),
            ),
        )
    return table


def _metric(status: dict[str, Any] | None) -> str:
    """The word for the metric, from a status."""
    return status["metric"]["name"] if status else "metric"


def lineage_table(
    lineage: Sequence[dict[str, Any]], names: dict[str, str], metric: str = "val_bpb"
) -> Table:
    """The lineage from the genesis to the head, as `swarm-node lineage` prints it too.

    Args:
        lineage: Entries in the form of `lineage --json`.
        names: Names to show instead of node ids.
        metric: The metric's name.
    """

    def name(key: str | None) -> str:
        return "" if key is None else names.get(key, key[:8])

    table = Table(expand=True, box=None, padding=(0, 1), title="lineage", title_justify="left")
    table.add_column("entry", no_wrap=True)
    table.add_column("title", ratio=1, overflow="fold")
    table.add_column(metric, justify="right", no_wrap=True)
    table.add_column("gain", justify="right", no_wrap=True)
    table.add_column("author", no_wrap=True)
    table.add_column("verifiers", no_wrap=True)
    for entry in lineage:
        value = entry["val_bpb"]
        table.add_row(
            entry["id"][:8],
            Text(entry["title"] + (f" ({SELF_VERIFIED})" if entry["self_verified"] else "")),
            "–" if value is None else f"{value:.4f}",
            format_gain(entry["gain"]),
            Text(name(entry["author"])),
            Text(", ".join(name(key) for key in entry["verifiers"])),
        )
    return table


def format_gain(gain: float | None) -> str:
    """A gain with its sign, or a dash."""
    return "–" if gain is None else f"{gain:+.4f}"


def print_result(console: Console, result: DemoResult, names: dict[str, str]) -> None:
    """Print how the demo ended."""
    first = next((status for status in result.nodes if status), None)
    console.print(lineage_table(result.lineage, names, _metric(first)))
    held = verdict_word("verified", first["scorer"] if first else "trusted")
    heads = {status["head"]["id"] for status in result.nodes if status}
    digests = {status["records_digest"] for status in result.nodes if status}
    console.print(
        f"{result.merges} {held} merges in {result.wall_s:.0f} s;"
        f" heads {'equal' if len(heads) == 1 else 'DIFFER'} on {len(result.nodes)} nodes,"
        f" record digests {'equal' if len(digests) == 1 else 'DIFFER'}",
        highlight=False,
    )
    if not result.enough:
        console.print("time was over before the wanted number of merges", style="yellow")
