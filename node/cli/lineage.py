"""`swarm-node lineage`: the lineage from the genesis to the head."""

import click

from node.cli.options import Home, home_option, json_option, print_json


@click.command()
@home_option
@json_option
def lineage(*, home: Home, as_json: bool) -> None:
    """Show the lineage from the genesis to the head."""
    from node.control import ask
    from node.errors import NotRunningError

    try:
        entries = ask(home.control, "lineage")
    except NotRunningError:
        from node import view
        from node.offline import fold_home

        entries = view.lineage(fold_home(home))
    if as_json:
        print_json(entries)
        return
    from rich.console import Console

    from node.demo_display import lineage_table

    Console().print(lineage_table(entries, {}))
