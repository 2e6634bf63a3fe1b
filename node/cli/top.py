"""`swarm-node top`: the running node, live in the terminal."""

import contextlib
import os
import select
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click

from node.cli.options import Home, home_option, json_option, print_json

if TYPE_CHECKING:
    from node.top_display import Seen

_EVERY_S: Final = 1.0


@click.command()
@home_option
@click.option("--once", is_flag=True, help="Draw once and end, as where stdout is no terminal.")
@click.option(
    "--every", "every_s", type=click.FloatRange(0.2, 3600), default=_EVERY_S, show_default=True,
    help="Seconds between two looks.",
)  # fmt: skip
@json_option
def top(*, home: Home, once: bool, every_s: float, as_json: bool) -> None:
    """Watch the running node: the head, who does what, what is being verified, what happened.

    `q` or Ctrl-C ends it. With --json: what is known now, once.
    """
    from rich.console import Console
    from rich.live import Live

    from node.cli.table import colour_wanted
    from node.top_display import Screen

    seen = _look(home)
    if as_json:
        print_json({"snapshot": seen.snapshot, "peers": seen.peers, "at_ms": seen.at_ms})
        return
    console = Console(no_color=not colour_wanted(), highlight=False)
    if once or not console.is_terminal:
        console.print(Screen(seen, seen.at_ms))
        return
    with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(Screen(seen, seen.at_ms), refresh=True)
            if pressed(every_s):
                return
            seen = _look_again(home, seen)


def _look(home: Home) -> "Seen":
    """What the node knows now.

    Raises:
        NotRunningError: It does not answer.
    """
    from node import clock
    from node.control import ask
    from node.top_display import Seen

    return Seen(ask(home.control, "snapshot"), ask(home.control, "peers"), clock.now_ms())


def _look_again(home: Home, before: "Seen") -> "Seen":
    """As `_look`; while the node does not answer, what it knew before, and since when."""
    from dataclasses import replace

    from node.errors import NodeError

    try:
        return _look(home)
    except NodeError:
        moment = time.strftime("%H:%M:%S", time.localtime(before.at_ms / 1000))
        return replace(before, problem=f"the node does not answer since {moment}")


@contextlib.contextmanager
def _keys() -> Iterator["Pressed"]:
    """Read single keys from the terminal meanwhile; elsewhere only time passes."""
    if not sys.stdin.isatty():
        yield Pressed(None)
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield Pressed(descriptor)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


class Pressed:
    """Waits for `q`.

    Args:
        descriptor: The terminal; None where there is none.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def __call__(self, seconds: float) -> bool:
        """Wait so long; True as soon as the person wants to leave."""
        if self._descriptor is None:
            time.sleep(seconds)
            return False
        ready, _, _ = select.select([self._descriptor], [], [], seconds)
        return bool(ready) and os.read(self._descriptor, 64)[:1] in {b"q", b"Q", b"\x1b", b""}
