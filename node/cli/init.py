"""`swarm-node init`: found a swarm."""

import click

from node.cli.options import Home, find_task, home_option, json_option, print_json, task_option


@click.command()
@home_option
@click.option("--name", default="swarm", show_default=True, help="What people call the swarm.")
@task_option
@click.option("--tier", default="smoke", show_default=True, help="The task's tier.")
@click.option(
    "--policy",
    type=click.Choice(["demo", "lab"]),
    default="demo",
    show_default=True,
    help="The rules of evidence: `demo` for three members or more who trust each other, `lab` for"
    " six or more, of whom two may lie.",
)
@json_option
def init(*, home: Home, name: str, task: str, tier: str, policy: str, as_json: bool) -> None:
    """Found a swarm in a home directory. Start it with `swarm-node join`."""
    from node.founding import Founding, found_swarm
    from protocol.policy import POLICIES

    founding = Founding(
        name=name, task_directory=find_task(task), tier=tier, policy=POLICIES[policy]
    )
    genesis = found_swarm(home, founding)
    if as_json:
        print_json({"swarm_id": genesis.id.hex(), "home": str(home.root), "name": name})
    else:
        click.echo(f"founded swarm {name} ({genesis.id.hex()}) in {home.root}")
        needed = POLICIES[policy].members_min
        click.echo(f"under policy {policy} a merge takes {needed} members", err=True)
        click.echo("start it with: swarm-node join --home " + str(home.root), err=True)
