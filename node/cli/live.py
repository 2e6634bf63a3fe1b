"""`swarm-node task serve`, `email` and `report`: a live test with real people."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from node.cli.options import find_task, json_option, print_json

if TYPE_CHECKING:
    from node.live.arms import Arms
    from node.live.counts import Counts
    from node.live.site import LiveSite

F = TypeVar("F", bound=Callable[..., Any])

_ARM = re.compile(r"([a-z0-9][a-z0-9-]{0,31})=(.+)")


def _subject_options(command: F) -> F:
    """Add what is compared, and the file that counts."""
    for option in (
        click.option(
            "--counts", "counts_file", type=click.Path(dir_okay=False, path_type=Path),
            default="live.sqlite", show_default=True, help="The file of visits.",
        ),
        click.option(
            "--arm", "arms", multiple=True, metavar="NAME=DIR",
            help="A version: a directory with the edited files, such as an exported lineage's.",
        ),
        click.option(
            "--home", "home_directory", metavar="DIR",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="A node's home: compares its swarm's genesis with its head.",
        ),
        click.option(
            "--task", default="landing-page", show_default=True, metavar="NAME|DIR",
            help="Without --home: a task with a [live] table, whose own files are the baseline.",
        ),
        click.option(
            "--patience-s", type=click.IntRange(1, 86_400), default=1_800, show_default=True,
            help="How old a visit must be to count.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def _open(
    task: str, home_directory: Path | None, arms: tuple[str, ...], counts: Path, patience_s: int
) -> "tuple[Arms, Counts]":
    """The subject of a test and its counts.

    Raises:
        UsageError, NodeError: Something of it cannot be used.
    """
    from node.errors import UsageError
    from node.home import find_home
    from node.live.arms import arms_of_home, arms_of_task
    from node.live.counts import Counts

    others = []
    for text in arms:
        match = _ARM.fullmatch(text)
        if match is None:
            raise UsageError(f"--arm {text!r} is not NAME=DIR with a lower-case name")
        others.append((match[1], Path(match[2])))
    subject = (
        arms_of_task(find_task(task), others)
        if home_directory is None
        else arms_of_home(find_home(home_directory), others)
    )
    return subject, Counts(counts, subject.digests, patience_ms=patience_s * 1000)


def _site(subject: "Arms", counts: "Counts", names: tuple[str, ...] = ()) -> "LiveSite":
    import random

    from node import clock
    from node.live.site import LiveSite

    return LiveSite(
        subject.task,
        subject.live,
        subject.sources,
        counts,
        clock.now_ms,
        random.SystemRandom(),
        frozenset(name.lower() for name in names),
    )


@click.command()
@_subject_options
@click.option("--port", type=click.IntRange(0, 65_535), default=8430, show_default=True)
@click.option(
    "--host", default="127.0.0.1", show_default=True, metavar="IP",
    help="Address to serve on; by default this machine only.",
)  # fmt: skip
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="NAME",
    help="Host name under which the page may be asked for, besides addresses.",
)
def serve(
    *,
    task: str,
    home_directory: Path | None,
    arms: tuple[str, ...],
    counts_file: Path,
    patience_s: int,
    port: int,
    host: str,
    names: tuple[str, ...],
) -> None:
    """Hand out variants of a page to real visitors, and count who presses the button.

    Each visitor keeps one variant; Thompson sampling sends more visitors to what does better. Put a
    proxy with TLS before it, and give its public name with --name. `swarm-node task report` says
    what came of it. Stop it with Ctrl-C; the counts are kept.
    """
    import trio

    from node.live.serving import serve_site
    from node.web.service import WebConfig, listen

    subject, counts = _open(task, home_directory, arms, counts_file, patience_s)
    try:
        with listen(WebConfig(host, port, names), option="--port") as listening:
            address, bound = listening.getsockname()[:2]
            shown = f"[{address}]" if ":" in address else address
            click.echo(f"http://{shown}:{bound}/")
            click.echo(f"hands out {', '.join(subject.sources)}; counts in {counts_file}", err=True)
            trio.run(serve_site, listening, _site(subject, counts, names))
    finally:
        counts.close()


@click.command()
@_subject_options
@click.option("--url", required=True, metavar="URL", help="Where the page is reached.")
@click.option("--to", "reader", default="", metavar="NAME", help="The reader's name.")
def email(
    *,
    task: str,
    home_directory: Path | None,
    arms: tuple[str, ...],
    counts_file: Path,
    patience_s: int,
    url: str,
    reader: str,
) -> None:
    """Print an e-mail for one reader, whose link leads to the variant that it announces.

    It is counted as a visit: whoever does not answer it within the patience says no. Nothing is
    sent; pipe it into a mailer.
    """
    from node.errors import UsageError

    if not re.fullmatch(r"https?://[!-~]{1,200}", url):
        raise UsageError(f"--url {url!r} is not an address that begins with http:// or https://")
    subject, counts = _open(task, home_directory, arms, counts_file, patience_s)
    try:
        if not subject.live.email:
            raise UsageError(f"task {subject.task.name} has no e-mail")
        click.echo(_site(subject, counts).email(url, reader), nl=False)
    finally:
        counts.close()


@click.command()
@click.argument("counts_file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--patience-s", type=click.IntRange(1, 86_400), default=1_800, show_default=True)
@json_option
def report(*, counts_file: Path, patience_s: int, as_json: bool) -> None:
    """Say what came of a live test: each arm's rate, and its paired gain over the baseline."""
    from dataclasses import asdict

    from node import clock
    from node.cli.table import safe
    from node.live.counts import Counts

    counts = Counts(counts_file, patience_ms=patience_s * 1000)
    try:
        found = counts.report(clock.now_ms())
    finally:
        counts.close()
    if as_json:
        print_json({"arms": [asdict(arm) for arm in found]})
        return
    for arm in found:
        rate = "no visit counts yet" if arm.rate is None else f"{arm.rate:.4f}"
        line = f"{safe(arm.name)}: {rate} ({arm.responses} of {arm.visits}, {arm.waiting} waiting)"
        if arm.gain is not None and arm.error is not None:
            low, high = arm.gain - 1.96 * arm.error, arm.gain + 1.96 * arm.error
            line += f"; paired gain {arm.gain:+.4f}, 95 % within {low:+.4f} .. {high:+.4f}"
        click.echo(line)


COMMANDS = (serve, email, report)
