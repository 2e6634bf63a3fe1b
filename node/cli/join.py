"""`swarm-node join`: run a node until it is told to stop."""

from typing import Any

import click

from node.cli.options import (
    Home,
    agent_options,
    home_option,
    require_linux,
    warn_of_public_page,
    web_options,
)


@click.command()
@home_option
@click.option(
    "--bootstrap", multiple=True, envvar="SWARM_BOOTSTRAP", metavar="ADDRESS",
    help="A peer's address, or @FILE with addresses, one a line. May be given several times.",
)  # fmt: skip
@click.option(
    "--listen", envvar="SWARM_LISTEN", metavar="ADDRESS",
    help="Multiaddress to listen on.  [default: /ip4/127.0.0.1/tcp/0, this machine only]",
)  # fmt: skip
@click.option(
    "--advertise", multiple=True, envvar="SWARM_ADVERTISE", metavar="ADDRESS",
    help="Address to tell others instead of the one listened on.",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(1, 64), envvar="SWARM_WORKERS",
    help="Training runs at the same time, one thread each.  [default: 1]",
)  # fmt: skip
@click.option(
    "--sandbox", type=click.Choice(["auto", "bubblewrap", "landlock", "seatbelt"]),
    envvar="SWARM_SANDBOX", help="Which sandbox to use.  [default: auto]",
)  # fmt: skip
@click.option(
    "--accept-weaker-sandbox", is_flag=True,
    help="On macOS: let strangers' code run in its sandbox, which is weaker (docs/attacks.md).",
)  # fmt: skip
@click.option(
    "--agent", type=click.Choice(["auto", "claude", "offline", "none"]), envvar="SWARM_AGENT",
    help="Who proposes changes; `auto` is Claude where ANTHROPIC_API_KEY is set, else offline;"
    " `none` only verifies others'.  [default: auto]",
)  # fmt: skip
@agent_options
@click.option(
    "--gpu", is_flag=True, default=None, envvar="SWARM_GPU",
    help="Let strangers' code use the GPU: its driver is then within their reach.",
)  # fmt: skip
@click.option("--seed", type=int, envvar="SWARM_SEED", help="Seeds the agent's choices.")
@click.option("--web", is_flag=True, default=None, envvar="SWARM_WEB", help="Serve the page, too.")
@web_options
@click.option("--exit-with-parent", type=int, metavar="PID", hidden=True)
def join(
    *, home: Home, exit_with_parent: int | None, accept_weaker_sandbox: bool, **flags: Any
) -> None:
    """Run a node: join a swarm through --bootstrap, or go on where this home stopped.

    The node's addresses are printed, and written to the file `address` in its home, once it
    listens. Stop it with Ctrl-C.
    """
    if accept_weaker_sandbox and flags["sandbox"] is None:
        flags["sandbox"] = "seatbelt"
    require_linux(weaker_accepted=flags["sandbox"] == "seatbelt")
    from node.config import make_config
    from node.logs import set_up_logging
    from node.main import run_until_signalled
    from node.service import die_with_parent

    if exit_with_parent is not None:
        die_with_parent(exit_with_parent)
    home.create()
    config = make_config(home.config, flags)
    warn_of_public_page(config)
    set_up_logging(home.log)
    run_until_signalled(home, config, announce=click.echo)
