"""Copies of the leaderboard: complete, inert, and from disk alone."""

import base64
import hashlib
import json
import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from node.cli.export import export
from node.errors import UsageError
from node.home import Home
from node.web.export import bundle, everything, page, write_copy
from node.web.picture import HEIGHT, WIDTH, _value_range, progress_png
from tests.node.web.scenes import Scene, make_scene, write_home
from tests.swarm.helpers import key

BREAKOUT = "</script><script>alert(1)</script><!--"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    made = make_scene(tmp_path_factory.mktemp("blobs"), hypotheses=40, seed=5)
    while made.ledger.head.depth < 3:
        made.try_out(1, gain_micro=150_000)
    made.propose(key(2), title=BREAKOUT, rationale=BREAKOUT)
    made.settle()
    return made


def test_a_copy_holds_everything_that_the_page_shows(scene: Scene, tmp_path: Path) -> None:
    html, table, data = write_copy(tmp_path / "copy", scene.site)
    copy = json.loads(data.read_text())
    assert len(copy["points"]["rows"]) == len(copy["details"]) == len(scene.board.facts)
    assert len(copy["lineage"]["entries"]) == scene.ledger.head.depth + 1
    head = next(item for item in copy["details"] if item["entry"] == scene.ledger.head.id.hex())
    assert any(line.startswith("+") for line in head["diff"])
    assert table.read_text().startswith("commit\tval_bpb\t")
    snapshot = re.search(
        r'<script type="application/json" id="snapshot">(.*?)</script>', html.read_text(), re.DOTALL
    )
    assert snapshot is not None
    assert json.loads(snapshot.group(1)) == copy


def test_a_copy_runs_only_its_own_script_and_loads_nothing(scene: Scene) -> None:
    html = page(everything(scene.site))
    script = re.search(r'<script type="module">(.*?)</script>', html, re.DOTALL)
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert script is not None
    assert style is not None
    for part in (script.group(1), style.group(1)):
        digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in html
    assert html.count("<script") == html.count("</script>") == 2
    assert BREAKOUT not in html
    assert not re.search(r'(?:src|href)="(?!data:|#|results\.tsv|api/|metrics)', html)
    assert 'url("vendor' not in html


def test_the_bundle_leaves_no_import_or_export_behind() -> None:
    script = bundle("main.js")
    assert not re.search(
        r"^\s*(import|export)\b", re.sub(r"/\*.*?\*/", "", script, flags=re.DOTALL), re.MULTILINE
    )
    assert script.index("const module_dom_js") < script.index("const module_main_js")
    assert script.count("const module_dom_js = ") == 1


def test_details_are_bounded_and_merged_ones_come_first(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.web.export.DETAIL_BYTES_MAX", 20_000)
    details = everything(scene.site)["details"]
    assert 0 < len(details) < len(scene.board.facts)
    assert details[0]["status"] == "merged"
    assert len(json.dumps(details)) < 22_000


def test_the_picture_shows_the_lineage(scene: Scene) -> None:
    image = Image.open(BytesIO(progress_png(scene.board)))
    assert image.size == (WIDTH, HEIGHT)
    reds, _, blues = image.convert("RGB").split()
    blue = sum(blue - red > 90 for red, blue in zip(reds.tobytes(), blues.tobytes(), strict=True))
    assert blue > 2_000, "the step line and its dots"


@pytest.mark.parametrize("smaller", [True, False])
def test_a_claim_beyond_the_line_stands_where_it_is(smaller: bool) -> None:
    sign = 1 if smaller else -1
    path = [{"val_bpb": 3.6}, {"val_bpb": 3.6 - sign * 0.7}]
    claim = 3.6 - sign * 0.85
    rows: list[dict[str, Any]] = [{"val_bpb": claim}, {"val_bpb": None}]
    low, high = _value_range(rows, path, smaller_is_better=smaller)
    assert low < min(claim, 3.6) < max(claim, 3.6) < high
    wild = [{"val_bpb": 3.6 - sign * 50.0}]
    low, high = _value_range(wild, path, smaller_is_better=smaller)
    assert high - low < 2, "nobody's claim squeezes everything else into a line"


def test_an_empty_swarm_has_a_picture_too(tmp_path: Path) -> None:
    empty = make_scene(tmp_path / "blobs", hypotheses=0)
    empty.settle()
    assert Image.open(BytesIO(progress_png(empty.board))).size == (WIDTH, HEIGHT)


@pytest.fixture
def home(scene: Scene, tmp_path: Path) -> Home:
    """A home that holds the scene's records, with nobody running."""
    return write_home(scene, tmp_path / "home")


def test_the_command_writes_what_is_asked_for(scene: Scene, home: Home, tmp_path: Path) -> None:
    runner = CliRunner()
    arguments = ["--home", str(home.root), "--html", str(tmp_path / "h"), "--tsv"]
    result = runner.invoke(export, [*arguments, "--png", str(tmp_path / "p.png")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "h" / "index.html").is_file()
    with Image.open(tmp_path / "p.png") as image:
        assert image.size == (WIDTH, HEIGHT)
    assert "commit\tval_bpb\tmemory_gb\tstatus\tdescription\n" in result.stdout
    told = json.loads(runner.invoke(export, ["--home", str(home.root), "--json"]).stdout)
    assert told["state"]["head"]["id"] == scene.ledger.head.id.hex()


@pytest.mark.parametrize("flags", [[], ["--tsv", "--json"]])
def test_the_command_says_what_is_missing(home: Home, flags: list[str]) -> None:
    result = CliRunner().invoke(export, ["--home", str(home.root), *flags])
    assert isinstance(result.exception, UsageError)


def test_help_imports_neither_pictures_nor_the_network() -> None:
    script = (
        "import sys\nfrom node.cli.main import cli\n"
        "for name in ('export', 'leaderboard', 'join'):\n"
        "    cli.main([name, '--help'], standalone_mode=False)\n"
        "slow = {'PIL', 'libp2p', 'torch', 'trio', 'h11', 'numpy'} & set(sys.modules)\n"
        "sys.exit(', '.join(slow) or 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--web-port" in done.stdout
