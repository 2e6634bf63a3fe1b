"""`swarm-node status`: what the node does, running or not."""

from typing import Any

import click

from node.cli.options import Home, home_option, json_option, print_json


@click.command()
@home_option
@json_option
def status(*, home: Home, as_json: bool) -> int:
    """Show what the node does. Exit code 3 when it is not running, 5 when it is degraded."""
    from node.control import ask
    from node.errors import NotRunningError

    running = True
    try:
        value = ask(home.control, "status")
    except NotRunningError:
        from node import view
        from node.offline import fold_home

        running = False
        value = view.status(fold_home(home), None)
    if as_json:
        print_json(value)
    else:
        _print(value, running=running)
    if not running:
        return 3
    return 5 if value["sandbox_problem"] else 0


def _agent(agent: dict[str, Any]) -> str:
    """Who proposes, what it has cost, and what is wrong with it."""
    if not agent:
        return "unknown while stopped"
    shown = f"{agent['mode']} {agent['model']}".strip()
    if "usd" in agent:
        shown += (
            f", ${agent['usd_today']:.2f} of ${agent['max_usd_per_day']:.2f} today,"
            f" ${agent['usd']:.2f} of ${agent['max_usd']:.2f} in all, {agent['tokens']:,} tokens"
        )
    return f"{shown}; {agent['trouble']}" if agent["trouble"] else shown


def _print(value: dict[str, Any], *, running: bool) -> None:
    from node.cli.table import print_fields
    from node.words import verdict_word

    counts = value["hypotheses"]
    worker = value["worker"]
    doing = worker["state"]
    if worker["title"]:
        doing += f" “{worker['title']}”"
        if worker["pair"] is not None:
            doing += f", pair {worker['pair'] + 1} {worker['arm']} {worker['progress']:.0%}"
    baseline, metric = value["baseline_val_bpb"], value["head"]["val_bpb"]
    gain = "" if not baseline or not metric else f" ({metric / baseline - 1:+.1%} from the genesis)"
    tried = ", ".join(
        f"{count} {verdict_word(word, value['scorer']).replace('_', ' ')}"
        for word, count in counts.items()
        if count
    )
    needed = value["members_needed"]
    few = f" of the {needed} that a merge takes" if value["members"] < needed else ""
    print_fields(
        [
            ("node", value["node_id"] or "not running"),
            ("swarm", f"{value['swarm_name']} {value['swarm_id']}"),
            ("task", f"{value['task']}, tier {value['tier']}, scorer {value['scorer']}"),
            ("members", f"{value['members']}{few}, admission {value['admission']}"),
            ("head", f"{value['head']['id'][:16]} at depth {value['head']['depth']}"),
            (
                value["metric"]["name"],
                "not measured yet" if metric is None else f"{metric:.6f}{gain}",
            ),
            ("hypotheses", tried or "none yet"),
            ("records", f"{value['records']}, digest {value['records_digest'][:16]}"),
            ("worker", doing if running else "stopped"),
            ("agent", _agent(value["agent"])),
            ("sandbox", value["sandbox"] or value["sandbox_problem"] or "unknown while stopped"),
            ("peers", str(len(value["peers"]))),
        ]
    )
    for peer in value["peers"]:
        rtt = "" if peer["rtt_ms"] is None else f", {peer['rtt_ms']} ms"
        click.echo(f"  {peer['id'][:16]}  {', '.join(peer['addrs']) or 'no address'}{rtt}")
