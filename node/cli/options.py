"""Options and habits that several commands share."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from node.home import Home, find_home

if TYPE_CHECKING:
    from node.config import Config

F = TypeVar("F", bound=Callable[..., Any])


def home_option(command: F) -> F:
    """Add `--home`; the command receives a `Home`."""
    return click.option(
        "--home",
        type=click.Path(file_okay=False, path_type=Path),
        callback=lambda _context, _option, value: find_home(value),
        metavar="DIR",
        help="The node's directory.  [default: $SWARM_HOME, else the XDG data directory]",
    )(command)


def json_option(command: F) -> F:
    """Add `--json`; the command receives `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")(command)


def task_option(command: F) -> F:
    """Add `--task`; the command receives `task`, which `find_task` turns into a directory."""
    return click.option(
        "--task",
        default="bytes-gpt",
        show_default=True,
        metavar="NAME|DIR",
        help="A built-in task, or a task's directory.",
    )(command)


def network_options(command: F) -> F:
    """Add `--bootstrap`, `--listen` and `--advertise`."""
    for option in (
        click.option(
            "--advertise", multiple=True, envvar="SWARM_ADVERTISE", metavar="ADDRESS",
            help="Address to tell others instead of the one listened on.",
        ),
        click.option(
            "--listen", envvar="SWARM_LISTEN", metavar="ADDRESS",
            help="Multiaddress to listen on.  [default: /ip4/127.0.0.1/tcp/0, this machine only]",
        ),
        click.option(
            "--bootstrap", multiple=True, envvar="SWARM_BOOTSTRAP", metavar="ADDRESS",
            help="A peer's address, or @FILE with addresses, one a line."
            " May be given several times.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def parent_option(command: F) -> F:
    """Add `--exit-with-parent`, by which the demo's nodes end with it however it ends."""
    return click.option("--exit-with-parent", type=int, metavar="PID", hidden=True)(command)


def run_node(home: Home, flags: dict[str, Any], exit_with_parent: int | None) -> None:
    """Run a node until it is told to stop; what `join` and `leaderboard` have in common.

    Args:
        home: Its directory.
        flags: What was given on the command line.
        exit_with_parent: The process to end with, if any.

    Raises:
        NodeError: It cannot start, or cannot go on.
    """
    from node.config import make_config
    from node.logs import set_up_logging
    from node.main import run_until_signalled
    from node.parent_process import die_with_parent

    if exit_with_parent is not None:
        die_with_parent(exit_with_parent)
    home.create()
    config = make_config(home.config, flags)
    warn_of_public_page(config)
    set_up_logging(home.log)
    run_until_signalled(home, config, announce=click.echo)


def agent_options(command: F) -> F:
    """Add how Claude is asked, and what it may cost."""
    for option in (
        click.option(
            "--agent-max-usd-per-day", type=click.FloatRange(0, 1_000_000),
            envvar="SWARM_AGENT_MAX_USD_PER_DAY", metavar="USD",
            help="Most that Claude may cost in a day.  [default: 5]",
        ),
        click.option(
            "--agent-max-usd", type=click.FloatRange(0, 1_000_000),
            envvar="SWARM_AGENT_MAX_USD", metavar="USD",
            help="Most that Claude may cost in all.  [default: 20]",
        ),
        click.option(
            "--agent-effort", type=click.Choice(["low", "medium", "high", "xhigh", "max"]),
            envvar="SWARM_AGENT_EFFORT", help="How hard Claude thinks.  [default: the model's]",
        ),
        click.option(
            "--agent-model", envvar="SWARM_AGENT_MODEL", metavar="NAME",
            help="Which Claude.  [default: claude-opus-5-5]",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def device_options(command: F) -> F:
    """Add `--device` and `--gpu`."""
    for option in (
        click.option(
            "--gpu", is_flag=True, default=None, envvar="SWARM_GPU",
            help="Let strangers' code use the GPU: its driver is then within their reach.",
        ),
        click.option(
            "--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), envvar="SWARM_DEVICE",
            help="What to compute on; a GPU needs --gpu too.  [default: auto, as the tier says]",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def web_options(command: F) -> F:
    """Add `--web-port`, `--web-host` and `--web-name`."""
    for option in (
        click.option(
            "--web-name", multiple=True, envvar="SWARM_WEB_NAME", metavar="NAME",
            help="Host name under which the page may be asked for, besides addresses.",
        ),
        click.option(
            "--web-host", envvar="SWARM_WEB_HOST", metavar="IP",
            help="Address to serve the page on.  [default: 127.0.0.1, this machine only]",
        ),
        click.option(
            "--web-port", type=click.IntRange(0, 65_535), envvar="SWARM_WEB_PORT",
            help="Port to serve the page on; 0 for any free one.  [default: 8420]",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def warn_of_public_page(config: "Config") -> None:
    """Say so when others than this machine's users can read the page.

    Raises:
        UsageError: The address to serve it on is not an IP address.
    """
    from node.errors import UsageError
    from node.web.guard import is_loopback

    try:
        public = config.web and not is_loopback(config.web_host)
    except ValueError as error:
        raise UsageError(f"--web-host {config.web_host!r} is not an IP address") from error
    if public:
        click.echo(
            f"warning: everyone who reaches {config.web_host} port {config.web_port} can read the"
            " page, the scripts and the addresses of peers on it; there is no login",
            err=True,
        )


def find_task(task: str) -> Path:
    """The directory of a built-in task, or the directory that was named.

    Raises:
        UsageError: It is neither.
    """
    from node.errors import UsageError
    from trainer.job import TrainerError
    from trainer.task import built_in_directory

    try:
        return Path(task) if Path(task).is_dir() else built_in_directory(task)
    except TrainerError as error:
        raise UsageError(f"{error}, and {task!r} is not a directory") from error


def print_json(value: Any) -> None:
    """Print one JSON value on stdout."""
    click.echo(json.dumps(value, indent=2 if sys.stdout.isatty() else None, sort_keys=False))


def require_sandboxes(platform: str = sys.platform) -> None:
    """Refuse platforms that have no sandbox at all.

    Args:
        platform: As `sys.platform` names it.

    Raises:
        click.ClickException: With one sentence that says so.
    """
    if platform in {"win32", "cygwin"}:
        raise click.ClickException("native Windows is not supported; use WSL2")


__all__ = [
    "Home",
    "agent_options",
    "device_options",
    "find_task",
    "home_option",
    "json_option",
    "network_options",
    "parent_option",
    "print_json",
    "require_sandboxes",
    "run_node",
    "task_option",
    "warn_of_public_page",
    "web_options",
]
