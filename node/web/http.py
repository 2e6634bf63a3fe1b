"""A small HTTP/1.1 server: the thin shell around h11 that reads requests and writes answers.

It serves GET and HEAD, and POST to who asks for it, and knows nothing else of HTTP: no bodies from
clients, no upgrades, no other versions. Everything a client can hold open is bounded here in number
and in time, because the page is served from within a node that must not suffer from it. A general
server was not used: one whose sends cannot be cancelled lets a client that stops reading keep the
whole node from ending.

Every fault stays within its connection.
"""

import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from urllib.parse import parse_qsl, unquote_to_bytes

import h11
import trio

HEAD_BYTES_MAX: Final = 16 * 1024
CONNECTIONS_MAX: Final = 400
"""Together with the node's own files and sockets below the usual limit of 1,024."""
_REQUESTS_PER_CONNECTION_MAX: Final = 1_000
_REQUEST_TIMEOUT_S: Final = 10.0
"""For a whole request head, and between two requests of one connection."""
_SEND_TIMEOUT_S: Final = 20.0
"""For each piece of an answer: a client that reads nothing for so long is dropped."""
_PIECE_BYTES: Final = 64 * 1024
_QUERY_FIELDS_MAX: Final = 20
_RECEIVE_BYTES: Final = 16 * 1024
_STATUS_WITHOUT_BODY: Final = 304

_log = logging.getLogger(__name__)

Send: TypeAlias = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for.

    Attributes:
        method: `GET`, `HEAD`, or another one that the server takes.
        path: The path, percent-decoded, as text.
        query: The query's fields, the last of each name.
        headers: Header fields by lower-case name, the first of each.
        hosts: Every Host field; a proper request has one.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    hosts: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Response:
    """A complete answer."""

    status: int
    content_type: str
    body: bytes
    headers: Sequence[tuple[str, str]] = field(default=())


@dataclass(frozen=True, slots=True)
class StreamResponse:
    """An answer that is written as it arises; ends when `write` returns or the client goes away."""

    content_type: str
    write: Callable[[Send], Awaitable[None]]
    headers: Sequence[tuple[str, str]] = field(default=())


Handler: TypeAlias = Callable[[Request], Awaitable[Response | StreamResponse]]


class _GoneError(Exception):
    """The client went away, took too long or broke the protocol; the connection ends."""


