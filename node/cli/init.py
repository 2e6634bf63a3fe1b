"""`swarm-node init`: found a swarm."""

from pathlib import Path

import click

from node.cli.options import Home, home_option, json_option, print_json


@click.command()
@home_option
@click.option("--name", default="swarm", show_default=True, help="What people call the swarm.")
@click.option(
    "--task",
    "task",
    default="bytes-gpt",
    show_default=True,
    metavar="NAME|DIR",
    help="A built-in task, or a task's directory.",
)
@click.option("--tier", default="smoke", show_default=True, help="The task's tier.")
@click.option(
    "--policy",
    type=click.Choice(["demo", "lab"]),
    default="lab",
    show_default=True,
    help="The rules of evidence: `demo` trusts its members, `lab` allows two liars of seven.",
)
@json_option
def init(*, home: Home, name: str, task: str, tier: str, policy: str, as_json: bool) -> None:
    """Found a swarm in a home directory. Start it with `swarm-node join`."""
    from node.errors import UsageError
    from node.founding import Founding, found_swarm
    from protocol.policy import POLICIES
    from trainer.job import TrainerError
    from trainer.task import built_in_directory

    try:
        directory = Path(task) if Path(task).is_dir() else built_in_directory(task)
    except TrainerError as error:
        raise UsageError(f"{error}, and {task!r} is not a directory") from error
    genesis = found_swarm(
        home, Founding(name=name, task_directory=directory, tier=tier, policy=POLICIES[policy])
    )
    if as_json:
        print_json({"swarm_id": genesis.id.hex(), "home": str(home.root), "name": name})
    else:
        click.echo(f"founded swarm {name} ({genesis.id.hex()}) in {home.root}")
        click.echo("start it with: swarm-node join --home " + str(home.root), err=True)
