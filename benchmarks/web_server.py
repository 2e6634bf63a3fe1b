"""The leaderboard of a large swarm as a process of its own, for `benchmarks.web`.

Prints the page's address, then obeys one word a line: `try` brings a hypothesis in and merges it,
`memory` prints the resident memory in MB.
"""

import sys
import tempfile
from functools import partial
from pathlib import Path

import trio

from node.blobs import BlobStore
from node.web.service import Leaderboard, WebConfig
from tests.node.web.scenes import Scene

_START_MICRO = 12_000_000
_AGENTS = 8
_MERGE_SHARE = 0.05


def build(hypotheses: int, peers: int, directory: Path) -> Scene:
    """A swarm with a long past; each script's text is left out, its hash is not."""
    scene = Scene(BlobStore(directory), authors=_AGENTS, seed=1)
    scene.value_micro = _START_MICRO
    scene.live_through(hypotheses, merge_share=_MERGE_SHARE)
    for number in range(1, peers + 1):
        scene.presence(number, state="screening", progress_permille=number % 1000)
    return scene


def memory_mb() -> float:
    """Resident memory of this process."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS in /proc/self/status")


async def serve(scene: Scene) -> None:
    leaderboard = Leaderboard(WebConfig(port=0), scene.board.source)
    scene.board.note = leaderboard.note  # type: ignore[method-assign]
    async with trio.open_nursery() as nursery:
        await nursery.start(leaderboard.run)
        print(leaderboard.url, flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            match line.strip():
                case "try":
                    print(merge_one(scene), flush=True)
                case "memory":
                    print(f"{memory_mb():.1f}", flush=True)
                case other:
                    raise ValueError(other)
        nursery.cancel_scope.cancel()


def merge_one(scene: Scene) -> str:
    """Bring in hypotheses until one is merged; the head's value as the page shows it."""
    before = scene.ledger.head.id
    while scene.ledger.head.id == before:
        scene.try_out(1, gain_micro=40_000)
    metric = scene.ledger.head.metric_micro
    assert metric is not None
    return f"{metric / 1e6:.4f}".replace("-", "−")  # As the page writes it.


def main() -> None:
    hypotheses, peers = int(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory() as directory:
        trio.run(partial(serve, build(hypotheses, peers, Path(directory))))


if __name__ == "__main__":
    main()