async def serve_http(
    listener: trio.SocketListener,
    handler: Handler,
    standard_headers: Sequence[tuple[str, str]],
    methods: Sequence[str] = ("GET", "HEAD"),
) -> None:
    """Serve until cancelled.

    Args:
        listener: Where clients come in.
        handler: Answers a request. What it raises is logged and answered with status 500.
        standard_headers: Header fields of every answer.
        methods: What may be asked; requests never have a body.
    """
    open_connections = 0

    async def serve_one(stream: trio.SocketStream) -> None:
        nonlocal open_connections
        if open_connections >= CONNECTIONS_MAX:
            await trio.aclose_forcefully(stream)
            return
        open_connections += 1
        try:
            await _Connection(stream, handler, standard_headers, methods).run()
        except (_GoneError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        except Exception:  # noqa: BLE001 - one client must not end the server
            _log.exception("a web client's connection failed")
        finally:
            open_connections -= 1
            await trio.aclose_forcefully(stream)

    await trio.serve_listeners(serve_one, [listener])


class _Connection:
    """One client: request after request until either side has enough."""

    def __init__(
        self,
        stream: trio.SocketStream,
        handler: Handler,
        standard_headers: Sequence[tuple[str, str]],
        methods: Sequence[str],
    ) -> None:
        self._methods = {method.encode() for method in methods}
        self._allow = ", ".join(methods)
        self._stream = stream
        self._handler = handler
        self._standard = list(standard_headers)
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)

    async def run(self) -> None:
        for _ in range(_REQUESTS_PER_CONNECTION_MAX):
            try:
                with trio.fail_after(_REQUEST_TIMEOUT_S):
                    head = await self._next_request()
            except trio.TooSlowError:
                return
            except h11.RemoteProtocolError as error:
                await self._refuse(error.error_status_hint, "malformed request")
                return
            if head is None:
                return
            await self._answer(head)
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _next_request(self) -> h11.Request | None:
        """Read one request up to its end; None when the client has closed."""
        head: h11.Request | None = None
        while True:
            event = self._http.next_event()
            match event:
                case h11.NEED_DATA:
                    self._http.receive_data(await self._stream.receive_some(_RECEIVE_BYTES))
                case h11.Request():
                    if event.method not in self._methods or _has_body_or_upgrade(event):
                        return event
                    head = event
                case h11.EndOfMessage():
                    return head
                case _:
                    return None

    async def _answer(self, head: h11.Request) -> None:
        if head.method not in self._methods:
            only = self._allow.replace(", ", " and ")
            await self._refuse(405, f"only {only} are served", [("Allow", self._allow)])
            return
        if _has_body_or_upgrade(head):
            await self._refuse(400, "neither request bodies nor upgrades are served")
            return
        request = _read_request(head)
        if request is None:
            await self._refuse(400, "malformed request target")
            return
        try:
            response = await self._handler(request)
        except Exception:  # noqa: BLE001 - one bad request must not end the server
            _log.exception("a web request failed")
            response = Response(500, "text/plain; charset=utf-8", b"internal error\n")
        match response:
            case Response():
                await self._send_response(request, response)
            case StreamResponse():
                await self._send_stream(request, response)

    async def _refuse(
        self, status: int, text: str, headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Answer and close, whatever else the client had to say."""
        if self._http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        body = f"{text}\n".encode()
        await self._send_head(
            status,
            [
                ("Content-Type", "text/plain; charset=utf-8"),
                ("Content-Length", str(len(body))),
                ("Connection", "close"),
                *headers,
            ],
        )
        await self._send(h11.Data(data=body))
        await self._send(h11.EndOfMessage())

    async def _send_response(self, request: Request, response: Response) -> None:
        headers = list(response.headers)
        if response.status != _STATUS_WITHOUT_BODY:
            headers += [
                ("Content-Type", response.content_type),
                ("Content-Length", str(len(response.body))),
            ]
        await self._send_head(response.status, headers)
        if request.method != "HEAD":
            for start in range(0, len(response.body), _PIECE_BYTES):
                await self._send(h11.Data(data=response.body[start : start + _PIECE_BYTES]))
        await self._send(h11.EndOfMessage())

    async def _send_stream(self, request: Request, response: StreamResponse) -> None:
        await self._send_head(
            200,
            [("Content-Type", response.content_type), ("Connection", "close"), *response.headers],
        )
        if request.method == "HEAD":
            await self._send(h11.EndOfMessage())
            return

        async def write(data: bytes) -> None:
            for start in range(0, len(data), _PIECE_BYTES):
                await self._send(h11.Data(data=data[start : start + _PIECE_BYTES]))

        async def end_with_client(scope: trio.CancelScope) -> None:
            # A client has nothing more to say here, so its first word is that it leaves.
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._stream.receive_some(1)
            scope.cancel()

        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(end_with_client, scope)
                try:
                    await response.write(write)
                    await self._send(h11.EndOfMessage())
                except _GoneError:
                    _log.debug("a web client left its stream")
                nursery.cancel_scope.cancel()

    async def _send_head(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        await self._send(h11.Response(status_code=status, headers=[*headers, *self._standard]))

    async def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if not data:
            return
        try:
            with trio.fail_after(_SEND_TIMEOUT_S):
                await self._stream.send_all(data)
        except (trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise _GoneError from error


def _has_body_or_upgrade(head: h11.Request) -> bool:
    for name, value in head.headers:
        match name:
            case b"transfer-encoding" | b"upgrade" | b"expect":
                return True
            case b"content-length" if value.strip() != b"0":
                return True
            case _:
                continue
    return False


def _read_request(head: h11.Request) -> Request | None:
    """Decode the request's target and header fields; None when the target is not a plain path."""
    target = head.target
    if not target.startswith(b"/"):
        return None
    raw_path, _, raw_query = target.partition(b"?")
    try:
        path = unquote_to_bytes(raw_path).decode()
        fields = parse_qsl(
            raw_query.decode("ascii"),
            keep_blank_values=True,
            max_num_fields=_QUERY_FIELDS_MAX,
            errors="strict",
        )
    except (UnicodeDecodeError, ValueError):
        return None
    headers: dict[str, str] = {}
    hosts: list[str] = []
    for name, value in head.headers:
        text = value.decode("latin-1")
        headers.setdefault(name.decode("latin-1"), text)
        if name == b"host":
            hosts.append(text)
    return Request(head.method.decode(), path, dict(fields), headers, tuple(hosts))
