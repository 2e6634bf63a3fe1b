"""`swarm-node service`: have the system keep a node running for this user."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from node.cli.options import Home, home_option
from node.cli.table import paint

if TYPE_CHECKING:
    from node.service_unit import ServiceFile

_FILE_BYTES_MAX: Final = 64 * 1024


@click.group()
def service() -> None:
    """Have systemd or launchd keep a node running for this user."""


@service.command(context_settings={"ignore_unknown_options": True})
@home_option
@click.option("--print", "only_print", is_flag=True, help="Print the file; write nothing.")
@click.option("--yes", is_flag=True, help="Replace another file in its place without asking.")
@click.option(
    "--manager", type=click.Choice(["systemd", "launchd"]),
    help="For which service manager.  [default: this system's]",
)  # fmt: skip
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- JOIN-OPTIONS]...")
def install(
    *, home: Home, only_print: bool, yes: bool, manager: str | None, arguments: tuple[str, ...]
) -> None:
    """Write a unit that runs `swarm-node join` with JOIN-OPTIONS for this user.

    Nothing is started, and nothing needs root: the commands that start it are printed.
    """
    from node.errors import UsageError

    _check_arguments(arguments)
    if os.getuid() == 0 and not only_print:
        raise UsageError(
            "a node runs strangers' code, so it is no service of root's: run this as the user who"
            " shall run it, or see the file with --print"
        )
    file = _file(home, manager, arguments)
    if only_print:
        click.echo(file.text, nl=False)
        return
    _write(file, yes=yes)
    for heading, lines in (("start it with", file.starting), ("undo it with", file.removing)):
        click.echo(f"{heading}:")
        for line in lines:
            click.echo(f"  {paint(line, 'accent')}")


def _file(home: Home, manager: str | None, arguments: tuple[str, ...]) -> "ServiceFile":
    from node.errors import UsageError
    from node.service_unit import manager_of, service_file

    chosen = manager_of(sys.platform) if manager is None else manager
    if chosen is None:
        raise UsageError(f"no service manager is known for {sys.platform}; choose one: --manager")
    assert chosen in {"systemd", "launchd"}
    return service_file(
        "systemd" if chosen == "systemd" else "launchd",
        command=[*_program(), "join", "--home", str(home.root), *arguments],
        home=home.root,
        user_home=Path.home(),
    )


def _program() -> list[str]:
    """How this program was found, so that the service runs the same one."""
    beside = Path(sys.executable).with_name("swarm-node")
    if beside.is_file():
        return [str(beside)]
    found = shutil.which("swarm-node")
    return [found] if found else [sys.executable, "-m", "node"]


def _check_arguments(arguments: tuple[str, ...]) -> None:
    """Refuse what `join` would refuse, now instead of at every start.

    Raises:
        click.UsageError: `join` does not know an option, or refuses its value.
    """
    from node.cli.join import join
    from node.errors import UsageError

    if any("\n" in word or "\x00" in word for word in arguments):
        raise UsageError("an argument with a line break cannot stand in a unit")
    if any(word == "--home" or word.startswith("--home=") for word in arguments):
        raise UsageError("give --home before the --, so that the unit names it once")
    join.make_context("join", list(arguments))


def _write(file: "ServiceFile", *, yes: bool) -> None:
    """Put the file into its place; another one that is there is replaced only when asked to.

    Raises:
        NodeError: It stays, or the file cannot be written.
    """
    from node.errors import NodeError

    try:
        there = file.path.read_text(encoding="utf-8")[:_FILE_BYTES_MAX]
    except FileNotFoundError:
        there = None
    except (OSError, UnicodeDecodeError) as error:
        raise NodeError(f"cannot read {file.path}: {error}") from error
    if there == file.text:
        click.echo(f"{file.path} says so already")
        return
    if there is not None and not yes:
        if not sys.stdin.isatty():
            raise NodeError(
                f"{file.path} is there and says something else; --yes replaces it, and"
                f" `swarm-node service install --print | diff {shlex.quote(str(file.path))} -`"
                " shows how it differs"
            )
        click.confirm(f"{file.path} is there and says something else; replace it?", abort=True)
    try:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        partial = file.path.with_name(f".{file.path.name}.partial")
        partial.write_text(file.text, encoding="utf-8")
        partial.replace(file.path)
    except OSError as error:
        raise NodeError(f"cannot write {file.path}: {error.strerror}") from error
    click.echo(f"wrote {file.path}")
