"""Serving the leaderboard from within a node: the board's upkeep and the server's keeper.

A fault of either is logged and tried again; it never ends the node. Only what the user asked for
and cannot have (a port that is taken) is an error, and that at the start.
"""

import json
import logging
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import trio

from node import clock
from node.blobs import BlobStore
from node.config import Config
from node.errors import NodeError, UsageError
from node.intake import Intake
from node.presences import Heard
from node.view import Running
from node.web import guard
from node.web.board import Board, BoardSource
from node.web.events import EventLog
from node.web.http import serve_http
from node.web.routes import Site
from swarm.events import Event

if TYPE_CHECKING:
    from trio_typing import TaskStatus

_TICK_S: Final = 0.5
"""How long changes are collected before they are told."""
_RETRY_S: Final = 1.0
_BACKLOG: Final = 128

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WebConfig:
    """Where the page is served.

    Attributes:
        host: IP address to listen on.
        port: Port; 0 for any free one.
        names: Host names under which the page may be asked for, besides addresses.
    """

    host: str = "127.0.0.1"
    port: int = 8420
    names: tuple[str, ...] = ()


class Leaderboard:
    """The page of one node: its board, its events and its server.

    Attributes:
        url: Where the page is; known once `run` has started.
    """

    def __init__(self, config: WebConfig, source: BoardSource) -> None:
        self._config = config
        self._board = Board(source)
        self._events = EventLog(secrets.token_hex(6))
        self._site = Site(
            self._board, self._events, frozenset(name.lower() for name in config.names)
        )
        self.url = ""

    def note(self, events: Sequence[Event]) -> None:
        """Tell what records have changed."""
        self._board.note(events)

    async def run(self, *, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled.

        Raises:
            NodeError: The address cannot be listened on.
        """
        with listen(self._config) as listening:
            host, port = listening.getsockname()[:2]
            self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep_serving, listening)
                nursery.start_soon(self._keep_current)
                task_status.started()

    async def _keep_serving(self, listening: socket.socket) -> None:
        while True:
            try:
                # Served from a duplicate: when the server fails, clients wait in the queue of the
                # original for the next one.
                listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening.dup()))
                async with listener:
                    await serve_http(listener, self._site.answer, guard.SECURITY_HEADERS)
            except Exception:  # noqa: BLE001 - a web fault must not end the node
                _log.exception("the web server failed; starting it again")
            await trio.sleep(_RETRY_S)

    async def _keep_current(self) -> None:
        told: dict[str, Any] = {}
        while True:
            try:
                await self._renew()
                await self._board.source.settled()
                live = self._board.live()
                if difference := live_difference(told, live):
                    self._events.append("live", json.dumps(difference, separators=(",", ":")))
                told = live
            except Exception:  # noqa: BLE001 - a web fault must not end the node
                _log.exception("the leaderboard could not be renewed")
            await trio.sleep(_TICK_S)

    async def _renew(self) -> None:
        change, steps = None, self._board.renew()
        while True:
            await trio.lowlevel.checkpoint()
            await self._board.source.settled()
            try:
                change = next(steps)
            except StopIteration:
                break
        if change and self._site.ready:
            self._events.append("change", json.dumps(change, separators=(",", ":")))
        self._site.ready = True


def make_leaderboard(
    config: Config,
    *,
    intake: Intake,
    running: Callable[[], Running],
    heard: Callable[[], Mapping[bytes, Heard]],
    blobs: BlobStore,
) -> Leaderboard | None:
    """The leaderboard that a node was asked to serve, if it was.

    Args:
        config: How the node runs.
        intake: The door, with the ledger behind it.
        running: Gives what the running node knows.
        heard: Gives the latest presence of every peer.
        blobs: The scripts.
    """
    if not config.web:
        return None
    source = BoardSource(
        ledger=lambda: intake.ledger,
        running=running,
        heard=heard,
        blobs=blobs,
        now_ms=clock.now_ms,
        now_s=trio.current_time,
        settled=intake.settled,
    )
    return Leaderboard(WebConfig(config.web_host, config.web_port, config.web_name), source)


def live_difference(told: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """What of the live part has changed; of the peers only those that did, and who is `gone`."""
    changed = {
        name: value for name, value in live.items() if name != "peers" and told.get(name) != value
    }
    before = {row["id"]: row for row in told.get("peers", ())}
    peers = [row for row in live["peers"] if before.pop(row["id"], None) != row]
    if peers:
        changed["peers"] = peers
    if before:
        changed["gone"] = sorted(before)
    return changed


def listen(config: WebConfig, *, option: str = "--web-port") -> socket.socket:
    """Open the listening socket.

    Args:
        config: Where.
        option: What a person is told to choose another port with.

    Raises:
        UsageError: The host is not an IP address.
        NodeError: It cannot be listened on.
    """
    try:
        guard.is_loopback(config.host)
    except ValueError as error:
        raise UsageError(
            f"{option.replace('port', 'host')} {config.host!r} is not an IP address"
        ) from error
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((config.host, config.port))
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise NodeError(
            f"the page cannot be served on {config.host} port {config.port}: {error.strerror};"
            f" choose another {option}"
        ) from error
    return listening
