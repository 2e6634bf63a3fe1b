"""Talking with a served model: tokens and logits through shared memory.

This file decides how a request and its answer cross the sandbox's wall. Tokens and logits lie in a
file that both sides hold; one header goes out on a pipe and one byte comes back. The logits are
copied before anybody looks at them, so that the server cannot change them after they were checked,
and copied by reading: a map of a file that the server has cut short would end the node. It refuses
to know what the answers are worth (`trainer.scorer`).
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Self

import numpy as np
import trio

from node.runner_files import Files, OwnedDescriptor, files_for
from trainer.scorer import InvalidAnswerError
from trainer.worker import wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trainer.scorer import Audit, Scoring, Tokens

_TOKEN_BYTES = 8
_LOGIT_BYTES = 4


class ServerDiedError(Exception):
    """The serving process ended before it answered."""


class ModelServer:
    """The node's end of a served model.

    Attributes:
        others: descriptors for the serving process: shared memory, requests, answers.
    """

    def __init__(
        self, rows: int, context: int, vocab_size: int, stack: contextlib.ExitStack, files: Files
    ) -> None:
        """Makes shared memory and pipes, which live as long as stack.

        Args:
            rows: most windows of a request.
            context: tokens of a window.
            vocab_size: logits of a token.
            stack: closes everything.
            files: makes the shared memory.
        """
        self._room = rows * context
        self._vocab_size = vocab_size
        size = self._room * (_TOKEN_BYTES + _LOGIT_BYTES * vocab_size)
        memory = OwnedDescriptor(files.room("logits", size))
        ends = [OwnedDescriptor(fd) for fd in (*os.pipe(), *os.pipe())]
        self._memory = OwnedDescriptor(os.dup(memory.fd))
        for descriptor in (memory, self._memory, *ends):
            stack.callback(descriptor.close)
        requests, self._requests, self._answers, answers = ends
        os.set_blocking(self._answers.fd, False)
        self._theirs = [memory, requests, answers]
        self.others = tuple(d.fd for d in self._theirs)

    @classmethod
    @contextlib.contextmanager
    def open(
        cls, rows: int, context: int, vocab_size: int, files: Files | None = None
    ) -> Iterator[Self]:
        """Makes a server's ends for the length of a `with` block."""
        with contextlib.ExitStack() as stack:
            yield cls(rows, context, vocab_size, stack, files or files_for())

    def hand_over(self) -> None:
        """Closes what now belongs to the serving process, so that its death is seen."""
        for descriptor in self._theirs:
            descriptor.close()

    def finish(self) -> None:
        """Tells the serving process to end."""
        self._requests.close()

    async def wait_ready(self) -> None:
        """Waits until the model is rebuilt.

        Raises:
            ServerDiedError: the process ended first.
            InvalidAnswerError: it said something else.
        """
        await self._expect(wire.READY)

    async def answer(self, task: Scoring | Audit, on_share: Callable[[float], None]) -> None:
        """Has every request of a scoring pass or an audit answered.

        Args:
            task: takes the answers.
            on_share: called with the share that is done.

        Raises:
            ServerDiedError: the process ended first.
            InvalidAnswerError: an answer is not acceptable.
        """
        for index, tokens in enumerate(task.requests):
            await self._ask(tokens)
            # Off the main thread: the copy and the sums take tens of milliseconds.
            await trio.to_thread.run_sync(self._accept, task, index, tokens.shape)
            on_share((index + 1) / len(task.requests))

    async def _ask(self, tokens: Tokens) -> None:
        flat = tokens.reshape(-1).astype(np.int64)
        assert flat.size <= self._room, "requests fit the room that was made for them"
        os.pwrite(self._memory.fd, flat.tobytes(), 0)
        try:
            os.write(self._requests.fd, wire.REQUEST.pack(*tokens.shape))
        except BrokenPipeError as error:
            raise ServerDiedError from error
        await self._expect(wire.ANSWER)

    def _accept(self, task: Scoring | Audit, index: int, shape: tuple[int, int]) -> None:
        count = shape[0] * shape[1] * self._vocab_size
        start = self._room * _TOKEN_BYTES
        # From here on the server cannot change what is scored.
        raw = _copy(self._memory.fd, count * _LOGIT_BYTES, start)
        task.accept(index, np.frombuffer(raw, np.float32).reshape(*shape, self._vocab_size))

    async def _expect(self, expected: bytes) -> None:
        while True:
            try:
                answer = os.read(self._answers.fd, len(expected))
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._answers.fd)
            else:
                break
        if not answer:
            raise ServerDiedError
        if answer != expected:
            raise InvalidAnswerError("broke the protocol of served models")


def _copy(fd: int, size: int, place: int) -> bytearray:
    """Returns size bytes of a file from place on.

    Raises:
        InvalidAnswerError: there are fewer.
    """
    content = bytearray(size)
    view = memoryview(content)
    while view:
        got = os.preadv(fd, [view], place)
        if not got:
            raise InvalidAnswerError("cut the memory of its answers short")
        view, place = view[got:], place + got
    return content
