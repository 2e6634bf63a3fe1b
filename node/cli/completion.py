"""`swarm-node completion`: what a shell needs to complete commands, options and their values."""

from typing import Final

import click

COMPLETION_VARIABLE: Final = "_SWARM_NODE_COMPLETE"
_PROGRAM: Final = "swarm-node"
_PLACES: Final = {
    "bash": "~/.local/share/bash-completion/completions/swarm-node",
    "zsh": "a directory of $fpath, as _swarm-node",
    "fish": "~/.config/fish/completions/swarm-node.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(sorted(_PLACES)))
def completion(*, shell: str) -> None:
    """Print the completion of a shell: bash, zsh or fish.

    Try it with: eval "$(swarm-node completion bash)", or write it to the place that the printed
    text names, where the shell finds it by itself.
    """
    click.echo(f"# Completion of {_PROGRAM} in {shell}. Its place: {_PLACES[shell]}")
    click.echo(_script(shell))


def _script(shell: str) -> str:
    """The script, from click's template; nothing is run to make it."""
    from click.shell_completion import BashComplete, FishComplete, ZshComplete

    from node.cli.main import cli

    kind = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}[shell]
    complete = kind(cli, {}, _PROGRAM, COMPLETION_VARIABLE)
    return complete.source_template % complete.source_vars()
