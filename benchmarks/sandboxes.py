"""The same training in every sandbox of this machine: equal results, and what each one costs.

The genesis script of a tier is trained, scored and audited with one seed in each backend, and the
metric has to be equal to the digit: a verifier must not find something else because its machine has
another sandbox. A backend that this machine refuses is named with what to do about it, and leaves
the comparison short. As root, Landlock needs a Python that every user can read.
"""

import argparse
import sys
import time
from dataclasses import dataclass

import trio

from benchmarks.local import local_runner
from benchmarks.report import Figure, figure, line, write
from node.sandbox import SandboxUnavailableError
from node.sandbox.selection import BACKEND_NAMES
from trainer.job import Outcome


@dataclass(frozen=True)
class Trained:
    """One training in one backend.

    Attributes:
        outcome: what came of it.
        warm_s: wall time until its worker was warm.
        wall_s: wall time of the run.
    """

    outcome: Outcome
    warm_s: float
    wall_s: float


async def train(name: str, tier: str, seed: int) -> Trained:
    """Train a tier's genesis script in one backend.

    Raises:
        SandboxUnavailableError: this machine refuses it.
    """
    began = time.perf_counter()
    async with local_runner(sandbox=name) as local:
        job = local.task.job(tier, local.task.genesis_script(tier), seed)
        await local.runner.warm_up(job.limits.memory_bytes)
        warm = time.perf_counter()
        outcome = await local.runner.run(job)
        return Trained(outcome, warm - began, time.perf_counter() - warm)


def figures_of(trained: dict[str, Trained]) -> list[Figure]:
    """Return the figures of what was trained, by backend."""
    found: list[Figure] = []
    metrics = {item.outcome.metric_micro for item in trained.values()}
    for name, item in trained.items():
        assert item.outcome.metric_micro is not None, item.outcome
        cpu_s = (item.outcome.train_cpu_ms + item.outcome.score_cpu_ms) / 1000
        found += [
            figure(f"val_bpb, {name}", item.outcome.metric_micro / 1e6, "bits/byte"),
            figure(f"self-test and cold start, {name}", item.warm_s, "s"),
            figure(f"wall time of the run, {name}", item.wall_s, "s"),
            figure(f"CPU time of the run, {name}", cpu_s, "s"),
        ]
    found.append(figure("backends compared", len(trained), "", at_least=len(BACKEND_NAMES)))
    found.append(figure("different values of val_bpb", len(metrics), "", at_most=1))
    return found


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tier", default="smoke", help="tier to train")
    parser.add_argument("--seed", type=int, default=1, help="seed of the run")
    options = parser.parse_args()
    trained: dict[str, Trained] = {}
    for name in BACKEND_NAMES:
        try:
            trained[name] = trio.run(train, name, options.tier, options.seed)
        except SandboxUnavailableError as error:
            print(error, file=sys.stderr)
            continue
        print(f"{name}: val_bpb {(trained[name].outcome.metric_micro or 0) / 1e6:.6f}")
    figures = figures_of(trained)
    for item in figures:
        print(line(item))
    write("sandboxes", figures)


if __name__ == "__main__":
    main()
