"""What the node sees of a job's process: how often it looks, and when it stops looking."""

from __future__ import annotations

import os

import pytest
import trio
import trio.testing

from node.runner_limits import Bounds
from node.runner_watch import FRAMES_EVERY_S, Watch, read_frames
from trainer.worker import wire

BOUNDS = Bounds(60.0, 1 << 30, 1024, 0)


def _frame(end: wire.EndStatus | None) -> bytes:
    frame = wire.Frame(end=end, steps=1, tokens=8, flops=9, fraction=0.5, loss=None, reason="")
    return wire.encode_frame(frame)


def _virtual_s(content: bytes, *, ended: bool) -> tuple[float, Watch]:
    """Virtual time in which all that lies in a closed pipe is read."""

    async def go() -> tuple[float, Watch]:
        out, into = os.pipe()
        os.set_blocking(out, False)
        os.write(into, content)
        os.close(into)
        watch = Watch(BOUNDS)
        if ended:
            watch.ended.set()
        started_s = trio.current_time()
        await read_frames(out, watch, None)
        os.close(out)
        return trio.current_time() - started_s, watch

    return trio.run(go, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_run_does_not_wait_for_reports_of_a_process_that_has_ended() -> None:
    spent_s, watch = _virtual_s(_frame("ok"), ended=True)
    assert spent_s == 0
    assert watch.frame is not None
    assert watch.frame.end == "ok"


@pytest.mark.parametrize("frames", [1, 65])
def test_a_running_process_is_heard_at_most_twenty_times_a_second(frames: int) -> None:
    spent_s, watch = _virtual_s(_frame(None) * frames, ended=False)
    reads = -(-frames // 64)
    assert spent_s == pytest.approx(reads * FRAMES_EVERY_S)
    assert watch.stopped is None


def test_what_is_no_frame_ends_the_job() -> None:
    _, watch = _virtual_s(b"\xff" * wire.FRAME_BYTES, ended=True)
    assert watch.stopped is not None
    assert watch.stopped[0] == "invalid"
