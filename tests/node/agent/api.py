"""A fake of the language model's API: a real HTTP server on loopback that answers from a script."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Literal

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
    """One answer of the server; `hang` never ends it.

    Attributes:
        status: of the response.
        body: a message is streamed if that is asked for; anything else goes out as it is.
        headers: of the response.
        hang: whether to say nothing at all.
        events: how many events of a stream go out before `then`; None for all.
        then: what comes after them: the end of the connection, silence, or an error.
    """

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    events: int | None = None
    then: Literal["close", "hang", "error"] = "close"


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
        self.begun = trio.Event()
        self.left = trio.Event()
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
        if self.requests[-1].get("stream") and is_message(reply.body):
            await self._stream(stream, connection, reply)
            return
        raw = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        headers = [
            ("content-type", "application/json"), ("content-length", str(len(raw))),
            ("connection", "close"), *reply.headers.items(),
        ]  # fmt: skip
        head = h11.Response(status_code=reply.status, headers=headers)
        for event in (head, h11.Data(data=raw), h11.EndOfMessage()):
            await stream.send_all(connection.send(event) or b"")

    async def _stream(
        self, stream: trio.SocketStream, connection: h11.Connection, reply: Reply
    ) -> None:
        headers = [("content-type", "text/event-stream"), ("connection", "close")]
        head = h11.Response(status_code=200, headers=headers)
        await stream.send_all(connection.send(head) or b"")
        for event in stream_events(reply.body)[: reply.events]:
            raw = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
            await stream.send_all(connection.send(h11.Data(data=raw)) or b"")
        self.begun.set()
        if reply.events is None:
            await stream.send_all(connection.send(h11.EndOfMessage()) or b"")
        elif reply.then == "error":
            error = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
            raw = f"event: error\ndata: {json.dumps(error)}\n\n".encode()
            await stream.send_all(connection.send(h11.Data(data=raw)) or b"")
            await stream.send_all(connection.send(h11.EndOfMessage()) or b"")
        elif reply.then == "hang":
            # Nothing more is said; whoever asked has to leave.
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.receive_some(1)
            self.left.set()


def is_message(body: Any) -> bool:
    """Whether a body is a whole message, which can be sent in pieces."""
    return isinstance(body, dict) and body.get("type") == "message" and "content" in body


def stream_events(body: dict[str, Any]) -> list[dict[str, Any]]:
    """A message in the pieces in which the API streams it."""
    usage = body["usage"]
    start = {**body, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}, {"type": "ping"}]
    for index, block in enumerate(body["content"]):
        empty = {**block, "text": ""}
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        text = block["text"]
        size = max(8, len(text) // 4)
        events += [
            {
                "type": "content_block_delta",
                "index": index,
                "delta": {"type": "text_delta", "text": text[at : at + size]},
            }
            for at in range(0, len(text), size)
        ]
        events.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": body["stop_reason"], "stop_sequence": None}
    tokens = {"output_tokens": usage["output_tokens"]}
    events.append({"type": "message_delta", "delta": delta, "usage": tokens})
    return [*events, {"type": "message_stop"}]


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
