"""Commands that look: beside a node that is down, beside one that answers, coloured or not."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from node import view
from node.activity import Work
from node.errors import NodeError, NotRunningError
from node.home import Home
from node.web.rows import peer_rows
from tests.node.cli.helpers import answering, place, run
from tests.node.web.scenes import Scene, make_scene, write_home
from tests.swarm.helpers import key

ESCAPE = "\x1b["
HOSTILE = "\x1b[2Jcleared \u202eback\n"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    made = make_scene(tmp_path_factory.mktemp("looking") / "blobs", hypotheses=30, seed=5)
    while made.ledger.head.depth < 3:
        made.try_out(1, gain_micro=150_000)
    made.branch(made.ledger.lineage()[1].id, author=2)
    return made


@pytest.fixture(scope="module")
def stopped(scene: Scene) -> Home:
    """A home with a past on which no node runs."""
    return write_home(scene, scene.blobs.path(b"\0" * 32).parents[2])


@pytest.fixture
def running(scene: Scene, tmp_path: Path) -> Iterator[Home]:
    """A home on which something answers as a node at work would."""
    home = place(tmp_path / "home")
    home.address.write_text("/ip4/127.0.0.1/tcp/4001/p2p/Qm\n")
    work = Work("verifying", scene.ledger.head.hypothesis, HOSTILE, 2, "child", 0.4)
    scene.activity.workers[:] = [work, Work("idle")]
    scene.activity.news(1_000, "merged: something")
    # As a run that failed is told: the reason may be a script's own words.
    scene.activity.news(2_000, f"screened “x”: crashed: {HOSTILE}")
    scene.presence(1, state="screening", progress_permille=250)
    scene.presence(2, device=HOSTILE, depth=1, head=b"\7" * 32)
    now = scene.running()
    heard = scene.presences.known()
    snapshot = view.snapshot(scene.ledger, now)
    snapshot["status"]["sandbox_problem"] = ""
    answers = {
        "status": snapshot["status"],
        "snapshot": snapshot,
        "lineage": view.lineage(scene.ledger),
        "tree": view.tree(scene.ledger),
        "peers": peer_rows([], heard, scene.now_s, scene.swarm.clock_ms),
    }
    with answering(home, answers):
        yield home


def shown(home: Home, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    done = run(*arguments, "--home", str(home.root), env=env)
    assert done.exception is None, done.exception
    return done.stdout


def test_status_of_a_node_that_is_down_says_what_to_do(scene: Scene, stopped: Home) -> None:
    stopped.log.write_text("2026-11-24 12:00:00,000 ERROR   node.x: the disk is full\n")
    done = run("status", "--home", str(stopped.root))
    assert done.return_value == 3
    out = done.output
    assert re.search(r"node +not running, last heard of \d+ s ago\n", out)
    assert "last words  2026-11-24 12:00:00 the disk is full\n" in out
    assert f"start it    swarm-node join --home {stopped.root}\n" in out
    assert scene.ledger.head.id.hex()[:16] in out
    assert re.search(r"tried +\d+ hypotheses: \d+ verified, ", out)
    values = {
        line.index(line[12:].strip()[0], 12) for line in out.splitlines() if line[12:].strip()
    }
    assert values == {12}, "every value begins at the same place"
    told = json.loads(run("status", "--home", str(stopped.root), "--json").stdout)
    assert (told["running"], told["head"]["title"]) == (False, scene.ledger.head.title)
    stopped.log.unlink()
    assert "and never has" in run("status", "--home", str(stopped.root)).output


def test_status_of_a_node_at_work(scene: Scene, running: Home) -> None:
    done = run("status", "--home", str(running.root))
    assert done.return_value == 0
    assert "verifying “ [2Jcleared  back ”, pair 3, child 40%  and 1 more at work" in done.output
    assert "none connected" in done.output
    assert f"“{scene.ledger.head.title}”" in done.output


def test_the_lineage_is_a_tree_with_intervals(scene: Scene, stopped: Home, running: Home) -> None:
    for home in (stopped, running):
        out = shown(home, "lineage")
        depth = scene.ledger.head.depth
        assert out.count("● ") == depth
        assert out.count("◉ ") == 1
        assert re.search(r"\n├─○ +[0-9a-f]{8} .* The road not taken\n", out)
        assert len(re.findall(r"\+\d\.\d{4} \[\+\d\.\d{4}, \+\d\.\d{4}\]", out)) == depth + 1
        assert f"{depth} merges on the path to the head" in out
        assert "○ 1 beside the path" in out
        entries = json.loads(shown(home, "lineage", "--json"))
        assert [entry["id"] for entry in entries] == [
            entry.id.hex() for entry in scene.ledger.lineage()
        ]


def test_show_puts_reason_trials_and_diff_in_order(scene: Scene, stopped: Home) -> None:
    head = scene.ledger.head
    out = shown(stopped, "show", head.id.hex()[:10])
    assert out.startswith(f"{head.title}\n\nstatus      merged  ")
    assert re.search(r"gain +\+0\.\d{4} \[\+0\.\d{4}, \+0\.\d{4}\]  over \d+ pairs by others", out)
    assert "orthogonalised momentum" in out
    purposes = re.findall(r"^(screen|verify) +(\d+) ", out, re.MULTILINE)
    assert purposes == sorted(purposes, key=lambda item: (item[0] != "screen", int(item[1])))
    assert len(purposes) > 4
    assert "\n+WIDTH = " in out or "\n+LEARNING_RATE" in out
    told = json.loads(shown(stopped, "show", head.id.hex()[:10], "--json"))
    assert told["entry"] == head.id.hex()


def test_peers_say_who_is_in_step(running: Home) -> None:
    out = shown(running, "peers")
    first = key(1).public.hex()[:16]
    second = key(2).public.hex()[:16]
    assert re.search(rf"{first}  screening  +25%  in step ", out)
    assert re.search(rf"{second}  idle  +\d behind ", out)
    assert "2 of 2 here" in out
    assert len(json.loads(shown(running, "peers", "--json"))) == 2


def test_top_draws_once_where_there_is_no_terminal(scene: Scene, running: Home) -> None:
    out = shown(running, "top", env={"COLUMNS": "110", "LINES": "40"})
    assert "test  bytes-gpt, smoke   6 members, 0 connected" in out
    assert re.search(r"this node +verifying +\S+ +40%", out)
    assert re.search(rf"{key(1).public.hex()[:8]} +screening +\S+ +25%", out)
    assert "merged: something" in out
    assert f"“{scene.ledger.head.title}”" in out
    assert all(len(line) <= 110 for line in out.splitlines())
    small = shown(running, "top", env={"COLUMNS": "60", "LINES": "12"})
    assert all(len(line) <= 60 for line in small.splitlines())
    assert set(json.loads(shown(running, "top", "--json"))) == {"snapshot", "peers", "at_ms"}


def test_invite_prints_a_command_that_can_be_run(running: Home) -> None:
    done = run("invite", "--home", str(running.root))
    assert done.stdout == "swarm-node join --bootstrap=/ip4/127.0.0.1/tcp/4001/p2p/Qm\n"
    assert "this machine alone" in done.stderr
    running.address.write_text("/ip4/192.0.2.7/tcp/4001/p2p/Qm\n/dns4/a b/tcp/1\n")
    done = run("invite", "--home", str(running.root))
    assert done.stdout.endswith("/p2p/Qm '--bootstrap=/dns4/a b/tcp/1'\n") is False
    assert "warning" not in done.stderr
    told = json.loads(shown(running, "invite", "--json"))
    assert told["beyond_this_machine"] is True


@pytest.mark.parametrize("command", ["peers", "top", "invite"])
def test_what_only_a_running_node_knows_is_refused_beside_one_that_is_down(
    stopped: Home, command: str
) -> None:
    done = run(command, "--home", str(stopped.root))
    assert isinstance(done.exception, NotRunningError)
    assert "swarm-node status" in str(done.exception)


@pytest.mark.parametrize("arguments", [("status",), ("lineage",), ("peers",), ("top", "--once")])
def test_colour_is_for_terminals_and_no_text_steers_one(
    running: Home, arguments: tuple[str, ...]
) -> None:
    assert ESCAPE not in run(*arguments, "--home", str(running.root)).stdout
    on_terminal = run(*arguments, "--home", str(running.root), colour=True).stdout
    assert "\u202e" not in on_terminal
    assert "\x1b[2J" not in on_terminal
    if arguments != ("top", "--once"):
        assert "\x1b[32m" in on_terminal
        plain = run(
            *arguments, "--home", str(running.root), colour=True, env={"NO_COLOR": "1"}
        ).stdout
        assert ESCAPE not in plain


def test_what_needs_no_running_node_heeds_no_color_too(scene: Scene, stopped: Home) -> None:
    stopped.log.write_text("2026-11-24 12:00:00,000 ERROR   node.x: the disk is full\n")
    for command in (("show", scene.ledger.head.id.hex()), ("logs",), ("status",), ("lineage",)):
        at = (*command, "--home", str(stopped.root))
        assert ESCAPE in run(*at, colour=True).stdout
        assert ESCAPE not in run(*at, colour=True, env={"NO_COLOR": "1"}).stdout
        assert ESCAPE not in run(*at).stdout
    stopped.log.unlink()


def test_config_says_where_every_setting_is_from(tmp_path: Path) -> None:
    home = place(tmp_path)
    home.config.write_text('workers = 3\nweb = true\nbootstrap = ["/ip4/192.0.2.1/tcp/1"]\n')
    done = run(
        "config",
        "--home",
        str(tmp_path),
        "--json",
        env={"SWARM_WORKERS": "5", "SWARM_WROKERS": "7"},
    )
    told = json.loads(done.stdout)
    by_name = {item["name"]: (item["value"], item["source"]) for item in told["settings"]}
    assert by_name["workers"] == (5, "SWARM_WORKERS")
    assert by_name["web"] == (True, "config.toml")
    assert by_name["bootstrap"] == (["/ip4/192.0.2.1/tcp/1"], "config.toml")
    assert by_name["web_port"] == (8420, "default")
    assert told["unknown_variables"] == ["SWARM_WROKERS"]
    text = run("config", "--home", str(tmp_path), env={"SWARM_WROKERS": "7"})
    assert re.search(r"workers +3 +config\.toml\n", text.stdout)
    assert "SWARM_WROKERS is set, and no setting has that name" in text.stderr
    home.config.write_text("workers = 0\n")
    assert isinstance(run("config", "--home", str(tmp_path)).exception, NodeError)


def test_logs_shows_filters_and_counts(tmp_path: Path) -> None:
    home = place(tmp_path)
    at = ("logs", "--home", str(tmp_path))
    missing = run(*at)
    assert isinstance(missing.exception, NodeError)
    assert "no node has run" in str(missing.exception)
    lines = [f"2026-11-24 12:00:00,000 INFO    node.x: number {number}" for number in range(80)]
    lines[79] = "2026-11-24 12:00:00,000 WARNING node.x: careful \x1b[31m"
    home.log.write_text("\n".join(lines) + "\n")
    assert len(run(*at).stdout.splitlines()) == 50
    assert run(*at, "-n", "0").stdout == ""
    assert run(*at, "--level", "warning").stdout == (
        "2026-11-24 12:00:00 warning  node.x careful  [31m\n"
    )
    coloured = run(*at, "-n", "1", colour=True).stdout
    assert "\x1b[33mcareful  [31m\x1b[0m" in coloured
    told = [json.loads(line) for line in run(*at, "-n", "2", "--json").stdout.splitlines()]
    assert [item["level"] for item in told] == ["info", "warning"]


def test_logs_follows_until_it_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = place(tmp_path)
    waits = iter(range(4))

    def wait(_seconds: float) -> None:
        number = next(waits)
        if number == 3:
            raise KeyboardInterrupt
        with home.log.open("a") as file:
            file.write(f"2026-11-24 12:00:00,000 INFO    node.x: number {number}\n")

    monkeypatch.setattr("node.cli.logs.time.sleep", wait)
    done = run("logs", "-f", "--home", str(tmp_path))
    assert re.findall(r"number (\d)", done.stdout) == ["0", "1", "2"]


def test_what_runs_printed_is_listed_and_shown(tmp_path: Path) -> None:
    home = place(tmp_path)
    at = ("logs", "--home", str(tmp_path))
    assert run(*at, "--runs").stdout == "no run has printed anything yet\n"
    home.trial_logs.mkdir()
    (home.trial_logs / "0123456789abcdef-verify-0-child.log").write_text("step 1\n\x1b[2Jstep 2\n")
    (home.trial_logs / "fedc-screen-0-child.log").write_text("x\n")
    listed = run(*at, "--runs").stdout
    assert "0123456789abcdef-verify-0-child" in listed
    assert run(*at, "--run", "0123").stdout == "step 1\n [2Jstep 2\n"
    assert [item["bytes"] for item in json.loads(run(*at, "--runs", "--json").stdout)]
    assert isinstance(run(*at, "--run", "77").exception, NodeError)
    assert run(*at, "--run", "0123", "--runs").exception is not None


def test_the_node_answers_what_the_commands_ask(scene: Scene) -> None:
    tree = json.loads(json.dumps(view.tree(scene.ledger)))
    assert sum(entry["on_path"] for entry in tree) == scene.ledger.head.depth + 1
    assert len(tree) == scene.ledger.head.depth + 2
