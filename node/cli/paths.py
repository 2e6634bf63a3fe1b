"""`swarm-node paths`: where things are kept."""

import click

from node.cli.options import Home, home_option, json_option, print_json


@click.command()
@home_option
@json_option
def paths(*, home: Home, as_json: bool) -> None:
    """Show where this node keeps its things."""
    places = {
        "home": home.root,
        "identity": home.key,
        "records": home.database,
        "blobs": home.blobs,
        "config": home.config,
        "log": home.log,
        "trial-logs": home.trial_logs,
        "drafts": home.drafts,
        "address": home.address,
        "control": home.control,
    }
    if as_json:
        print_json({name: str(path) for name, path in places.items()})
        return
    for name, path in places.items():
        click.echo(f"{name:<11}{path}{'' if path.exists() else '  (not there yet)'}")
