"""The `swarm-node` command: a group that imports a command only when it is used.

`--help` has to answer at once, so this module imports nothing but click; libp2p, torch and
anthropic take seconds.
"""

import importlib
import sys
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

_COMMANDS: Final = {
    "init": ("node.cli.init", "Found a swarm in a home directory."),
    "join": ("node.cli.join", "Run a node: join a swarm, or continue where this one stopped."),
    "invite": ("node.cli.invite", "Print the command with which another machine joins."),
    "leaderboard": ("node.cli.leaderboard", "Watch a swarm in the browser; train nothing."),
    "demo": ("node.cli.demo", "Watch a swarm of local nodes find, verify and merge improvements."),
    "status": ("node.cli.status", "Show what the node does, running or not."),
    "top": ("node.cli.top", "Watch the node live in the terminal."),
    "peers": ("node.cli.peers", "Show who else is there."),
    "logs": ("node.cli.logs", "Show or follow the node's log, and what runs printed."),
    "pause": ("node.cli.steer", "Let the node rest after what it runs now."),
    "resume": ("node.cli.steer", "Let a paused node go on."),
    "finish": ("node.cli.steer", "End the node after what it runs now."),
    "agent": ("node.cli.agent", "Try the language model once; show prompt, answer and cost."),
    "lineage": ("node.cli.lineage", "Show the lineage as a tree; verify or export it."),
    "propose": ("node.cli.propose", "Have the running node test a change of your own."),
    "transfer": ("node.cli.transfer", "Replay the lineage at a larger scale."),
    "show": ("node.cli.show", "Show one hypothesis, entry or record."),
    "export": ("node.cli.export", "Write the leaderboard as a page, picture, table or JSON."),
    "paths": ("node.cli.paths", "Show where this node keeps its things."),
    "config": ("node.cli.config", "Show every setting and where it comes from."),
    "doctor": ("node.cli.doctor", "Check the sandbox, the store and the machine; say what to do."),
    "task": ("node.cli.task", "Check a task, or import an autoresearch repository."),
    "calibrate": ("node.cli.calibrate", "Measure a task's noise; propose policy values."),
    "run-task": ("node.cli.run_task", "Train one script locally and print its metric."),
    "service": ("node.cli.service", "Have systemd or launchd keep a node running."),
    "completion": ("node.cli.completion", "Print the completion of bash, zsh or fish."),
}


class _LazyGroup(click.Group):
    """A group whose help is known without importing its commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which a newcomer meets them."""
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(_COMMANDS[cmd_name][0])
        command = getattr(module, cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names of commands, from the table: completing must not import what it completes."""
        names = [
            CompletionItem(name, help=text)
            for name, (_, text) in _COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return names or click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


def _print_version(context: click.Context) -> None:
    from node.hardware import software_version

    click.echo(f"swarm-node {software_version()}")
    context.exit()


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda context, _option, wanted: _print_version(context) if wanted else None,
    help="Show the version and exit.",
)
@click.pass_context
def cli(context: click.Context) -> None:
    """Turn any set of laptops and GPU boxes into one research group."""
    from node.cli.table import colour_wanted

    if not colour_wanted():
        context.color = False


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line and exit: 0 ok, 1 error, 2 usage, 3 not running, 4 unreachable,
    5 degraded, 130 interrupted.
    """  # noqa: D205
    try:
        status = cli.main(
            args=arguments,
            prog_name="swarm-node",
            complete_var="_SWARM_NODE_COMPLETE",
            standalone_mode=False,
        )
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if code is None:
            raise
        click.echo(f"error: {error}", err=True)
        sys.exit(code)
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
