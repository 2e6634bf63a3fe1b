"""One screen of `swarm-node top`: where the swarm stands, who does what, what happened last.

Pure: what the node answered goes in, something that rich can draw comes out. All text that peers
wrote is wrapped in `Text`, so that it is shown and never read as markup.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from node.cli.table import ago, gain_text, safe, value_text

_PEERS_SHOWN: Final = 12
_TITLE_CELLS_MAX: Final = 200
_HEADER_LINES: Final = 5
_STATUS_STYLES: Final = {
    "merged": "green", "verified": "green", "claimed": "yellow", "undecided": "yellow",
    "proposed": "yellow", "refuted": "red", "crashed": "red", "parked": "cyan",
}  # fmt: skip
_OPEN: Final = frozenset({"claimed", "undecided", "proposed", "verified"})
_BUSY: Final = frozenset({"screening", "verifying", "rechecking"})


@dataclass(frozen=True, slots=True)
class Seen:
    """What the node answered at one moment.

    Attributes:
        snapshot: Its `snapshot`; empty before the first answer.
        peers: Its `peers`.
        at_ms: When.
        problem: Why there is nothing newer; empty while it answers.
    """

    snapshot: Mapping[str, Any] = field(default_factory=dict)
    peers: Sequence[Mapping[str, Any]] = ()
    at_ms: int = 0
    problem: str = ""


class Screen:
    """Draws one moment into whatever room the terminal has.

    Args:
        seen: The moment.
        now_ms: The present.
        height: Lines; None takes the terminal's.
    """

    def __init__(self, seen: Seen, now_ms: int, height: int | None = None) -> None:
        self._seen = seen
        self._now_ms = now_ms
        self._height = height

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the parts, the last ones as long as there is room."""
        seen = self._seen
        room = self._height or options.height or console.height
        if not seen.snapshot:
            yield Text(seen.problem or "asking the node…", style="yellow")
            return
        status = seen.snapshot["status"]
        yield from self._header(status)
        workers = _work_table(status, seen.peers)
        yield workers
        room -= _HEADER_LINES + workers.row_count + 1
        waiting = [item for item in seen.snapshot["hypotheses"] if item["status"] in _OPEN]
        shown = max(0, min(len(waiting), room // 3))
        if shown:
            yield Text("")
            yield Rule("being verified", align="left", style="dim")
            yield _open_table(waiting[:shown])
            room -= shown + 3
        merged = list(seen.snapshot["lineage"])[1:][-max(0, room // 3) :]
        if merged and room > 6:
            yield Text("")
            yield Rule("lineage, newest first", align="left", style="dim")
            yield self._lineage_table(merged[::-1])
            room -= len(merged) + 3
        feed = list(seen.snapshot["feed"])[-max(0, room - 3) :] if room > 3 else []
        if feed:
            yield Text("")
            yield Rule("happened", align="left", style="dim")
            yield _feed_table(feed[::-1], self._now_ms)

    def _header(self, status: Mapping[str, Any]) -> RenderResult:
        line = Text()
        line.append(safe(status["swarm_name"]), style="bold")
        line.append(f"  {safe(status['task'])}, {safe(status['tier'])}", style="dim")
        line.append(f"   {status['members']} members, {len(status['peers'])} connected")
        if self._seen.problem:
            line.append(f"   {self._seen.problem}", style="bold red")
        line.no_wrap, line.overflow = True, "ellipsis"
        yield line
        yield _head_line(status)
        yield _counts_line(status)
        yield Text("")

    def _lineage_table(self, entries: Sequence[Mapping[str, Any]]) -> Table:
        table = _grid()
        table.add_column("entry", style="cyan", no_wrap=True)
        table.add_column("value", justify="right", no_wrap=True)
        table.add_column("gain", style="green", no_wrap=True)
        table.add_column("title", ratio=1, no_wrap=True, overflow="ellipsis")
        table.add_column("when", style="dim", justify="right", no_wrap=True)
        for entry in entries:
            table.add_row(
                entry["id"][:8],
                value_text(entry["val_bpb"]),
                gain_text(entry["gain"], entry["gain_low"], entry["gain_high"]),
                _text(entry["title"]),
                ago(entry["merged_ms"], self._now_ms),
            )
        return table


def _head_line(status: Mapping[str, Any]) -> Text:
    baseline, value = status["baseline_val_bpb"], status["head"]["val_bpb"]
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(value_text(value), style="bold")
    line.append(f" {safe(status['metric']['name'])}", style="dim")
    if baseline and value is not None and status["head"]["depth"]:
        line.append(f"  {value / baseline - 1:+.1%}", style="bold green")
        line.append(f" from {value_text(baseline)}, {status['merges']} merges", style="dim")
    if status["head"]["depth"]:
        line.append(f"   “{safe(status['head']['title'])}”")
    return line


def _counts_line(status: Mapping[str, Any]) -> Text:
    counts = status["hypotheses"]
    line = Text(f"{counts['proposed']} hypotheses", no_wrap=True, overflow="ellipsis")
    for word, count in counts.items():
        if count and word != "proposed":
            line.append(f"   {count} ", style=_STATUS_STYLES.get(word, "dim"))
            line.append(word.replace("_", " "), style=_STATUS_STYLES.get(word, "dim"))
    agent = status["agent"]
    if agent:
        line.append(f"   agent {agent['mode']}", style="dim")
    if "usd" in agent:
        line.append(f" ${agent['usd']:.2f}", style="dim")
    return line


def _work_table(status: Mapping[str, Any], peers: Sequence[Mapping[str, Any]]) -> Table:
    """This node first, then the peers, those at work before the others."""
    table = _grid()
    table.add_column("node", no_wrap=True)
    table.add_column("doing", no_wrap=True)
    table.add_column("run", width=14)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("what", ratio=1, no_wrap=True, overflow="ellipsis")
    worker = status["worker"]
    what = _text(worker["title"])
    if status["sandbox_problem"]:
        what = Text(safe(status["sandbox_problem"]), style="red")
    _add_work(table, Text("this node", style="bold"), worker["state"], worker["progress"], what)
    alive = [peer for peer in peers if peer["alive"]]
    alive.sort(key=lambda peer: (peer["state"] not in _BUSY, peer["id"]))
    for peer in alive[:_PEERS_SHOWN]:
        name = Text(peer["id"][:8], style="cyan")
        device = Text(safe(peer["device"]), style="dim")
        state = peer["state"] or peer["role"] or "connected"
        _add_work(table, name, state, peer["progress"], device)
    if len(alive) > _PEERS_SHOWN:
        table.add_row(Text(f"and {len(alive) - _PEERS_SHOWN} more", style="dim"), "", "", "", "")
    return table


def _add_work(table: Table, name: Text, state: str, progress: float, what: Text) -> None:
    busy = state in _BUSY
    table.add_row(
        name,
        Text(safe(state), style="yellow" if busy else "dim"),
        ProgressBar(total=1.0, completed=progress, width=14) if busy else "",
        f"{progress:.0%}" if busy else "",
        what,
    )


def _open_table(items: Sequence[Mapping[str, Any]]) -> Table:
    table = _grid()
    table.add_column("id", style="cyan", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("gain", no_wrap=True)
    table.add_column("pairs", justify="right", no_wrap=True)
    table.add_column("title", ratio=1, no_wrap=True, overflow="ellipsis")
    for item in items:
        verified = item["gain"] is not None
        gain = (
            gain_text(item["gain"], item["gain_low"], item["gain_high"])
            if verified
            else f"{gain_text(item['screened_gain'])} claimed"
        )
        table.add_row(
            item["id"][:8],
            Text(item["status"].replace("_", " "), style=_STATUS_STYLES.get(item["status"], "")),
            gain,
            f"{item['pairs']} pairs",
            _text(item["title"]),
        )
    return table


def _feed_table(feed: Sequence[Mapping[str, Any]], now_ms: int) -> Table:
    table = _grid()
    table.add_column("when", style="dim", justify="right", no_wrap=True)
    table.add_column("what", ratio=1, no_wrap=True, overflow="ellipsis")
    for item in feed:
        table.add_row(ago(item["at_ms"], now_ms), _text(item["text"]))
    return table


def _grid() -> Table:
    return Table.grid(expand=True, padding=(0, 2, 0, 0))


def _text(text: str) -> Text:
    return Text(safe(text)[:_TITLE_CELLS_MAX])
