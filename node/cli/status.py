"""`swarm-node status`: what the node does, running or not."""

from typing import Any, Final

import click

from node.cli.options import Home, home_option, json_option, print_json
from node.cli.table import Cell, ago, gain_text, print_fields, value_text

_WORDS: Final = ("verified", "refuted", "parked", "undecided", "screened_out", "crashed", "stale",
                 "duplicate")  # fmt: skip


@click.command()
@home_option
@json_option
def status(*, home: Home, as_json: bool) -> int:
    """Show what the node does. Exit code 3 when it is not running, 5 when it is degraded."""
    from node.control import ask
    from node.errors import NotRunningError

    try:
        value = ask(home.control, "status")
    except NotRunningError:
        from node import view
        from node.offline import fold_home

        value = view.status(fold_home(home), None)
    if as_json:
        print_json(value)
    else:
        _print(value, home)
    if not value["running"]:
        return 3
    return 5 if value["sandbox_problem"] else 0


def _print(value: dict[str, Any], home: Home) -> None:
    from node import clock

    now_ms = clock.now_ms()
    print_fields(
        [
            ("swarm", [Cell(value["swarm_name"], "strong"), Cell(f"  {value['swarm_id']}")]),
            ("task", f"{value['task']}, tier {value['tier']}, scorer {value['scorer']}"),
            ("head", _head(value)),
            ("", _entry(value, now_ms)),
            ("tried", _tried(value)),
            ("members", _members(value)),
            ("records", f"{value['records']}, digest {value['records_digest'][:16]}"),
            *(_node(value) if value["running"] else _stopped(home, now_ms)),
        ]
    )


def _head(value: dict[str, Any]) -> list[Cell]:
    """The head's metric, and what was gained since the genesis."""
    baseline, metric = value["baseline_val_bpb"], value["head"]["val_bpb"]
    named = value["metric"]
    if metric is None:
        return [Cell(f"{named['name']} is not measured yet", "quiet")]
    cells = [
        Cell(f"{value_text(metric)} ", "strong"),
        Cell(f"{named['name']} in {named['unit']}", "quiet"),
    ]
    if baseline and value["head"]["depth"]:
        cells += [
            Cell(f"  {metric / baseline - 1:+.1%}", "good"),
            Cell(f" from {value_text(baseline)}"),
        ]
    return cells


def _entry(value: dict[str, Any], now_ms: int) -> list[Cell]:
    head = value["head"]
    named = f"{head['id'][:16]} at depth {head['depth']}"
    if not head["depth"]:
        return [Cell(f"{named}: the genesis; nothing is merged yet", "quiet")]
    return [
        Cell(f"“{head['title']}”"),
        Cell(f"  {gain_text(head['gain'], head['gain_low'], head['gain_high'])}"),
        Cell(f"  {named}, merged {ago(head['merged_ms'], now_ms)}", "quiet"),
    ]


def _tried(value: dict[str, Any]) -> str:
    """How many hypotheses there are, and what came of them."""
    from node.words import verdict_word

    counts = value["hypotheses"]
    if not counts["proposed"]:
        return "nothing yet"
    parts = [
        f"{counts[word]} {verdict_word(word, value['scorer']).replace('_', ' ')}"
        for word in _WORDS
        if counts.get(word)
    ]
    known = {"proposed", *_WORDS}
    parts += [f"{count} {word}" for word, count in counts.items() if count and word not in known]
    return f"{counts['proposed']} hypotheses: {', '.join(parts)}"


def _members(value: dict[str, Any]) -> list[Cell]:
    cells = [Cell(f"{value['members']}, admission {value['admission']}")]
    if value["members"] < value["members_needed"]:
        needed = value["members_needed"]
        cells.append(
            Cell(f"; until there are {needed}, what it finds is self-verified", "quiet")
            if value["self_verified_allowed"]
            else Cell(f"; a merge takes {needed}, so let others join: swarm-node invite", "warn")
        )
    return cells


def _node(value: dict[str, Any]) -> list[tuple[str, str | Cell | list[Cell]]]:
    """What only a running node knows."""
    from node.sandbox.selection import label

    problem = value["sandbox_problem"]
    peers = value["peers"]
    fields: list[tuple[str, str | Cell | list[Cell]]] = [
        ("node", [Cell("running", "good"), Cell(f"  {value['node_id']}")]),
        ("worker", describe_worker(value["worker"])),
        ("agent", _agent(value["agent"])),
        (
            "sandbox",
            Cell(f"none: {problem}; see swarm-node doctor", "bad")
            if problem
            else label(value["sandbox"]) or Cell("not chosen yet", "quiet"),
        ),
        ("peers", str(len(peers)) if peers else Cell("none connected", "warn")),
    ]
    for peer in peers:
        rtt = "" if peer["rtt_ms"] is None else f"  {peer['rtt_ms']} ms"
        fields.append(("", f"{peer['id'][:16]}  {', '.join(peer['addrs']) or 'no address'}{rtt}"))
    return fields


def describe_worker(worker: dict[str, Any]) -> list[Cell]:
    """What the first worker does, from the `worker` of a status."""
    cells = [Cell(worker["state"], "strong")]
    if worker["title"]:
        cells.append(Cell(f" “{worker['title']}”"))
        if worker["pair"] is not None:
            run = f", pair {worker['pair'] + 1}, {worker['arm']} {worker['progress']:.0%}"
            cells.append(Cell(run, "quiet"))
    if worker["workers"] > 1:
        cells.append(Cell(f"  and {worker['workers'] - 1} more at work", "quiet"))
    return cells


def _agent(agent: dict[str, Any]) -> list[Cell]:
    """Who proposes, what it has cost, and what is wrong with it."""
    if not agent:
        return [Cell("not chosen yet", "quiet")]
    cells = [Cell(f"{agent['mode']} {agent['model']}".strip())]
    if "usd" in agent:
        cells.append(
            Cell(
                f", ${agent['usd_today']:.2f} of ${agent['max_usd_per_day']:.2f} today,"
                f" ${agent['usd']:.2f} of ${agent['max_usd']:.2f} in all,"
                f" {agent['tokens']:,} tokens"
            )
        )
        mean = agent["per_hypothesis"]["usd_per_hypothesis"]
        if mean is not None:
            cells.append(Cell(f", ${mean:.4f} a hypothesis", "quiet"))
    if agent.get("search"):
        cells.append(Cell(f"; {agent['search']}", "quiet"))
    if agent["trouble"]:
        cells.append(Cell(f"; {agent['trouble']}", "warn"))
    return cells


def _stopped(home: Home, now_ms: int) -> list[tuple[str, str | Cell | list[Cell]]]:
    """What can be said of a node that is down: since when, why perhaps, and what to do."""
    from node.log_reader import last_complaint

    fields: list[tuple[str, str | Cell | list[Cell]]] = []
    since = ""
    try:
        since = f", last heard of {ago(int(1000 * home.log.stat().st_mtime), now_ms)}"
    except OSError:
        since = " and never has"
    fields.append(("node", [Cell("not running", "bad"), Cell(since, "quiet")]))
    if complaint := last_complaint(home.log):
        fields.append(("last words", Cell(complaint, "warn")))
    where = "" if _is_default(home) else f" --home {home.root}"
    fields.append(("start it", Cell(f"swarm-node join{where}", "accent")))
    return fields


def _is_default(home: Home) -> bool:
    from node.home import find_home

    return home == find_home(None)
