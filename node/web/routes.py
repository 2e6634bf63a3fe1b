"""What is served under which path. Every answer comes from the board; nothing is changed here.

Answers to the same question about the same revision are made once and kept, because many clients
ask for the same large ones at the same moment.
"""

import json
import zlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Final

import trio

from node.errors import StoreError
from node.web import guard
from node.web.board import Board
from node.web.events import EventLog
from node.web.http import Request, Response, Send, StreamResponse
from node.web.openapi import openapi_document
from node.web.rows import POINT_COLUMNS, Row
from node.web.text_formats import prometheus, results_tsv

PAGE_MAX: Final = 1_000
_PAGE_DEFAULT: Final = 100
_KEPT_ANSWERS: Final = 32
_COMPRESS_FROM_BYTES: Final = 1_024
_STREAMS_MAX: Final = 256
_HEARTBEAT_S: Final = 10.0
_SEARCH_MAX: Final = 200
_ID_DIGITS: Final = (4, 64)

_JSON: Final = "application/json"
_TEXT: Final = "text/plain; charset=utf-8"
_STATIC_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "woff2": "font/woff2",
    "txt": _TEXT,
    "json": _JSON,
}
_FRESH: Final = ("Cache-Control", "no-cache")
_SORTS: Final[Mapping[str, Callable[[Row], Any]]] = {
    "created": lambda row: row["created_ms"],
    "val_bpb": lambda row: row["val_bpb"],
    "gain": lambda row: row["gain"] if row["gain"] is not None else row["screened_gain"],
    "cpu": lambda row: row["cpu_s"],
}


class _BadQueryError(Exception):
    """A query field says something that cannot be; the text says what."""


