"""The warm process inside a sandbox, from which the process of every job is forked.

This file decides how a sandboxed worker starts and which process does what: it imports torch, runs
one tiny training step so that everything lazy is loaded, says `ready`, and then forks one child
per command. It never reads a script: children do, after they have given up their rights. A cold
start costs seconds, a fork milliseconds. Where a fork of a process that has used the system's own
libraries is unsafe (macOS), it becomes the process of its one job instead. Nothing secret is in its
memory image: the sandbox was closed before it started, and the training tokens are all that it
holds.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import mmap
import os
import select
import signal
import socket
import sys
import time
from typing import Any, Final, NoReturn

import torch

from trainer.worker import budget, child, wire

_PR_SET_DUMPABLE: Final = 4
_FDS_MAX: Final = 8


def warm() -> None:
    """Runs one step of everything that torch loads on first use.

    The first optimizer alone costs over a second; a fork inherits all of it.
    """
    torch.manual_seed(0)
    embedding = torch.nn.Embedding(8, 16)
    layers = torch.nn.Sequential(torch.nn.LayerNorm(16), torch.nn.Linear(16, 48), torch.nn.GELU())
    head = torch.nn.Linear(16, 8, bias=False)
    parameters = [*embedding.parameters(), *layers.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)
    tokens = torch.randint(0, 8, (2, 8), generator=torch.Generator().manual_seed(0))
    for counted in (False, True):
        counter = budget.FlopCounter()
        if counted:
            counter.__enter__()
        q, k, v = layers(embedding(tokens)).view(2, 8, 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        logits = head(mixed.transpose(1, 2).reshape(2, 8, 16))
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if counted:
            counter.__exit__(None, None, None)
    with torch.inference_mode():
        layers(embedding(tokens))


def map_tokens(descriptor: int, size_bytes: int) -> Any:
    """Returns the bytes of the training tokens and closes their descriptor.

    The mapping is private: what a script writes into its tokens stays in its own process.
    """
    if size_bytes == 0:
        os.close(descriptor)
        return torch.empty(0, dtype=torch.uint8)
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    mapped = mmap.mmap(descriptor, size_bytes, flags=mmap.MAP_PRIVATE, prot=protection)
    os.close(descriptor)
    return torch.frombuffer(mapped, dtype=torch.uint8)


class Zygote:
    """Takes commands from the node and forks a child for each, one at a time."""

    def __init__(self, control: socket.socket, tokens: Any) -> None:
        self._control = control
        self._tokens = tokens
        self._messages = wire.Messages()
        self._received: list[int] = []
        self._child: int | None = None

    def serve(self) -> None:
        """Works until the node closes the control socket."""
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        while True:
            readable, _, _ = select.select([self._control.fileno(), wake_read], [], [])
            if wake_read in readable:
                os.read(wake_read, 4096)
                self._reap()
            if self._control.fileno() in readable:
                commands = self._receive()
                if commands is None:
                    return
                for command in commands:
                    self._obey(command)

    def become_job(self) -> NoReturn:
        """Waits for one command and becomes its process, or ends when the node wants none."""
        commands: list[wire.Command] | None = []
        while commands == []:
            commands = self._receive()
        if commands is None or commands[0].verb == "kill":
            os._exit(0)
        self._send(wire.Event("started"))
        self._become_child(commands[0], child.Descriptors(*self._received), os.getppid())

    def _receive(self) -> list[wire.Command] | None:
        """Returns the commands that have arrived whole; None when the node has hung up."""
        raw, descriptors, _, _ = socket.recv_fds(self._control, wire.MESSAGE_BYTES_MAX, _FDS_MAX)
        if not raw:
            return None
        # They arrive with the first bytes of the command that they belong to.
        self._received += descriptors
        return [wire.decode_command(message) for message in self._messages.feed(raw)]

    def _obey(self, command: wire.Command) -> None:
        if command.verb == "kill":
            if self._child is not None:
                # Without namespaces, kernels before 6.12 let nobody in the sandbox signal another
                # process; the node then ends the whole sandbox when the grace period is over.
                with contextlib.suppress(PermissionError):
                    os.kill(self._child, signal.SIGKILL)
            return
        assert self._child is None, "the node gives one job at a time"
        parent_pid = os.getpid()
        descriptors, self._received = self._received, []
        pid = os.fork()
        if pid == 0:
            self._become_child(command, child.Descriptors(*descriptors), parent_pid)
        self._child = pid
        for descriptor in descriptors:
            os.close(descriptor)
        self._send(wire.Event("started"))

    def _become_child(
        self, command: wire.Command, descriptors: child.Descriptors, parent_pid: int
    ) -> NoReturn:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            code = child.main(command.verb, command.settings, self._tokens, descriptors, parent_pid)
        finally:
            os._exit(code)

    def _reap(self) -> None:
        if self._child is None:
            return
        pid, status, usage = os.wait4(self._child, os.WNOHANG)
        if pid == 0:
            return
        self._child = None
        self._send(
            wire.exited(
                status,
                cpu_us=round((usage.ru_utime + usage.ru_stime) * 1e6),
                peak_memory_kib=usage.ru_maxrss,
            )
        )

    def _send(self, event: wire.Event) -> None:
        self._control.sendall(wire.encode_event(event))


def main(arguments: list[str]) -> None:
    """Runs the zygote.

    Args:
        arguments: descriptors of the control socket and of the training tokens, how many bytes of
            tokens there are, and `warm` to fork a process for every job or `single` to become one.
    """
    # Family, type and protocol are said, because the sandbox does not let a socket be asked.
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=int(arguments[0]))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    tokens = map_tokens(int(arguments[1]), int(arguments[2]))
    warm()
    gc.collect()
    gc.freeze()
    zygote = Zygote(control, tokens)
    spent_us = round(time.process_time() * 1e6)
    control.sendall(wire.encode_event(wire.Event("ready", cpu_us=spent_us)))
    if arguments[3] == "single":
        zygote.become_job()
    zygote.serve()


if __name__ == "__main__":
    main(sys.argv[1:])
