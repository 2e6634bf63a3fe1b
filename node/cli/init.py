"""`swarm-node init`: found a swarm."""

from dataclasses import replace

import click

from node.cli.options import Home, find_task, home_option, json_option, print_json, task_option


@click.command()
@home_option
@click.option("--name", default="swarm", show_default=True, help="What people call the swarm.")
@task_option
@click.option("--tier", default="smoke", show_default=True, help="The task's tier.")
@click.option(
    "--policy",
    type=click.Choice(["demo", "lab", "solo"]),
    default="demo",
    show_default=True,
    help="The rules of evidence: `demo` for three members or more who trust each other, `lab` for"
    " six or more, of whom two may lie; `solo` for one node that may work alone, until others"
    " join and confirm.",
)
@click.option(
    "--tau-micro", type=click.IntRange(1, 10**9), metavar="N",
    help="Smallest gain that matters, in millionths; see calibrate.  [default: the tier's]",
)  # fmt: skip
@click.option(
    "--cost-ratio-permille", type=click.IntRange(1_000, 100_000), metavar="N",
    help="Most that a change may cost, in thousandths of the genesis script.",
)  # fmt: skip
@json_option
def init(
    *,
    home: Home,
    name: str,
    task: str,
    tier: str,
    policy: str,
    tau_micro: int | None,
    cost_ratio_permille: int | None,
    as_json: bool,
) -> None:
    """Found a swarm in a home directory. Start it with `swarm-node join`."""
    from node.founding import Founding, found_swarm
    from protocol.policy import POLICIES

    rules = POLICIES[policy]
    if cost_ratio_permille is not None:
        rules = replace(rules, cost_ratio_permille=cost_ratio_permille)
    founding = Founding(name, find_task(task), tier, rules, tau_micro)
    genesis = found_swarm(home, founding)
    if as_json:
        print_json({"swarm_id": genesis.id.hex(), "home": str(home.root), "name": name})
    else:
        click.echo(f"founded swarm {name} ({genesis.id.hex()}) in {home.root}")
        needed = POLICIES[policy].members_min
        alone = "; alone it is marked self-verified" if rules.self_verified else ""
        click.echo(f"under policy {policy} a merge takes {needed} members{alone}", err=True)
        click.echo("start it with: swarm-node join --home " + str(home.root), err=True)
