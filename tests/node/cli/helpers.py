"""Commands as a person runs them, beside a node that is down or one that answers from a table."""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import trio
from click.testing import CliRunner, Result

from node.cli.main import cli
from node.control import serve_control
from node.home import Home


def run(*arguments: str, colour: bool = False, env: Mapping[str, str] | None = None) -> Result:
    """Run a command through the group, as `swarm-node` does, whatever terminal the tests run in."""
    terminal = {"TERM": "xterm-256color", "NO_COLOR": None, **(env or {})}
    return CliRunner().invoke(
        cli, list(arguments), color=colour, env=terminal, standalone_mode=False
    )


@contextlib.contextmanager
def answering(home: Home, answers: Mapping[str, Any]) -> Iterator[None]:
    """A control socket that gives the same answer to the same question, from another thread."""
    ready = threading.Event()
    stop: list[tuple[trio.lowlevel.TrioToken, trio.CancelScope]] = []

    def method(name: str) -> Any:
        async def answer(_params: Mapping[str, Any]) -> Any:
            await trio.lowlevel.checkpoint()
            return answers[name]

        return answer

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(
                serve_control, home.control, {name: method(name) for name in answers}
            )
            stop.append((trio.lowlevel.current_trio_token(), nursery.cancel_scope))
            ready.set()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    try:
        assert ready.wait(20)
        yield
    finally:
        token, scope = stop[0]
        trio.from_thread.run_sync(scope.cancel, trio_token=token)
        thread.join(20)


def place(root: Path) -> Home:
    """An empty home."""
    home = Home(root)
    home.create()
    return home
