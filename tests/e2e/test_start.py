"""A node that cannot start says why in one line; one that can is not kept from it."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from gossip.core.addresses import parse_address
from node.home import Home
from tests.e2e.processes import NodeProcess, cli, running, until

pytestmark = pytest.mark.e2e

NOBODY = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWGRUfyMFHzDoG8NXtFzeDKyDWdPXP4CtVo5YQPAqYTTzP"


def test_a_bootstrap_address_where_nobody_listens(tmp_path: Path) -> None:
    answer = cli("join", "--home", str(tmp_path / "home"), "--bootstrap", NOBODY)
    answer.refuses(4, "cannot join", f"{NOBODY} (Connection refused)")


def test_a_bootstrap_address_where_somebody_else_listens(
    tmp_path: Path, founder: NodeProcess
) -> None:
    port = parse_address(founder.address).port
    address = NOBODY.replace("/tcp/1/", f"/tcp/{port}/")
    answer = cli("join", "--home", str(tmp_path / "home"), "--bootstrap", address)
    answer.refuses(4, "cannot join", address)
    assert founder.alive


@pytest.mark.parametrize(
    "address",
    ["nonsense", "/ip4/127.0.0.1/tcp/4001", "/ip4/300.1.1.1/tcp/1/p2p/x", "/ip4/127.0.0.1/udp/1"],
)
def test_a_malformed_bootstrap_address(tmp_path: Path, address: str) -> None:
    answer = cli("join", "--home", str(tmp_path / "home"), "--bootstrap", address)
    answer.refuses(2, address)


def test_a_bootstrap_file_that_does_not_exist(tmp_path: Path) -> None:
    answer = cli("join", "--home", str(tmp_path / "home"), "--bootstrap", f"@{tmp_path}/none")
    answer.refuses(2, f"{tmp_path}/none")


def test_nothing_to_join(tmp_path: Path) -> None:
    cli("join", "--home", str(tmp_path / "home")).refuses(2, "--bootstrap", "swarm-node init")


async def test_a_node_of_another_swarm_is_named_and_kept_apart(
    home: Home, founder: NodeProcess
) -> None:
    before = founder.status()
    with running(home, "--agent", "none", "--bootstrap", founder.address) as node:
        theirs, ours = before["swarm_id"][:12], node.status()["swarm_id"][:12]
        told = f"belongs to swarm {theirs}, not to {ours}"
        await until(lambda: told in node.errors, "the warning", node)
        assert founder.address in node.errors
        status = node.status()
        assert (status["swarm_id"][:12], status["records"], status["peers"]) == (ours, 1, [])
        after = founder.status()
        assert (after["swarm_id"], after["records"]) == (before["swarm_id"], before["records"])
        assert node.end() == 0
        assert "Traceback" not in node.errors


def test_a_port_that_another_node_uses(home: Home, founder: NodeProcess) -> None:
    address = founder.address.partition("/p2p/")[0]
    answer = cli("join", "--home", str(home.root), "--listen", address)
    answer.refuses(1, str(parse_address(address).port), "in use", "--listen")
    assert founder.status()["records"] >= 1


def test_a_second_node_on_the_same_home(founder: NodeProcess) -> None:
    answer = cli("join", "--home", str(founder.home.root))
    answer.refuses(1, "already running", str(founder.home.root))
    # The refused one has taken nothing away from the one that runs.
    assert founder.home.address.exists()
    assert cli("status", "--home", str(founder.home.root)).code == 0


def test_a_key_that_others_can_read(home: Home) -> None:
    home.key.chmod(0o644)
    cli("join", "--home", str(home.root)).refuses(1, "can be read by other users", "chmod 600")
    doctor = cli("doctor", "--home", str(home.root))
    assert doctor.code == 5
    assert "chmod 600" in doctor.out


def test_a_key_that_cannot_be_read(home: Home) -> None:
    home.key.unlink()
    # Not even root can read a directory as a file.
    home.key.mkdir(mode=0o700)
    cli("join", "--home", str(home.root)).refuses(1, "cannot read the identity key", str(home.key))


def test_a_key_that_is_none(home: Home) -> None:
    home.key.write_bytes(os.urandom(100))
    cli("join", "--home", str(home.root)).refuses(1, str(home.key), "backup")


def _not_a_database(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)


def _torn_page(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:8192] = b"\xa5" * 4096
    path.write_bytes(data)


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _changed_genesis(path: Path) -> None:
    with sqlite3.connect(path) as database:
        (envelope,) = database.execute("SELECT envelope FROM record").fetchone()
        flipped = envelope[:-1] + bytes([envelope[-1] ^ 1])
        database.execute("UPDATE record SET envelope = ?", (flipped,))
    database.close()


@pytest.mark.parametrize("damage", [_not_a_database, _torn_page, _truncated, _changed_genesis])
def test_a_damaged_database(home: Home, damage: Callable[[Path], None]) -> None:
    damage(home.database)
    before = home.database.read_bytes()
    for command in ("join", "status", "lineage"):
        cli(command, "--home", str(home.root)).refuses(1, "damaged", "move")
    doctor = cli("doctor", "--home", str(home.root))
    assert doctor.code == 5
    assert "damaged" in doctor.out
    assert "Traceback" not in doctor.err
    # What may still be saved from it is not touched.
    assert home.database.read_bytes() == before
