"""`swarm-node task`: check a task's directory, import one, or hand it out to real people."""

import re
from pathlib import Path

import click

from node.cli.live import COMMANDS
from node.cli.options import json_option, print_json


@click.group()
def task() -> None:
    """Check tasks, import autoresearch repositories, and test pages with real people."""


for _command in COMMANDS:
    task.add_command(_command)


@task.command()
@click.argument(
    "directory", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR"
)
@json_option
def check(*, directory: Path, as_json: bool) -> int:
    """Say in words what is wrong with the task in DIR. Exit code 1 when something is."""
    from trainer.checking import check_directory
    from trainer.job import TrainerError
    from trainer.task import load_task

    try:
        faults = check_directory(directory)
    except TrainerError as error:
        faults = [str(error)]
    if as_json:
        print_json({"directory": str(directory), "faults": faults})
    elif faults:
        for fault in faults:
            click.echo(fault)
    else:
        found = load_task(directory)
        word = "verified" if found.scorer == "trusted" else "reproduced"
        click.echo(
            f"{found.name} is a valid task, digest {found.digest.hex()[:16]}: tiers"
            f" {', '.join(found.tiers)}; scorer {found.scorer}, so what holds is called {word};"
            f" {found.metric.name} in {found.metric.unit}, {found.metric.direction}imised"
        )
    return 1 if faults else 0


@task.command("import")
@click.argument(
    "directory", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR"
)
@click.option("--name", help="Word for the task.  [default: from the directory's name]")
@click.option(
    "--device", type=click.Choice(["cpu", "cuda", "mps"]),
    help="What its seconds are spent on: runs on other devices are not compared with them."
    "  [default: cuda where torch finds it here, else cpu]",
)  # fmt: skip
@click.option("--metric", default="val_bpb", show_default=True, help="The metric a run prints.")
@click.option(
    "--direction", type=click.Choice(["min", "max"]), default="min", show_default=True,
    help="Whether lower or higher is better.",
)  # fmt: skip
@click.option(
    "--seconds", type=click.IntRange(1), help="Training time.  [default: TIME_BUDGET of prepare.py]"
)
@click.option(
    "--cache", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="CACHE",
    help="Directory whose files a run finds as ~/.cache/autoresearch.",
)  # fmt: skip
@click.option(
    "--memory-mib", type=click.IntRange(64), default=8192, show_default=True,
    help="Most memory of a run.",
)  # fmt: skip
def import_(
    *,
    directory: Path,
    name: str | None,
    device: str | None,
    metric: str,
    direction: str,
    seconds: int | None,
    cache: Path | None,
    memory_mib: int,
) -> None:
    """Make a task of DIR, which has autoresearch's prepare.py, train.py and program.md.

    Writes DIR/task.toml, links to the cache's files, and changes nothing else. `swarm-node export
    --tsv` gives the results as autoresearch's results.tsv.
    """
    from node.devices import ask_torch
    from trainer.importing import Import, import_task
    from trainer.job import TrainerError

    word = re.sub(r"[^a-z0-9_-]+", "-", (name or directory.resolve().name).lower()).strip("-_")
    wanted = Import(
        name=word.lstrip("0123456789-_")[:32] or "imported",
        device=device or ("cuda" if ask_torch().cuda else "cpu"),
        metric=metric,
        direction=direction,
        seconds=seconds,
        memory_mib=memory_mib,
        cache=cache,
    )
    try:
        path = import_task(directory, wanted)
    except TrainerError as error:
        raise click.ClickException(str(error)) from error
    click.echo(str(path))
    click.echo(f"its runs are compared on {wanted.device} only (device in task.toml)", err=True)
    click.echo(
        f"next: swarm-node task check {directory}; swarm-node run-task {directory} --tier standard;"
        f" swarm-node init --task {directory} --tier standard",
        err=True,
    )
