"""What an attack is, and what it is told about the world outside that it attacks.

Staged into sandboxes: standard library only.
"""

import ctypes
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class World:
    """Where the things are that a sandbox must keep out of reach.

    Attributes:
        canary: the secret text; whoever returns it has stolen it.
        canary_file: readable by every user.
        key_file: an identity key, readable by the node's user.
        home_file: a file in the planted home directory.
        data_file: validation bytes.
        secret_name: the environment variable that holds the secret.
        node_pid: the process that started the sandbox.
        node_buffer: address in that process where the secret text lies.
        secret_fd: number of the descriptor that the node has open on the canary file.
        tcp_port: a listener on 127.0.0.1.
        tcp6_port: a listener on ::1, or 0.
        udp_port: answers every datagram, as a resolver would.
        unix_path: a stream socket's path; it hands a descriptor of the canary to whoever connects.
        abstract_name: a stream socket's abstract name.
        public: a directory in which every user may write.
        memory_bytes: the memory limit of the attacker.
        processes: its limit of processes and threads.
        open_files: its limit of descriptors.
        witness_fd: whoever still holds it after the end has survived.
    """

    canary: str
    canary_file: str
    key_file: str
    home_file: str
    data_file: str
    secret_name: str
    node_pid: int
    node_buffer: int
    secret_fd: int
    tcp_port: int
    tcp6_port: int
    udp_port: int
    unix_path: str
    abstract_name: str
    public: str
    memory_bytes: int
    processes: int
    open_files: int
    witness_fd: int

    def to_text(self) -> str:
        """Encode for a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "World":
        """Decode what ``to_text`` made."""
        return cls(**json.loads(text))

    @property
    def bomb_bytes(self) -> int:
        """A quarter over the limit: what no bomb may reach."""
        return self.memory_bytes + self.memory_bytes // 4


Run = Callable[[World], str]


@dataclass(frozen=True)
class Attack:
    """One attack.

    Attributes:
        name: short and stable.
        group: the part of the world that it attacks.
        text: what it does, one line.
        run: does it; returns what it got, raises or returns nothing when it was stopped.
        later: for traces: looks, in the next job, for what ``run`` left behind.
        needs_root: whether it needs root even where nothing stops it.
    """

    name: str
    group: str
    text: str
    run: Run
    later: Run | None = None
    needs_root: bool = False


ATTACKS: dict[str, Attack] = {}
"""Every attack by name, filled when the modules with attacks are imported."""


def attack(
    group: str, *, later: Run | None = None, needs_root: bool = False
) -> Callable[[Run], Run]:
    """Register a function as an attack; its name and docstring become the attack's."""

    def register(run: Run) -> Run:
        name = run.__name__.replace("_", "-")
        assert name not in ATTACKS, name
        text = (run.__doc__ or "").strip().splitlines()[0].rstrip(".")
        ATTACKS[name] = Attack(name, group, text, run, later, needs_root)
        return run

    return register


_libc = ctypes.CDLL(None, use_errno=True)


def libc(name: str, *arguments: object) -> int:
    """Call a function of the C library by name.

    Raises:
        OSError: it returned -1.
    """
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    ctypes.set_errno(0)
    result = int(getattr(_libc, name)(*words))
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def stolen(world: World, content: bytes) -> str:
    """Return evidence when ``content`` holds the canary."""
    return "the secret" if world.canary.encode() in content else ""
