"""`swarm-node join`: run a node until it is told to stop."""

from typing import Any

import click

from node.cli.options import (
    Home,
    agent_options,
    device_options,
    home_option,
    network_options,
    parent_option,
    require_sandboxes,
    run_node,
    web_options,
)


@click.command()
@home_option
@network_options
@click.option(
    "--workers", type=click.IntRange(1, 64), envvar="SWARM_WORKERS",
    help="Training runs at the same time, one thread each.  [default: one for each core, as memory"
    " allows]",
)  # fmt: skip
@click.option(
    "--sandbox", type=click.Choice(["auto", "bubblewrap", "landlock", "seatbelt"]),
    envvar="SWARM_SANDBOX", help="Which sandbox to use.  [default: auto]",
)  # fmt: skip
@click.option(
    "--accept-weaker-sandbox", is_flag=True,
    help="On macOS: let strangers' code run in its sandbox, which is weaker (docs/attacks.md)."
    " Kept in the settings.",
)  # fmt: skip
@click.option(
    "--agent", type=click.Choice(["auto", "claude", "offline", "none"]), envvar="SWARM_AGENT",
    help="Who proposes changes; `auto` is Claude where ANTHROPIC_API_KEY is set, else offline;"
    " `none` only verifies others'.  [default: auto]",
)  # fmt: skip
@agent_options
@device_options
@click.option("--seed", type=int, envvar="SWARM_SEED", help="Seeds the agent's choices.")
@click.option("--web", is_flag=True, default=None, envvar="SWARM_WEB", help="Serve the page, too.")
@web_options
@parent_option
def join(
    *, home: Home, exit_with_parent: int | None, accept_weaker_sandbox: bool, **flags: Any
) -> None:
    """Run a node: join a swarm through --bootstrap, or go on where this home stopped.

    The node's addresses are printed, and written to the file `address` in its home, once it
    listens. Stop it with Ctrl-C.
    """
    require_sandboxes()
    from node.cli.consent import settle_sandbox

    flags["sandbox"] = settle_sandbox(flags["sandbox"], home.config, accepted=accept_weaker_sandbox)
    run_node(home, flags, exit_with_parent)
