"""Stands in for the node while it is attacked, and says afterwards what reached it.

Run as a script: ``stand_in.py DIRECTORY``. It holds the secret in its environment, its memory and
an open descriptor, and listens on every kind of socket. It prints one JSON line that says where;
for each line on standard input it prints another with what has reached it since the last.
"""

import contextlib
import ctypes
import json
import os
import selectors
import signal
import socket
import sys
from pathlib import Path

SET_PTRACER, ANY_PROCESS = 0x59616D61, -1
ABSTRACT_NAME = f"hostile-suite-{os.getpid()}"


class StandIn:
    """The sockets, the secret and the counts."""

    def __init__(self, directory: Path) -> None:
        self.canary = os.environ["HOSTILE_SECRET"].encode()
        self.buffer = ctypes.create_string_buffer(self.canary, len(self.canary))
        self.secret_fd = os.open(directory / "canary", os.O_RDONLY)
        self.reached: list[str] = []
        self.selector = selectors.DefaultSelector()
        self.tcp = self._listener(socket.AF_INET, ("127.0.0.1", 0), "tcp")
        self.tcp6 = self._listener(socket.AF_INET6, ("::1", 0), "tcp6")
        self.path = directory / "socket"
        self._listener(socket.AF_UNIX, str(self.path), "unix path")
        self.path.chmod(0o777)
        self._listener(socket.AF_UNIX, "\0" + ABSTRACT_NAME, "unix abstract")
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.selector.register(self.udp, selectors.EVENT_READ, "udp")
        self.selector.register(sys.stdin, selectors.EVENT_READ, "report")

    def _listener(self, family: int, address: object, name: str) -> int:
        try:
            line = socket.socket(family, socket.SOCK_STREAM)
            line.bind(address)  # type: ignore[arg-type]
        except OSError:
            return 0  # a machine without IPv6
        line.listen(64)
        self.selector.register(line, selectors.EVENT_READ, name)
        return int(line.getsockname()[1]) if family != socket.AF_UNIX else 0

    def where(self) -> dict[str, object]:
        """Where everything lies."""
        return {
            "node_pid": os.getpid(),
            "node_buffer": ctypes.addressof(self.buffer),
            "secret_fd": self.secret_fd,
            "tcp_port": self.tcp,
            "tcp6_port": self.tcp6,
            "udp_port": int(self.udp.getsockname()[1]),
            "unix_path": str(self.path),
            "abstract_name": ABSTRACT_NAME,
        }

    def serve(self) -> None:
        """Answer whoever comes, until standard input ends."""
        while True:
            for key, _ in self.selector.select():
                match key.data:
                    case "report":
                        if not sys.stdin.readline():
                            return
                        self._report()
                    case "udp":
                        content, sender = self.udp.recvfrom(2048)
                        self.udp.sendto(content, sender)
                        self.reached.append("udp")
                    case name:
                        self._accept(key.fileobj, name)  # type: ignore[arg-type]

    def _accept(self, listener: socket.socket, name: str) -> None:
        line, _ = listener.accept()
        self.reached.append(name)
        with line:
            if name == "unix path":
                # Whoever only wanted to connect may be gone already.
                with contextlib.suppress(OSError):
                    socket.send_fds(line, [b"x"], [self.secret_fd])

    def _report(self) -> None:
        if self.buffer.raw != self.canary:
            self.buffer.raw = self.canary
            self.reached.append("memory")
        say(sorted(set(self.reached)))
        self.reached.clear()


def say(value: object) -> None:
    """Print one JSON line."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Stand in until standard input ends."""
    # As weak as a machine may be: whoever has the same user may trace this process.
    ctypes.CDLL(None).prctl(SET_PTRACER, ctypes.c_ulong(ANY_PROCESS), 0, 0, 0)
    node = StandIn(Path(sys.argv[1]))
    signal.signal(signal.SIGURG, lambda *_: node.reached.append("signal"))
    say(node.where())
    node.serve()


if __name__ == "__main__":
    main()
