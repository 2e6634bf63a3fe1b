"""`swarm-node leaderboard`: a read-only peer with a page."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import click

from node.cli.options import network_options, parent_option, run_node, web_options


@click.command()
@network_options
@click.option(
    "--home", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Keep the records here.  [default: a temporary directory, deleted at the end]",
)  # fmt: skip
@web_options
@parent_option
def leaderboard(*, home: Path | None, exit_with_parent: int | None, **flags: Any) -> None:
    """Watch a swarm in the browser: a read-only peer that verifies every record itself.

    It trains nothing, needs no torch and no sandbox, and signs nothing but its presence. The
    page's address is printed last. Stop it with Ctrl-C.
    """
    from node.home import find_home

    directory = Path(tempfile.mkdtemp(prefix="swarm-leaderboard-")) if home is None else home
    try:
        run_node(find_home(directory), {**flags, "web": True, "role": "observer"}, exit_with_parent)
    finally:
        if home is None:
            shutil.rmtree(directory, ignore_errors=True)
