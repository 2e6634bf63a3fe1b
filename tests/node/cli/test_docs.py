"""docs/commands.md names every field that `--json` prints, and every command is told somewhere."""

import re
from pathlib import Path
from typing import Any

import pytest

from node import view
from node.blobs import BlobStore
from node.cli.main import _COMMANDS
from node.web.rows import peer_rows
from tests.node.web.scenes import Scene, make_scene

ROOT = Path(__file__).parents[3]
COMMANDS = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    made = make_scene(tmp_path_factory.mktemp("docs") / "blobs", hypotheses=4)
    while made.ledger.head.depth < 1:
        made.try_out(1, gain_micro=150_000)
    made.presence(1)
    return made


def documented(command: str) -> set[str]:
    """The words that stand in a command's item of the list."""
    item = re.search(rf"^- `{command}`:(.*?)(?=^- `|^## )", COMMANDS, re.DOTALL | re.MULTILINE)
    assert item is not None, f"docs/commands.md says nothing of {command} --json"
    return set(re.findall(r"\w+", item.group(1)))


def answers(scene: Scene) -> dict[str, list[Any]]:
    head = scene.ledger.head.id.hex()
    return {
        "status": [view.status(scene.ledger, scene.running()), view.status(scene.ledger, None)],
        "lineage": view.lineage(scene.ledger),
        "show": [view.show(scene.ledger, BlobStore(scene.blobs.path(b"\0" * 32)), head)],
        "peers": peer_rows([], scene.presences.known(), scene.now_s, scene.swarm.clock_ms),
        "top": [{"snapshot": view.snapshot(scene.ledger, scene.running())}],
    }


@pytest.mark.parametrize("command", ["status", "lineage", "show", "peers", "top"])
def test_every_field_is_documented(scene: Scene, command: str) -> None:
    printed = answers(scene)[command]
    assert printed
    missing = {name for value in printed for name in value} - documented(command)
    assert not missing, f"docs/commands.md does not name {sorted(missing)} of {command}"


def test_nested_fields_of_the_status_are_documented(scene: Scene) -> None:
    status = view.status(scene.ledger, scene.running())
    for name in ("head", "hypotheses", "metric", "worker"):
        assert set(status[name]) <= documented("status")


def test_every_command_is_told_in_the_readme_or_the_docs() -> None:
    told = COMMANDS + "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"))
    )
    untold = [name for name in _COMMANDS if not re.search(rf"\b{name}\b", told)]
    assert untold == []
