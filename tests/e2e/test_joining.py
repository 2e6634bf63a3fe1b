"""Who comes late, or was away, gets everything from peers by one address."""

import signal
from pathlib import Path

import pytest

from node.home import Home
from tests.e2e.peers import peer_of
from tests.e2e.processes import NodeProcess, cli, running, until
from trainer.task import load_task

pytestmark = pytest.mark.e2e


def agree(one: NodeProcess, other: NodeProcess) -> bool:
    states = [
        (status["records_digest"], status["records"], status["head"]["id"], status["members"])
        for status in (one.status(), other.status())
    ]
    return states[0] == states[1]


def blobs(home: Home) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in home.blobs.glob("??/*") if path.suffix == ""}


def split_digest(task: Path, name: str) -> str:
    return load_task(task).splits[name].sha256


async def test_late_joiner_and_one_who_was_away(
    home: Home, tiny_task: Path, tmp_path: Path
) -> None:
    with running(home) as founder:
        await until(lambda: founder.status()["hypotheses"]["proposed"] >= 3, "history", founder)
        founder.finish()
        await until(lambda: founder.status()["worker"]["state"] == "finished", "rest", founder)
        history = founder.stored()
        with running(
            Home(tmp_path / "late"), "--agent", "none", "--bootstrap", f"@{home.address}"
        ) as late:
            await until(
                lambda: late.status()["members"] == 2 and late.stored().keys() >= history.keys(),
                "the history at the joiner",
                late,
            )
            # It trains the genesis script: task and data have come, and fit their hashes.
            await until(
                lambda: late.status()["worker"]["state"] in {"idle", "verifying"}, "work", late
            )
            # The scripts come too; what no search may see, the test data, does not.
            wanted = blobs(home)
            del wanted[split_digest(tiny_task, "test")]
            await until(lambda: blobs(late.home) == wanted, "the blobs", late)
            await until(lambda: agree(founder, late), "agreement", late)

            durable = late.stored()
            assert late.end(signal.SIGKILL) == -signal.SIGKILL
            async with peer_of(founder.address, 300, tmp_path) as author:
                for number in range(5):
                    source = author.offer(f"# {number}".encode())
                    await author.propose(source, f"while it was away {number}")
                await until(
                    lambda: founder.status()["records"] >= len(durable) + 5, "news", founder
                )
            assert late.stored() == durable
            stopped = cli("status", "--home", str(late.home.root))
            assert stopped.code == 3
            late.start()
            await until(lambda: agree(founder, late), "catching up", late)
            assert late.stored().items() >= durable.items()
            assert late.stored() == founder.stored()
            assert len(late.stored()) >= len(durable) + 5
            assert "Traceback" not in founder.errors + late.errors
