"""`swarm-node agent try`: one real question to the language model, for people with a key."""

from typing import Any

import click

from node.cli.options import Home, agent_options, home_option, task_option


@click.group()
def agent() -> None:
    """Work with the agent that proposes changes."""


@agent.command(name="try")
@home_option
@task_option
@click.option("--tier", default="smoke", show_default=True, help="Tier, without a swarm.")
@agent_options
def try_(*, home: Home, task: str, tier: str, **flags: Any) -> int:
    """Ask Claude for one change to the head's script; show prompt, answer, checks and cost.

    It costs what a proposal costs, and counts against the home's budget. Nothing is trained and
    nothing is published. In a home without a swarm the question is about --task.
    """
    import os

    import trio

    from node.agency import KEY_VARIABLE, take_api_key
    from node.agent_trial import try_once
    from node.cli.options import find_task
    from node.config import make_config
    from node.errors import UsageError

    key = take_api_key(os.environ)
    if key is None:
        raise UsageError(
            f"there is no API key: set {KEY_VARIABLE} in the environment (nodes without one use the"
            " offline agent)"
        )
    home.create()
    config = make_config(home.config, flags)
    trial = trio.run(try_once, home, config, key, find_task(task), tier)
    click.echo(trial.text)
    return 0 if trial.accepted else 1
