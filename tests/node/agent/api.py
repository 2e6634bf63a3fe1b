"""A fake of the language model's API: a real HTTP server on loopback that answers from a script."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import h11
import trio

ANSWER = {
    "title": "a larger rate",
    "rationale": "it is slow",
    "expected_effect": "0.02 bits per byte less",
    "kind": "rate",
    "change": "rate 2",
    "edits": [{"search": "RATE = 1", "replace": "RATE = 2"}],
}

USAGE = {
    "input_tokens": 100,
    "cache_creation_input_tokens": 2000,
    "cache_read_input_tokens": 3000,
    "output_tokens": 500,
}


@dataclass
class Reply:
    """One answer of the server; `hang` never ends it."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False


def message(text: str | None = None, stop_reason: str = "end_turn", **changes: Any) -> Reply:
    """A message as the API would send it."""
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-5-5",
        "content": [{"type": "text", "text": json.dumps(ANSWER) if text is None else text}],
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": USAGE,
    }
    return Reply(body={**body, **changes})


def failure(status: int, kind: str, text: str = "no", **headers: str) -> Reply:
    """An error as the API would send it."""
    body = {"type": "error", "error": {"type": kind, "message": text}}
    return Reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


class FakeApi:
    """What the server was asked, and what it will answer.

    Attributes:
        replies: the next answers; the last one is given for ever.
        requests: bodies of the requests so far.
        headers: their headers.
    """

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.asked = trio.Event()
        self.url = ""

    async def serve(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        async with stream:
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._answer(stream, connection)

    async def _answer(self, stream: trio.SocketStream, connection: h11.Connection) -> None:
        body = b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(65_536))
            elif isinstance(event, h11.Request):
                assert event.target == b"/v1/messages"
                self.headers.append({k.decode(): v.decode() for k, v in event.headers})
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return
        self.requests.append(json.loads(body))
        self.asked.set()
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if reply.hang:
            await trio.sleep_forever()
        raw = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        headers = [
            ("content-type", "application/json"), ("content-length", str(len(raw))),
            ("connection", "close"), *reply.headers.items(),
        ]  # fmt: skip
        head = h11.Response(status_code=reply.status, headers=headers)
        for event in (head, h11.Data(data=raw), h11.EndOfMessage()):
            await stream.send_all(connection.send(event) or b"")


@contextlib.asynccontextmanager
async def fake_api(*replies: Reply) -> AsyncIterator[FakeApi]:
    """Run the server until the block ends."""
    api = FakeApi(*replies)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        api.url = f"http://127.0.0.1:{port}"
        nursery.start_soon(trio.serve_listeners, api.serve, listeners)
        yield api
        nursery.cancel_scope.cancel()
