"""`swarm-node calibrate`: measure a task's noise here, and propose policy values."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from node.cli.options import (
    device_options,
    find_task,
    json_option,
    print_json,
    require_sandboxes,
    task_option,
)

if TYPE_CHECKING:
    from node.calibration import Calibration, Plan
    from node.devices import Device
    from node.runner import Runner
    from protocol.records import Metric
    from trainer.job import Outcome
    from trainer.task import Task


@click.command()
@task_option
@click.option("--tier", default="smoke", show_default=True, help="The task's tier.")
@click.option(
    "--script", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
    help="Measure this version of the task's script.  [default: the genesis script]",
)  # fmt: skip
@click.option(
    "--seeds", type=click.IntRange(2, 100), default=4, show_default=True,
    help="Seeds of the genesis script.",
)  # fmt: skip
@click.option(
    "--edits", type=click.IntRange(0, 100), default=3, show_default=True,
    help="Edits that should not matter, each run on every seed: renamed layers, permuted draws and"
    " sums in another order in turn.",
)  # fmt: skip
@click.option(
    "--repeats", type=click.IntRange(1, 100), default=2, show_default=True,
    help="Further runs of the first seed, to see the machine's own noise.",
)  # fmt: skip
@device_options
@json_option
def calibrate(
    *,
    task: str,
    tier: str,
    script: Path | None,
    seeds: int,
    edits: int,
    repeats: int,
    as_json: bool,
    **device_flags: Any,
) -> None:
    """Measure the noise of a task on this machine, and propose values for `init`.

    The more seeds and edits, the better the estimate; the defaults are for a first look. An
    improved script can be noisier than the first one: measure one, if there is one.
    """
    require_sandboxes()
    from node.calibration import CalibrationError, Plan
    from node.cli.local_runner import local_device
    from protocol.records import Metric
    from trainer.job import TrainerError
    from trainer.task import load_task

    directory = find_task(task)
    plan = Plan(seeds, edits, repeats)
    try:
        loaded = load_task(directory)
        source = script.read_text() if script else loaded.genesis_script(tier)
        device = local_device(loaded.tier(tier), device_flags)
        metric = Metric(loaded.metric.name, loaded.metric.unit, loaded.metric.direction)
        measured = _Measured(
            command=_command(task, tier, plan, script, device),
            task=loaded,
            tier=tier,
            device=device,
            metric=metric,
            seeds=seeds,
        )
        found = _measure(measured, directory, source, plan)
    except (TrainerError, CalibrationError, UnicodeDecodeError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        _print_json(measured, found)
    else:
        _print(measured, found)


@dataclasses.dataclass(frozen=True, slots=True)
class _Measured:
    """What was measured, and how.

    Attributes:
        command: The command that measures it again.
        task: The task.
        tier: Its tier.
        device: What runs computed on.
        metric: What the runs measure.
        seeds: How many seeds of the script.
    """

    command: str
    task: Task
    tier: str
    device: Device
    metric: Metric
    seeds: int


def _command(task: str, tier: str, plan: Plan, script: Path | None, device: Device) -> str:
    return (
        f"swarm-node calibrate --task {shlex.quote(task)} --tier {shlex.quote(tier)}"
        f" --seeds {plan.seeds} --edits {plan.edits} --repeats {plan.repeats}"
        + (f" --script {shlex.quote(str(script))}" if script else "")
        + (f" --device {device.kind} --gpu" if device.is_gpu else "")
    )


def _measure(measured: _Measured, directory: Path, source: str, plan: Plan) -> Calibration:
    """Makes the runs of a plan."""
    from node.calibration import calibrate as calibrate_script
    from node.capacity import default_workers
    from node.cli.local_runner import with_runner

    async def work(runner: Runner) -> Calibration:
        done = 0

        async def run(text: str, seed: int) -> Outcome:
            nonlocal done
            job = measured.task.job(measured.tier, text, seed, device=measured.device.kind)
            outcome = await runner.run(job)
            done += 1
            click.echo(f"run {done} of {plan.runs}: {outcome.status}", err=True)
            return outcome

        return await calibrate_script(source, plan, run, measured.metric.gain_micro)

    # A GPU is one, and runs do not share it well.
    slots = 1 if measured.device.is_gpu else default_workers()
    return with_runner(measured.task, directory, work, device=measured.device, slots=slots)


def _print_json(measured: _Measured, found: Calibration) -> None:
    from node.hardware import describe_runtime

    print_json(
        {
            "command": measured.command,
            "task": measured.task.name,
            "digest": measured.task.digest.hex(),
            "tier": measured.tier,
            "device": measured.device.words,
            "runtime": describe_runtime(),
            **dataclasses.asdict(found),
        }
    )


def _print(measured: _Measured, found: Calibration) -> None:
    from node.hardware import describe_runtime

    unit = measured.metric.unit
    kinds = ", ".join(f"{kind} {sd / 1e6:.6f}" for kind, sd in found.kinds_sd_micro.items())
    for name, text in (
        ("command", measured.command),
        ("machine", f"{measured.device.words}; {describe_runtime()}"),
        (measured.metric.name,
         f"{found.metric_micro / 1e6:.6f} {unit}, mean of {measured.seeds} seeds"),
        ("seeds", f"sd {found.seed_sd_micro / 1e6:.6f} {unit}"),
        ("pairs", f"sd {found.pair_sd_micro / 1e6:.6f} {unit} over {found.pairs} harmless pairs"
                  f" ({kinds or 'none'})"),
        ("machine noise", f"{found.machine_range_micro / 1e6:.6f} {unit} between equal runs"),
        ("a run", f"{found.cpu_ms / 1000:.1f} s CPU (spread {found.cpu_spread}),"
                  f" {found.wall_ms / 1000:.1f} s wall, {found.memory_kib >> 10} MiB"),
        ("proposed", f"--tau-micro {found.tau_micro}"
                     f" --cost-ratio-permille {found.cost_ratio_permille}"),
    ):  # fmt: skip
        click.echo(f"{name:<14} {text}")
