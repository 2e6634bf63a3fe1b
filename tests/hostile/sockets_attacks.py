"""Attacks over the network and over local sockets.

Staged into sandboxes: standard library and the confinement package only.
"""

import contextlib
import socket
import struct

from tests.hostile.world import World, attack

KINDS = (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET)
HIGHEST_FAMILY = 46
AF_VSOCK, AF_ALG, AF_NETLINK = 40, 38, 16
RTM_GETLINK, REQUEST_DUMP = 18, 0x301


def _connect(family: int, address: object) -> str:
    with socket.socket(family, socket.SOCK_STREAM) as line:
        line.settimeout(5)
        line.connect(address)  # type: ignore[arg-type]
        with contextlib.suppress(BrokenPipeError):
            line.sendall(b"stolen")
    return f"connected to {address!r}"


@attack("sockets")
def tcp_to_localhost(world: World) -> str:
    """Connect to a TCP port of this machine."""
    return _connect(socket.AF_INET, ("127.0.0.1", world.tcp_port))


@attack("sockets")
def tcp6_to_localhost(world: World) -> str:
    """Connect to a TCP port over IPv6."""
    return _connect(socket.AF_INET6, ("::1", world.tcp6_port))


@attack("sockets")
def tcp_fast_open(world: World) -> str:
    """Send data with the opening packet, without a call to connect."""
    fast_open = 0x20000000
    with socket.socket() as line:
        line.sendto(b"stolen", fast_open, ("127.0.0.1", world.tcp_port))
    return "sent by fast open"


@attack("sockets")
def tcp_listen(_: World) -> str:
    """Wait for connections from others."""
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        line.listen()
        return f"listens on port {line.getsockname()[1]}"


@attack("sockets")
def udp_to_localhost(world: World) -> str:
    """Send a datagram and receive the answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.settimeout(5)
        line.sendto(b"stolen", ("127.0.0.1", world.udp_port))
        return f"an answer of {len(line.recv(512))} bytes"


@attack("sockets")
def dns_query(world: World) -> str:
    """Leak text in the name of a DNS question."""
    name = b"".join(bytes((len(part),)) + part for part in (b"stolen", b"example"))
    question = struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + name + b"\0" + struct.pack(">2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.settimeout(5)
        line.connect(("127.0.0.1", world.udp_port))
        line.send(question)
        return f"the resolver answered {len(line.recv(512))} bytes"


@attack("sockets")
def unix_by_path(world: World) -> str:
    """Connect to a local socket by its path."""
    return _connect(socket.AF_UNIX, world.unix_path)


@attack("sockets")
def unix_abstract(world: World) -> str:
    """Connect to a local socket by its abstract name."""
    return _connect(socket.AF_UNIX, "\0" + world.abstract_name)


@attack("sockets")
def unix_listen(_: World) -> str:
    """Offer a local socket under an abstract name to an accomplice."""
    with socket.socket(socket.AF_UNIX) as line:
        line.bind("\0hostile-listener")
        line.listen()
        return "listens on an abstract name"


@attack("sockets")
def unix_pair(_: World) -> str:
    """Make a socket pair, over which descriptors could be received."""
    first, second = socket.socketpair()
    socket.send_fds(first, [b"x"], [0])
    received = socket.recv_fds(second, 1, 1)[1]
    first.close()
    second.close()
    return f"received descriptor {received[0]}"


@attack("sockets")
def netlink(_: World) -> str:
    """Ask the kernel for the network's interfaces."""
    with socket.socket(AF_NETLINK, socket.SOCK_RAW, 0) as line:
        line.settimeout(5)
        line.send(struct.pack("=IHHIIB3x", 20, RTM_GETLINK, REQUEST_DUMP, 1, 0, 0))
        return f"{len(line.recv(65536))} bytes about interfaces"


@attack("sockets", needs_root=True)
def packet_socket(_: World) -> str:
    """Listen to every packet of an interface."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)):
        return "a packet socket"


@attack("sockets", needs_root=True)
def raw_socket(_: World) -> str:
    """Forge packets."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP):
        return "a raw socket"


@attack("sockets")
def vsock(_: World) -> str:
    """Reach for the hypervisor or a neighbouring machine over vsock."""
    with socket.socket(AF_VSOCK, socket.SOCK_STREAM):
        return "a vsock socket"


@attack("sockets")
def kernel_crypto(_: World) -> str:
    """Reach the kernel's ciphers over AF_ALG."""
    with socket.socket(AF_ALG, socket.SOCK_SEQPACKET):
        return "an AF_ALG socket"


@attack("sockets")
def every_family(_: World) -> str:
    """Try every address family with every type."""
    made = []
    for family in range(1, HIGHEST_FAMILY):
        for kind in KINDS:
            with contextlib.suppress(OSError, ValueError), socket.socket(family, kind):
                made.append(f"{family}/{int(kind)}")
    return f"{len(made)} kinds of sockets" if made else ""