@dataclass(slots=True)
class Site:
    """Everything that is served.

    Attributes:
        board: What is told.
        events: What changes.
        names: Host names besides addresses under which the page may be asked for.
        ready: Whether the board has been filled.
    """

    board: Board
    events: EventLog
    names: Collection[str] = ()
    ready: bool = False
    _streams: int = 0
    _kept: OrderedDict[tuple[str, int, bool], bytes] = field(default_factory=OrderedDict)

    async def answer(self, request: Request) -> Response | StreamResponse:
        """Answer one request."""
        if not guard.is_allowed_host(request.hosts, self.names):
            return _text(421, "this host name is not served here; use the address, or --web-name")
        try:
            await self.board.source.settled()
            return await self._route(request)
        except _BadQueryError as error:
            return _problem(400, str(error))
        except StoreError as error:
            return _problem(503, str(error))

    async def _route(self, request: Request) -> Response | StreamResponse:
        match request.path.split("/")[1:]:
            case ["healthz"]:
                return _text(200 if self.ready else 503, "ok" if self.ready else "starting")
            case ["metrics"]:
                text = prometheus(self.board.state())
                return Response(200, "text/plain; version=0.0.4; charset=utf-8", text.encode())
            case ["results.tsv"]:
                media = "text/tab-separated-values; charset=utf-8"
                return await self._kept_answer(request, media, self._tell_results)
            case ["api", "v1", *rest]:
                return await self._api(request, rest)
            case _:
                return _static(request)

    async def _api(self, request: Request, rest: Sequence[str]) -> Response | StreamResponse:
        match rest:
            case ["openapi.json"]:
                return _json(openapi_document())
            case ["state"]:
                state = self.state()
                return await self._packed(request, _JSON, lambda: _dump(state))
            case ["points"]:
                return await self._kept_answer(request, _JSON, self._tell_points)
            case ["hypotheses"]:
                page = self._hypotheses(request.query)
                return await self._packed(request, _JSON, lambda: _dump(page))
            case ["hypotheses", identity] if _is_id(identity):
                return _json_or_unknown(self.board.detail(identity))
            case ["lineage"]:
                return await self._kept_answer(request, _JSON, self._tell_lineage)
            case ["entries", identity, "diff"] if _is_id(identity):
                compare = self.board.diff(identity)
                return _json_or_unknown(
                    None if compare is None else await trio.to_thread.run_sync(compare)
                )
            case ["events"]:
                return self._stream(request)
            case _:
                return _problem(404, "there is nothing here")

    # -- what the API tells ---------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """The answer of `/api/v1/state`."""
        return self._stamped({"ready": self.ready, **self.board.state()})

    def points(self) -> dict[str, Any]:
        """The answer of `/api/v1/points`: every hypothesis, by columns."""
        return _by_columns(self._stamped({}), self.board.ordered())

    def lineage(self) -> dict[str, Any]:
        """The answer of `/api/v1/lineage`."""
        return self._stamped({"entries": self.board.lineage()})

    # Each looks at the board at once, and returns what writes it down: that takes a while, and the
    # rows are never changed in place, so another thread may do it.

    def _tell_points(self) -> Callable[[], str]:
        stamp, rows = self._stamped({}), self.board.ordered()
        return lambda: _dump(_by_columns(stamp, rows))

    def _tell_lineage(self) -> Callable[[], str]:
        lineage = self.lineage()
        return lambda: _dump(lineage)

    def _tell_results(self) -> Callable[[], str]:
        rows = self.board.ordered()
        return lambda: results_tsv(rows)

    def _stamped(self, value: dict[str, Any]) -> dict[str, Any]:
        return {
            "cursor": self.events.cursor,
            "as_of_ms": self.board.source.now_ms(),
            **value,
        }

    def _hypotheses(self, query: Mapping[str, str]) -> dict[str, Any]:
        known = {"status", "author", "parent", "category", "q", "sort", "offset", "limit"}
        if unknown := query.keys() - known:
            raise _BadQueryError(f"unknown query field {min(unknown)!r}")
        limit = _number(query, "limit", _PAGE_DEFAULT, PAGE_MAX)
        offset = _number(query, "offset", 0, 10**9)
        sort = query.get("sort", "-created")
        key = _SORTS.get(sort.removeprefix("-"))
        if key is None:
            raise _BadQueryError(f"sort is one of {', '.join(_SORTS)}, with - in front or without")
        statuses = set(query["status"].split(",")) if query.get("status") else None
        wanted = query.get("q", "")[:_SEARCH_MAX].casefold()
        found = [
            row
            for row in self.board.ordered()
            if (statuses is None or row["status"] in statuses)
            and row["author"].startswith(query.get("author", ""))
            and row["parent"].startswith(query.get("parent", ""))
            and query.get("category", row["category"]) == row["category"]
            and (not wanted or wanted in row["title"].casefold())
        ]
        measured = [row for row in found if key(row) is not None]
        measured.sort(key=key, reverse=sort.startswith("-"))
        ordered = measured + [row for row in found if key(row) is None]
        return self._stamped(
            {"total": len(ordered), "offset": offset, "items": ordered[offset : offset + limit]}
        )

    # -- the stream -----------------------------------------------------------------------------

    def _stream(self, request: Request) -> Response | StreamResponse:
        if request.method == "GET" and self._streams >= _STREAMS_MAX:
            return _problem(503, "too many clients follow the events; try again later")
        cursor = request.headers.get("last-event-id") or request.query.get("after", "")

        async def write(send: Send) -> None:
            self._streams += 1
            try:
                await self._feed(cursor, send)
            finally:
                self._streams -= 1

        return StreamResponse(
            "text/event-stream; charset=utf-8", write, (("Cache-Control", "no-store"),)
        )

    async def _feed(self, cursor: str, send: Send) -> None:
        """Send what comes after the cursor, and a heartbeat when nothing does."""
        number = (
            self.events.position(cursor) if cursor else self.events.position(self.events.cursor)
        )
        if number is None:
            await send(_reset_frame(self.events.cursor))
            return
        await send(b"retry: 1000\n\n")
        while True:
            events = self.events.after(number)
            if events is None:
                await send(_reset_frame(self.events.cursor))
                return
            if events:
                await send(b"".join(event.frame for event in events))
                number = events[-1].number
                continue
            with trio.move_on_after(_HEARTBEAT_S) as scope:
                await self.events.wait(number)
            if scope.cancelled_caught:
                now_ms = self.board.source.now_ms()
                await send(f"event: heartbeat\ndata: {now_ms}\n\n".encode())

    # -- packing --------------------------------------------------------------------------------

    async def _kept_answer(
        self, request: Request, content_type: str, tell: Callable[[], Callable[[], str]]
    ) -> Response:
        """Answer with text that depends on the board's revision alone; `tell` as above."""
        small = _accepts_gzip(request)
        key = (request.path, self.board.revision, small)
        body = self._kept.get(key)
        if body is None:
            body = await trio.to_thread.run_sync(_pack, tell(), small)
            self._kept[key] = body
            while len(self._kept) > _KEPT_ANSWERS:
                self._kept.popitem(last=False)
        return Response(200, content_type, body, _packed_headers(body))

    async def _packed(
        self, request: Request, content_type: str, make: Callable[[], str]
    ) -> Response:
        body = _pack(make, _accepts_gzip(request))
        await trio.lowlevel.checkpoint()
        return Response(200, content_type, body, _packed_headers(body))


