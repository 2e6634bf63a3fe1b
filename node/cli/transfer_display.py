"""What `swarm-node transfer` shows: how far the replay is, and what came of it.

Titles and scales are peers' text and are shown as text. Progress goes to stderr, results to stdout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

import click
from rich import progress
from rich.console import Console
from rich.text import Text

from node.cli.table import gain_text
from node.cli.transfer_text import STATUS_WORDS
from protocol.schema import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from node.transfer.journal import Measured
    from swarm.ledger import Ledger
    from swarm.lineage import Entry
    from swarm.transfer import Comparison, Report
    from trainer.job import Progress

_TITLE_BYTES: Final = 60
_COLOURS: Final = {"carried": "green", "lost": "red", "failed": "red", "undecided": "yellow"}


class ReplayDisplay:
    """Shows a replay while it runs: a bar in a terminal, a line a run elsewhere.

    Args:
        path: The entries that are replayed.
        seeds_max: Seeds after which it ends.
    """

    def __init__(self, path: Sequence[Entry], seeds_max: int) -> None:
        self._path = path
        self._seeds_max = seeds_max
        console = Console(stderr=True)
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(bar_width=24),
            progress.TaskProgressColumn(),
            progress.TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=1.0)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away; what is printed next begins on a line of its own."""
        self._bar.stop()

    def show(self, number: int, seed: int, so_far: Progress) -> None:
        """Show how far the run is."""
        self._bar.update(
            self._task,
            description=f"{self._name(number, seed)}  {so_far.stage}",
            completed=so_far.fraction,
        )

    def ended(self, number: int, seed: int, measured: Measured) -> None:
        """Say what a run gave."""
        value = measured.metric_micro
        gave = measured.status if value is None else f"{value / 1e6:.6f}"
        line = f"{self._name(number, seed)}  {gave}  {measured.cpu_ms / 1000:.1f} s CPU"
        if self._bar.disable:
            click.echo(line, err=True)
        else:
            self._bar.console.print(Text(line), soft_wrap=True)

    def _name(self, number: int, seed: int) -> str:
        title = printable(self._path[number].title, _TITLE_BYTES)
        return (
            f"seed {seed + 1} of at most {self._seeds_max}, script {number + 1} of"
            f" {len(self._path)} “{title}”"
        )


def print_report(found: Report, path: Sequence[Entry], ledger: Ledger) -> None:
    """Print what a replay found, a paragraph an entry."""
    entries = {entry.id: entry for entry in path}
    for step in found.steps:
        entry = entries[step.entry]
        click.echo(f"{step.entry.hex()[:8]}  {printable(entry.title, _TITLE_BYTES)}")
        verdict = click.style(STATUS_WORDS[step.step.status], fg=_COLOURS[step.step.status])
        pairs = f"over {step.step.pairs} pair{'' if step.step.pairs == 1 else 's'}"
        click.echo(f"  gain there         {_gain(step.step):<28} {pairs}: {verdict}")
        here = interval(entry.gain_micro, entry.low_micro, entry.high_micro)
        click.echo(f"  gain in the swarm  {here}")
        click.echo(f"  since the genesis  {_gain(step.whole):<28} there")
    steps, whole = len(found.steps), found.steps[-1].whole
    click.echo(
        f"{found.carried} of {steps} improvement{'' if steps == 1 else 's'} carr"
        f"{'ies' if found.carried == 1 else 'y'} over to {printable(found.scale, _TITLE_BYTES)};"
        f" all together {_gain(whole)} {ledger.metric.unit}, {STATUS_WORDS[whole.status]}"
    )


def _gain(item: Comparison) -> str:
    return interval(item.gain_micro, item.low_micro, item.high_micro)


def interval(*micro: int | None) -> str:
    """A gain and the ends of its 95 % interval, in millionths, in the metric's unit."""
    gain, low, high = (None if item is None else item / 1e6 for item in micro)
    return gain_text(gain, low, high)
