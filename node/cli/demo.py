"""`swarm-node demo`: a whole swarm on one machine."""

import shutil
import signal
import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from node.cli.consent import settle_sandbox
from node.cli.options import find_task, json_option, print_json, require_sandboxes, task_option
from node.home import find_home


@click.command()
@click.option("--nodes", type=click.IntRange(1, 32), default=3, show_default=True)
@click.option(
    "--merges", type=click.IntRange(1, 1000), default=3, show_default=True, metavar="K",
    help="End after K verified merges.",
)  # fmt: skip
@click.option(
    "--minutes", type=click.FloatRange(0.1), default=15, show_default=True, metavar="M",
    help="Give up after M minutes, with exit code 1.",
)  # fmt: skip
@task_option
@click.option("--tier", default="smoke", show_default=True, help="The task's tier.")
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep the nodes' homes here.  [default: a temporary directory, deleted at the end]",
)
@click.option("--seed", type=int, help="Seeds the agents' choices.")
@click.option(
    "--accept-weaker-sandbox", is_flag=True,
    help="On macOS: train in its sandbox, which is weaker (docs/attacks.md).",
)  # fmt: skip
@json_option
def demo(
    *,
    nodes: int,
    merges: int,
    minutes: float,
    task: str,
    tier: str,
    home: Path | None,
    seed: int | None,
    accept_weaker_sandbox: bool,
    as_json: bool,
) -> int:
    """Watch local nodes find, verify and merge improvements to a small language model.

    Starts NODES processes on this machine that know each other only through --bootstrap, and
    shows who tests which hypothesis, what was verified or refuted, and the lineage growing.
    """
    require_sandboxes()
    settings = find_home(None).config
    settle_sandbox(None, settings, accepted=accept_weaker_sandbox)
    from rich.console import Console

    from node.capacity import default_workers
    from node.config import chosen_sandbox
    from node.demo import DemoPlan, run_demo
    from node.demo_display import DemoDisplay, print_result
    from node.sandbox.selection import AUTOMATIC, WEAKER

    # A closed terminal and a polite kill end the demo as Ctrl-C does: nothing is left behind.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    task_directory = find_task(task)
    directory = home.expanduser().absolute() if home else Path(tempfile.mkdtemp(prefix="swarm-"))
    plan = DemoPlan(
        nodes=nodes,
        merges=merges,
        minutes=minutes,
        task=task_directory,
        tier=tier,
        seed=seed,
        directory=directory,
        workers=default_workers(nodes),
        sandbox=WEAKER if chosen_sandbox(settings) == WEAKER else AUTOMATIC,
    )
    try:
        with DemoDisplay(Console(stderr=True), merges=merges) as display:
            result = run_demo(plan, display.update)
    finally:
        if home is None:
            shutil.rmtree(directory, ignore_errors=True)
    if as_json:
        fields = asdict(result)
        print_json({name: fields[name] for name in ("nodes", "lineage", "converged", "wall_s")})
    else:
        names = {
            status["node_id"]: f"node-{number}"
            for number, status in enumerate(result.nodes, start=1)
            if status
        }
        print_result(Console(), result, names)
    return 0 if result.enough and result.converged else 1
