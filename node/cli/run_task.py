"""`swarm-node run-task`: train one script on this machine and print its metric."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from node.cli.options import device_options, json_option, print_json, require_sandboxes

if TYPE_CHECKING:
    from collections.abc import Callable

    from node.devices import Device
    from trainer.job import Job, Outcome, Progress
    from trainer.task import Task


@click.command("run-task")
@click.argument("path", type=click.Path(path_type=Path), metavar="NAME|PATH")
@click.option("--tier", default="smoke", show_default=True, help="Size of the experiment.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=1,
    show_default=True,
    help="Seed of everything random.",
)
@click.option(
    "--split",
    type=click.Choice(["validation", "test"]),
    default="validation",
    show_default=True,
    help="Bytes to score on. `test` is for a final report: no search ever sees those.",
)
@device_options
@json_option
def run_task(
    *, path: Path, tier: str, seed: int, split: str, as_json: bool, **device_flags: Any
) -> None:
    """Train one script in the sandbox and print its metric.

    PATH is a task's directory, or NAME a built-in task, whose genesis script for the tier is
    trained; or PATH is a training script for bytes-gpt, trained as it is. The same script, tier and
    seed give the same number to the last digit.
    """
    require_sandboxes()
    from node.cli.local_runner import local_device
    from protocol.schema import printable
    from trainer.job import MAX_LOG_TAIL_BYTES, TrainerError

    try:
        task, directory, script = _what_to_run(path, tier)
        device = local_device(task.tier(tier), device_flags)
        job = task.job(tier, script, seed, device=device.kind)
        outcome = _train(task, directory, job, split, device)
    except TrainerError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        print_json({"split": split, **_report(task, tier, seed, outcome)})
    elif outcome.metric_micro is not None:
        name = task.metric.name if split == "validation" else f"{task.metric.name} on {split}"
        click.echo(f"{name}: {_decimal(outcome.metric_micro)}")
    if outcome.status != "ok":
        if outcome.log_tail:
            # What a script printed could steer the terminal.
            tail = printable(outcome.log_tail.rstrip(), MAX_LOG_TAIL_BYTES, lines=True)
            click.echo(tail, err=True)
        raise click.ClickException(f"{outcome.status}: {outcome.reason}")


def _what_to_run(path: Path, tier: str) -> tuple[Task, Path, str]:
    """Find the task, the directory with its data, and the script.

    Raises:
        TrainerError: The task is not valid.
        click.UsageError: There is no such tier, or the script cannot be read.
    """
    from trainer.fields import TaskError
    from trainer.task import built_in_directory, load_task

    if path.is_dir():
        directory = path
    else:
        try:
            directory = built_in_directory() if path.exists() else built_in_directory(str(path))
        except TaskError as error:
            raise click.UsageError(f"{error}, and {path} does not exist") from error
    task = load_task(directory)
    if tier not in task.tiers:
        raise click.UsageError(f"{task.name} has no tier {tier!r}; it has {', '.join(task.tiers)}")
    if not path.is_file():
        return task, directory, task.genesis_script(tier)
    try:
        return task, directory, path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"cannot read {path}: {error}") from error


def _train(task: Task, directory: Path, job: Job, split: str, device: Device) -> Outcome:
    from node.cli.local_runner import with_runner

    with _ProgressBar() as show:
        return with_runner(
            task,
            directory,
            lambda runner: runner.run(job, on_progress=show),
            device=device,
            split=split,
        )


class _ProgressBar:
    """Shows progress on stderr: a bar in a terminal, a line per stage elsewhere."""

    def __enter__(self) -> Callable[[Progress], None]:
        from rich import progress
        from rich.console import Console

        console = Console(stderr=True)
        self._bar = progress.Progress(
            progress.TextColumn("{task.description:<6}"),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.TextColumn("{task.fields[loss]}"),
            progress.TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._bar.start()
        self._task = self._bar.add_task("start", total=1.0, loss="")
        self._stage = ""
        return self._show

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _show(self, progress: Progress) -> None:
        if self._bar.disable and progress.stage != self._stage:
            click.echo(f"{progress.stage} ...", err=True)
        self._stage = progress.stage
        loss = "" if progress.loss_micro is None else f"loss {progress.loss_micro / 1e6:.3f}"
        self._bar.update(
            self._task, description=progress.stage, completed=progress.fraction, loss=loss
        )


def _decimal(micro: int) -> str:
    """Millionths as a decimal number, exactly."""
    sign, size = ("-" if micro < 0 else ""), abs(micro)
    return f"{sign}{size // 1_000_000}.{size % 1_000_000:06d}"


def _report(task: Task, tier: str, seed: int, outcome: Outcome) -> dict[str, object]:
    """The JSON form of an outcome; `value` is a string, so that no digit is lost."""
    value = None if outcome.metric_micro is None else _decimal(outcome.metric_micro)
    return {
        "task": task.name,
        "tier": tier,
        "seed": seed,
        "metric": task.metric.name,
        "unit": task.metric.unit,
        "value": value,
        **dataclasses.asdict(outcome),
    }
