"""The control socket: how the command line asks a running node.

A Unix socket in the home directory, mode 0600, so that only the node's own user reaches it. One
request a connection: a line of JSON `{"method": NAME, "params": {...}}`, answered by one line
`{"result": ...}` or `{"error": TEXT, "exit_code": N}`.
"""

import json
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import trio

from node.errors import NodeError, NotRunningError

if TYPE_CHECKING:
    # libp2p brings old stubs for trio, which mypy prefers to trio's own types.
    from trio_typing import TaskStatus

REQUEST_BYTES_MAX: Final = 512 * 1024
"""The largest script, every character of it escaped."""
_REQUEST_TIMEOUT_S: Final = 10
_ANSWER_TIMEOUT_S: Final = 30
_CLIENTS_MAX: Final = 32

Method: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[Any]]

_log = logging.getLogger(__name__)


async def serve_control(
    path: Path,
    methods: Mapping[str, Method],
    *,
    task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the control socket until cancelled.

    Raises:
        NodeError: The socket cannot be created.
    """
    # The home's lock is held, so a socket that is already there belongs to a dead node.
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        listener = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
        await listener.bind(str(path))
        path.chmod(0o600)
    except OSError as error:
        raise NodeError(f"cannot create {path}: {error.strerror}") from error
    listener.listen(8)
    capacity = trio.CapacityLimiter(_CLIENTS_MAX)
    try:
        async with trio.open_nursery() as nursery:
            task_status.started()
            while True:
                connection, _ = await listener.accept()
                nursery.start_soon(_answer, trio.SocketStream(connection), methods, capacity)
    finally:
        listener.close()
        path.unlink(missing_ok=True)


async def _answer(
    stream: trio.SocketStream, methods: Mapping[str, Method], capacity: trio.CapacityLimiter
) -> None:
    async with stream, capacity:
        try:
            with trio.fail_after(_REQUEST_TIMEOUT_S):
                line = await _read_line(stream)
            answer = await _dispatch(line, methods)
            with trio.fail_after(_REQUEST_TIMEOUT_S):
                await stream.send_all(json.dumps(answer).encode() + b"\n")
        except (trio.BrokenResourceError, trio.TooSlowError, ValueError) as error:
            _log.info("control client dropped: %r", error)


async def _read_line(stream: trio.SocketStream) -> bytes:
    data = bytearray()
    while not data.endswith(b"\n"):
        chunk = await stream.receive_some(4096)
        if not chunk:
            break
        data += chunk
        if len(data) > REQUEST_BYTES_MAX:
            raise ValueError("request too long")
    return bytes(data)


async def _dispatch(line: bytes, methods: Mapping[str, Method]) -> dict[str, Any]:
    try:
        request = json.loads(line)
        method = methods[request["method"]]
        params = request.get("params", {})
        if not isinstance(params, dict):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        return {"error": "malformed request or unknown method", "exit_code": 2}
    try:
        return {"result": await method(params)}
    except NodeError as error:
        return {"error": str(error), "exit_code": error.exit_code}
    except Exception:  # noqa: BLE001 - one bad request must not end the node
        _log.exception("control request failed")
        return {"error": "internal error; see the node's log", "exit_code": 1}


def ask(path: Path, method: str, params: Mapping[str, Any] | None = None) -> Any:
    """Ask the node that runs on a home directory; blocks for at most half a minute.

    Raises:
        NotRunningError: No node answers there.
        NodeError: The node's own refusal, with its text.
    """
    request = json.dumps({"method": method, "params": dict(params or {})}).encode() + b"\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_ANSWER_TIMEOUT_S)
        try:
            connection.connect(str(path))
            connection.sendall(request)
            with connection.makefile("rb") as answer_file:
                line = answer_file.readline()
            answer = json.loads(line)
        except (OSError, ValueError) as error:
            raise NotRunningError(
                "no node is running on this home directory; swarm-node status says what to do"
            ) from error
    if "error" in answer:
        failure = NodeError(answer["error"])
        failure.exit_code = answer.get("exit_code", 1)  # type: ignore[misc]
        raise failure
    return answer["result"]
