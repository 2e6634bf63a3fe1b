"""`swarm-node leaderboard`: a read-only peer with a page."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import click

from node.cli.options import warn_of_public_page, web_options


@click.command()
@click.option(
    "--bootstrap", multiple=True, envvar="SWARM_BOOTSTRAP", metavar="ADDRESS",
    help="A peer's address, or @FILE with addresses, one a line. May be given several times.",
)  # fmt: skip
@click.option(
    "--home", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Keep the records here.  [default: a temporary directory, deleted at the end]",
)  # fmt: skip
@click.option(
    "--listen", envvar="SWARM_LISTEN", metavar="ADDRESS",
    help="Multiaddress to listen on.  [default: /ip4/127.0.0.1/tcp/0, this machine only]",
)  # fmt: skip
@click.option(
    "--advertise", multiple=True, envvar="SWARM_ADVERTISE", metavar="ADDRESS",
    help="Address to tell others instead of the one listened on.",
)  # fmt: skip
@web_options
@click.option("--exit-with-parent", type=int, metavar="PID", hidden=True)
def leaderboard(*, home: Path | None, exit_with_parent: int | None, **flags: Any) -> None:
    """Watch a swarm in the browser: a read-only peer that verifies every record itself.

    It trains nothing, needs no torch and no sandbox, and signs nothing but its presence. The
    page's address is printed last. Stop it with Ctrl-C.
    """
    from node.config import make_config
    from node.home import find_home
    from node.logs import set_up_logging
    from node.main import run_until_signalled
    from node.service import die_with_parent

    if exit_with_parent is not None:
        die_with_parent(exit_with_parent)
    directory = Path(tempfile.mkdtemp(prefix="swarm-leaderboard-")) if home is None else home
    try:
        place = find_home(directory)
        place.create()
        config = make_config(place.config, {**flags, "web": True, "role": "observer"})
        warn_of_public_page(config)
        set_up_logging(place.log)
        run_until_signalled(place, config, announce=click.echo)
    finally:
        if home is None:
            shutil.rmtree(directory, ignore_errors=True)
