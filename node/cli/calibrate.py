"""`swarm-node calibrate`: measure a task's noise here, and propose policy values."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from node.cli.options import find_task, json_option, print_json, require_sandboxes, task_option

if TYPE_CHECKING:
    from node.runner import Runner
    from trainer.job import Outcome


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
) -> None:
    """Measure the noise of a task on this machine, and propose values for `init`.

    The more seeds and edits, the better the estimate; the defaults are for a first look. An
    improved script can be noisier than the first one: measure one, if there is one.
    """
    require_sandboxes()
    from node import calibration
    from node.capacity import default_workers
    from node.cli.local_runner import with_runner
    from node.hardware import describe_device, describe_runtime
    from protocol.records import Metric
    from trainer.job import TrainerError
    from trainer.task import load_task

    directory = find_task(task)
    plan = calibration.Plan(seeds, edits, repeats)
    command = (
        f"swarm-node calibrate --task {shlex.quote(task)} --tier {shlex.quote(tier)}"
        f" --seeds {seeds} --edits {edits} --repeats {repeats}"
        + (f" --script {shlex.quote(str(script))}" if script else "")
    )
    try:
        loaded = load_task(directory)
        source = script.read_text() if script else loaded.genesis_script(tier)
        metric = Metric(loaded.metric.name, loaded.metric.unit, loaded.metric.direction)

        async def measure(runner: Runner) -> calibration.Calibration:
            done = 0

            async def run(text: str, seed: int) -> Outcome:
                nonlocal done
                outcome = await runner.run(loaded.job(tier, text, seed))
                done += 1
                click.echo(f"run {done} of {plan.runs}: {outcome.status}", err=True)
                return outcome

            return await calibration.calibrate(source, plan, run, metric.gain_micro)

        found = with_runner(loaded, directory, measure, slots=default_workers())
    except (TrainerError, calibration.CalibrationError, UnicodeDecodeError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        print_json(
            {
                "command": command,
                "task": loaded.name,
                "digest": loaded.digest.hex(),
                "tier": tier,
                "device": describe_device(),
                "runtime": describe_runtime(),
                **dataclasses.asdict(found),
            }
        )
        return
    unit = metric.unit
    kinds = ", ".join(f"{kind} {sd / 1e6:.6f}" for kind, sd in found.kinds_sd_micro.items())
    for name, text in (
        ("command", command),
        ("machine", f"{describe_device()}; {describe_runtime()}"),
        (metric.name, f"{found.metric_micro / 1e6:.6f} {unit}, mean of {seeds} seeds"),
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
