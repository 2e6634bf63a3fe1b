"""A swarm finds again what the field had to find: sound initialisation and normalisation.

Three nodes on loopback, found and run exactly as `swarm-node demo` does, start from a script whose
matrices all begin with one large standard deviation and whose `norm` does nothing
(`benchmarks/tasks/bare_gpt`). Nothing tells the offline agents what is wrong: their catalogue is
the one of every task, in no order. The benchmark ends when the head draws its matrices by Kaiming's
or Xavier's rule and normalises with RMSNorm, both verified by two other nodes, or when time is
over. The chance of the agents follows from `--seed`.
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.report import OUT, Figure, figure, line, write
from node.blobs import BlobStore
from node.demo import DemoNode, DemoPlan, DemoResult, run_demo
from node.home import Home
from trainer.task import built_in_directory

TASK: Final = Path(__file__).parent / "tasks" / "bare_gpt"
TIER: Final = "short"
_LINE_S: Final = 30.0

MARKS: Final = {
    "Kaiming or Xavier": re.compile(r"\(2\.0 / (columns|\(rows \+ columns\))\) \*\* 0\.5"),
    "RMSNorm": re.compile(r"def norm\(width\):\s+return nn\.RMSNorm\(width\)"),
}
"""How a script shows that it has what was to be found."""

LIKE: Final = {
    "a spread by the layer's size": re.compile(r"def init_std\(name, parameter\):"),
    "a normalisation": re.compile(r"def norm\(width\):\s+return nn\.(RMSNorm|LayerNorm)\("),
}
"""What does the same work; timed too, since which of them is tried first is chance."""


def task_directory(directory: Path) -> Path:
    """The task with its data, which is that of the built-in one."""
    made = directory / "task"
    shutil.copytree(TASK, made)
    (made / "data").symlink_to(built_in_directory() / "data", target_is_directory=True)
    return made


def found_in(script: str) -> list[str]:
    """Which of the things to be found a script has."""
    return marked(script, MARKS)


def marked(script: str, marks: Mapping[str, re.Pattern[str]]) -> list[str]:
    """The names of the marks that a script has."""
    return [name for name, mark in marks.items() if mark.search(script)]


class Search:
    """Watches the first node's lineage for what is to be found.

    Attributes:
        found_s: Seconds until each thing was in the head's script.
    """

    def __init__(self, home: Home, now_s: Callable[[], float]) -> None:
        self._blobs = BlobStore(home.blobs)
        self._now_s = now_s
        self._started_s = now_s()
        self._said_s = -_LINE_S
        self.found_s: dict[str, float] = {}

    def over(self, lineage: Sequence[dict[str, Any]]) -> bool:
        """Whether the head has everything."""
        script = self._blobs.read(bytes.fromhex(lineage[-1]["source"])) if lineage else None
        here = [] if script is None else found_in(script.decode(errors="replace"))
        like = [] if script is None else marked(script.decode(errors="replace"), LIKE)
        for name in here + like:
            self.found_s.setdefault(name, self._now_s() - self._started_s)
        return len(here) == len(MARKS)

    def show(self, nodes: list[DemoNode], elapsed_s: float) -> None:
        """Say now and then how far it is."""
        if elapsed_s - self._said_s < _LINE_S or not nodes[0].snapshot:
            return
        self._said_s = elapsed_s
        status = nodes[0].snapshot["status"]
        value = status["head"]["val_bpb"]
        print(
            f"# {elapsed_s:5.0f} s: {status['hypotheses']['proposed']} hypotheses,"
            f" {status['merges']} merges, head {value if value is None else round(value, 4)},"
            f" found {sorted(self.found_s)}",
            flush=True,
        )


def rediscover(minutes: float, seed: int, directory: Path) -> tuple[DemoResult, Search]:
    """Run the swarm until it has found everything, or time is over."""
    search = Search(Home(directory / "node-1"), time.monotonic)
    plan = DemoPlan(
        nodes=3,
        merges=1000,
        minutes=minutes,
        task=task_directory(directory),
        tier=TIER,
        seed=seed,
        directory=directory,
        until=search.over,
    )
    return run_demo(plan, search.show), search


def figures_of(result: DemoResult, search: Search, minutes: float) -> list[Figure]:
    """What came of it."""
    status = result.nodes[0]
    last_s = max(search.found_s.values()) if result.enough else float("inf")
    figures = [
        figure(f"until {name} is merged", found_s / 60, "min")
        for name, found_s in search.found_s.items()
    ]
    return [
        *figures,
        figure("until everything is merged", last_s / 60, "min", at_most=minutes),
        figure("verified merges", result.merges, ""),
        figure("hypotheses", status["hypotheses"]["proposed"], ""),
        figure("heads and records equal on all nodes", float(result.converged), "", at_least=1.0),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="give up after this long")
    parser.add_argument("--seed", type=int, default=1, help="seeds the agents' choices")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="swarm-rediscover-"))
    try:
        result, search = rediscover(options.minutes, options.seed, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    busy_s = [node["worker"]["busy_s"] for node in result.nodes]
    print(f"# seconds of work by node: {busy_s}")
    for entry in result.lineage:
        gain = "" if entry["gain"] is None else f"{entry['gain']:+.4f}"
        print(f"# {entry['val_bpb']!s:>16}  {gain:>16}  {entry['title']}")
    figures = figures_of(result, search, options.minutes)
    for item in figures:
        print(line(item))
    write("rediscover", figures)
    record = {"seed": options.seed, "lineage": result.lineage, "found_s": search.found_s}
    (OUT / "rediscover-lineage.json").write_text(json.dumps(record, indent=1) + "\n")
    return 0 if result.enough else 1


if __name__ == "__main__":
    sys.exit(main())
