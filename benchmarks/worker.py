"""What the training worker costs: warm starts, the sandbox and the outside scorer.

Compared are the runner as a node uses it and the same script, steps, seed and scored windows in one
ordinary Python process: cold, as a loop of `python train.py` would start it, and warm, where only
training and evaluation are timed. CPU time is compared where the machine may be busy with other
things. `--tier` and `--runs` scale it; one run takes about two minutes on an idle laptop.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import trio

from benchmarks.local import local_runner
from benchmarks.report import Figure, figure, line, write
from node.runner import Runner
from trainer.job import Outcome
from trainer.task import Task

PLAIN = """
import json, resource, sys, time
began = time.perf_counter()
import numpy as np
import torch
torch.set_num_threads(1)
settings = json.loads(sys.argv[1])
sys.path.insert(0, settings["root"])
from trainer.worker.run import Run
module = {}
exec(compile(open(settings["script"]).read(), "train.py", "exec"), module)

class Steps:
    def __init__(self, steps): self.steps, self.done = steps, 0
    def grant(self, shape):
        self.done += 1
        return self.done <= self.steps
    def progress(self): return min(1.0, self.done / self.steps)

def data(name): return torch.from_numpy(np.memmap(settings[name], np.uint8, mode="c"))
cpu, wall = time.process_time(), time.perf_counter()
run = Run(seed=settings["seed"], vocab_size=256, context=settings["context"],
          tokens=data("train"), meter=Steps(settings["steps"]))
model = module["build_model"](run)
module["train"](run, model)
model.eval()
validation = data("validation")
span = settings["context"] + 1
starts = torch.from_numpy(
    np.linspace(0, len(validation) - span, settings["windows"]).astype(np.int64))
total = 0.0
with torch.inference_mode():
    for part in starts.split(64):
        window = validation[part[:, None] + torch.arange(span)].long()
        logits = model(window[:, :-1])
        total += torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), window[:, 1:].flatten(), reduction="sum").item()
bits = total / np.log(2) / (len(starts) * (span - 1))
print(json.dumps({"bits": bits, "cpu_s": time.process_time() - cpu,
                  "wall_s": time.perf_counter() - wall, "whole_cpu_s": time.process_time(),
                  "memory_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
"""
"""The same work without sandbox, meter and outside scorer; torch is imported anew each time."""


@dataclass(frozen=True, slots=True)
class Ours:
    """One run by the runner.

    Attributes:
        outcome: what came of it.
        wall_s: wall time.
        cpu_s: CPU time of the worker and of the node's own process together.
    """

    outcome: Outcome
    wall_s: float
    cpu_s: float


async def measure(runner: Runner, task: Task, tier: str, probes: int | None) -> Ours:
    """Trains the genesis script of a tier once, with other probes of the audit if wanted."""
    job = task.job(tier, task.genesis_script(tier), 1)
    if probes is not None:
        job = replace(job, evaluation=replace(job.evaluation, probes=probes))
    wall, own = time.perf_counter(), time.process_time()
    outcome = await runner.run(job)
    assert outcome.status == "ok", outcome
    cpu_s = (outcome.train_cpu_ms + outcome.score_cpu_ms) / 1000 + time.process_time() - own
    return Ours(outcome, time.perf_counter() - wall, cpu_s)


def plain(task: Task, tier: str, steps: int, files: dict[str, Path]) -> dict[str, float]:
    """Does the same work in a new Python process."""
    evaluation = task.tiers[tier].evaluation
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write(task.genesis_script(tier))
        script.flush()
        settings = {
            "root": str(Path(__file__).parents[1]),
            "script": script.name,
            "seed": 1,
            "steps": steps,
            "context": evaluation.context,
            "windows": evaluation.windows,
            "train": str(files["train"]),
            "validation": str(files["validation"]),
        }
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", PLAIN, json.dumps(settings)],
            check=True, capture_output=True, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )  # fmt: skip
        whole_s = time.perf_counter() - began
    figures: dict[str, float] = json.loads(done.stdout)
    return figures | {"whole_s": whole_s}


async def compare(runs: int, tier: str, larger: str) -> list[Figure]:
    """Measures everything and returns the figures."""
    async with local_runner() as local:
        task, runner, files = local.task, local.runner, local.files
        began = time.perf_counter()
        await runner.warm_up(task.tiers[tier].limits.memory_bytes)
        warm_s = time.perf_counter() - began
        starts = [await _start(runner, task, tier) for _ in range(10)]
        # In turn, so that both meet the same load.
        ours, theirs = [], []
        for _ in range(runs):
            ours.append(await measure(runner, task, tier, None))
            theirs.append(plain(task, tier, ours[-1].outcome.steps, files))
        large = await measure(runner, task, larger, 0)
        large_plain = plain(task, larger, large.outcome.steps, files)
        audited = await measure(runner, task, larger, None)
    assert large.outcome.metric_micro is not None
    difference = abs(large.outcome.metric_micro / 1e6 - large_plain["bits"])
    per_hour = 3600 / statistics.median(item.wall_s for item in ours)
    plain_per_hour = 3600 / statistics.median(item["whole_s"] for item in theirs)
    cpu_ratio = statistics.median(item["whole_cpu_s"] for item in theirs) / statistics.median(
        item.cpu_s for item in ours
    )
    whole = large_plain["cpu_s"]
    audit_s = (audited.outcome.score_cpu_ms - large.outcome.score_cpu_ms) / 1000
    peak_kib = max(item.outcome.peak_memory_kib for item in [*ours, large, audited])
    return [
        figure("start of a run, process to its end, median", statistics.median(starts), "s",
               at_most=0.1),
        figure("cold start of a worker", warm_s, "s"),
        figure(f"experiments an hour and core, {tier}", per_hour, "1/h", limit=plain_per_hour),
        figure(f"the same over a loop of python train.py, {tier}", per_hour / plain_per_hour,
               "times", at_least=1.3),
        figure(f"the same by CPU time, {tier}", cpu_ratio, "times"),
        figure(f"meter, scorer and sandbox over in-process, {larger}",
               100 * (large.cpu_s / whole - 1), "% CPU", at_most=8.0),
        figure(f"the same by wall time, {larger}",
               100 * (large.wall_s / large_plain["wall_s"] - 1), "%"),
        figure(f"the audit, {larger}", 100 * audit_s / whole, "% CPU"),
        figure("peak memory of a run", peak_kib / 1024, "MiB",
               limit=large_plain["memory_kib"] / 1024),
        figure("difference of the metric from in-process", difference, "bits/byte",
               at_most=0.002),
        figure("load of the machine at the end", os.getloadavg()[0], "procs"),
    ]  # fmt: skip


async def _start(runner: Runner, task: Task, tier: str) -> float:
    """Wall time of a run whose script ends at once: a fork, confinement, and the end told."""
    began = time.perf_counter()
    outcome = await runner.run(task.job(tier, "raise SystemExit", 1))
    assert outcome.status == "crashed", outcome
    return time.perf_counter() - began


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs of the smaller tier")
    parser.add_argument("--tier", default="smoke", help="tier of experiments an hour")
    parser.add_argument("--larger", default="laptop", help="tier of the overhead")
    options = parser.parse_args()
    figures = trio.run(compare, options.runs, options.tier, options.larger)
    for item in figures:
        print(line(item))
    write("worker", figures)


if __name__ == "__main__":
    main()
