import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel

from node.control import ask, serve_control
from node.errors import NodeError, NotRunningError, UsageError


async def _echo(params: Mapping[str, Any]) -> Any:
    return {"params": dict(params)}


async def _refuse(params: Mapping[str, Any]) -> Any:
    raise UsageError("not like that")


async def _crash(params: Mapping[str, Any]) -> Any:
    raise RuntimeError("secret detail")


METHODS = {"echo": _echo, "refuse": _refuse, "crash": _crash}


async def test_requests_are_answered_and_refusals_keep_their_exit_code(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_control, path, METHODS)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        answer = await trio.to_thread.run_sync(ask, path, "echo", {"a": 1})
        assert answer == {"params": {"a": 1}}
        with pytest.raises(NodeError, match="not like that") as refusal:
            await trio.to_thread.run_sync(ask, path, "refuse")
        assert refusal.value.exit_code == 2
        with pytest.raises(NodeError, match="internal error") as crash:
            await trio.to_thread.run_sync(ask, path, "crash")
        assert "secret" not in str(crash.value)
        with pytest.raises(NodeError, match="unknown method"):
            await trio.to_thread.run_sync(ask, path, "nothing")
        nursery.cancel_scope.cancel()
    assert not path.exists()


@pytest.mark.parametrize(
    "garbage", [b"\n", b"{}\n", b"[" * 50_000 + b"\n", b"\xff\x00\n", b'{"method": []}\n', b""]
)
async def test_garbage_is_answered_or_dropped_and_the_server_lives(
    tmp_path: Path, garbage: bytes
) -> None:
    path = tmp_path / "control.sock"
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_control, path, METHODS)
        async with await trio.open_unix_socket(os.fspath(path)) as stream:
            await stream.send_all(garbage)
            await stream.send_eof()
            with trio.fail_after(5):
                while await stream.receive_some(4096):
                    pass
        assert await trio.to_thread.run_sync(ask, path, "echo") == {"params": {}}
        nursery.cancel_scope.cancel()


async def test_a_request_without_end_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_control, path, METHODS)
        async with await trio.open_unix_socket(os.fspath(path)) as stream:
            with pytest.raises(trio.BrokenResourceError):
                await stream.send_all(b"x" * (4 << 20))
        assert await trio.to_thread.run_sync(ask, path, "echo") == {"params": {}}
        nursery.cancel_scope.cancel()


def test_no_node_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotRunningError):
        ask(tmp_path / "none.sock", "status")