_GZIP_MAGIC: Final = b"\x1f\x8b"


def _pack(make: Callable[[], str], small: bool) -> bytes:
    body = make().encode()
    if not small or len(body) < _COMPRESS_FROM_BYTES:
        return body
    packer = zlib.compressobj(level=4, wbits=31)
    return packer.compress(body) + packer.flush()


def _packed_headers(body: bytes) -> tuple[tuple[str, str], ...]:
    headers = (_FRESH, ("Vary", "Accept-Encoding"))
    return (*headers, ("Content-Encoding", "gzip")) if body.startswith(_GZIP_MAGIC) else headers


def _accepts_gzip(request: Request) -> bool:
    return "gzip" in request.headers.get("accept-encoding", "")


def _number(query: Mapping[str, str], name: str, default: int, largest: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= largest):
        raise _BadQueryError(f"{name} is a whole number from 0 to {largest}")
    return int(text)


def _is_id(text: str) -> bool:
    shortest, longest = _ID_DIGITS
    return shortest <= len(text) <= longest and all(c in "0123456789abcdef" for c in text)


def _reset_frame(cursor: str) -> bytes:
    return f"event: reset\ndata: {cursor}\n\n".encode()


def _by_columns(stamp: Mapping[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    cells = [[row[name] for name in POINT_COLUMNS] for row in rows]
    return {**stamp, "columns": POINT_COLUMNS, "rows": cells}


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _json(value: Any, status: int = 200) -> Response:
    return Response(status, _JSON, _dump(value).encode(), (_FRESH,))


def _json_or_unknown(value: Any) -> Response:
    return _problem(404, "no such id here, or more than one") if value is None else _json(value)


def _problem(status: int, text: str) -> Response:
    return _json({"error": text}, status)


def _text(status: int, text: str) -> Response:
    return Response(status, _TEXT, f"{text}\n".encode(), (_FRESH,))


@cache
def static_files() -> Mapping[str, bytes]:
    """Every file of the page by its path below `/`. Only what is in here can be asked for."""
    found: dict[str, bytes] = {}

    def collect(directory: Any, prefix: str) -> None:
        for item in directory.iterdir():
            if item.is_dir():
                collect(item, f"{prefix}{item.name}/")
            elif item.name.rpartition(".")[2] in _STATIC_TYPES:
                found[prefix + item.name] = item.read_bytes()

    collect(files("node.web").joinpath("static"), "")
    return found


def _static(request: Request) -> Response:
    name = request.path[1:] or "index.html"
    body = static_files().get(name)
    if body is None:
        return _text(404, "there is nothing here")
    content_type = _STATIC_TYPES[name.rpartition(".")[2]]
    headers: list[tuple[str, str]] = [_FRESH]
    etag = f'"{zlib.crc32(body):08x}-{len(body):x}"'
    headers.append(("ETag", etag))
    if request.headers.get("if-none-match") == etag:
        return Response(304, content_type, b"", headers)
    return Response(200, content_type, body, headers)
