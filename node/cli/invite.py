"""`swarm-node invite`: what to send to somebody who shall join."""

import ipaddress
import shlex
from collections.abc import Sequence
from typing import Final

import click

from node.cli.options import Home, home_option, json_option, print_json

_ADMISSION: Final = {
    "all": "whoever joins is admitted, and its trials count",
    "ticket": "whoever joins may propose; its trials count once a ticket admits it",
    "ask": "whoever joins may propose; its trials count once somebody admits it",
}


@click.command()
@home_option
@json_option
def invite(*, home: Home, as_json: bool) -> None:
    """Print the command with which another machine joins this node's swarm.

    The addresses are those of the running node. They are no secret, and no key is in them.
    """
    from node.control import ask

    value = ask(home.control, "status")
    addresses = home.address.read_text(encoding="utf-8").split()
    joining = shlex.join(
        ["swarm-node", "join", *(f"--bootstrap={address}" for address in addresses)]
    )
    if as_json:
        print_json(
            {
                "swarm_id": value["swarm_id"],
                "addresses": addresses,
                "command": joining,
                "admission": value["admission"],
                "beyond_this_machine": not _only_here(addresses),
            }
        )
        return
    click.echo(joining)
    click.echo(f"admission {value['admission']}: {_ADMISSION[value['admission']]}", err=True)
    if _only_here(addresses):
        click.echo(
            "warning: this node listens on this machine alone. For others, run it with\n"
            "  swarm-node join --listen /ip4/0.0.0.0/tcp/4001"
            " --advertise /ip4/YOUR_ADDRESS/tcp/4001",
            err=True,
        )


def _only_here(addresses: Sequence[str]) -> bool:
    """Whether no address leads here from another machine."""
    return all(_is_loopback(address) for address in addresses)


def _is_loopback(address: str) -> bool:
    parts = address.split("/")
    if len(parts) < 3 or parts[1] not in {"ip4", "ip6"}:
        return False
    try:
        return ipaddress.ip_address(parts[2]).is_loopback
    except ValueError:
        return False
