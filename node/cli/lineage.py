"""`swarm-node lineage`: the lineage as a tree; verified, or as a repository."""

from pathlib import Path
from typing import Any

import click

from node.cli.options import Home, home_option, json_option, print_json


@click.group(invoke_without_command=True)
@home_option
@json_option
@click.pass_context
def lineage(context: click.Context, *, home: Home, as_json: bool) -> None:
    """Show the lineage as a tree, the genesis first and the head last, with every gain.

    With --json: the entries on the path from the genesis to the head.
    """
    from node.control import ask
    from node.errors import NotRunningError

    if context.invoked_subcommand is not None:
        if as_json or context.get_parameter_source("home") != click.core.ParameterSource.DEFAULT:
            raise click.UsageError(f"put options after lineage {context.invoked_subcommand}")
        return
    try:
        entries = ask(home.control, "lineage" if as_json else "tree")
        value = {} if as_json else ask(home.control, "status")
    except NotRunningError:
        from node import view
        from node.offline import fold_home

        ledger = fold_home(home)
        entries = view.lineage(ledger) if as_json else view.tree(ledger)
        value = {} if as_json else view.status(ledger, None)
    if as_json:
        print_json(entries)
        return
    _print(entries, value)


def _print(entries: list[dict[str, Any]], value: dict[str, Any]) -> None:
    from node import clock
    from node.cli.lineage_tree import tree_columns, tree_rows
    from node.cli.table import paint, print_table, safe
    from node.cli.transfer_text import transfer_text

    metric = value["metric"]
    print_table(tree_columns(metric["name"]), tree_rows(entries, clock.now_ms()))
    head, baseline = value["head"]["val_bpb"], value["baseline_val_bpb"]
    if value["head"]["depth"] and head is not None and baseline:
        total = f"{head / baseline - 1:+.1%} since the genesis, in {metric['unit']};"
        merges = value["merges"]
        counted = f"{merges} merge{'' if merges == 1 else 's'} on the path to the head"
        click.echo(f"\n{safe(total)} {counted}")
    for entry in entries:
        for item in entry["transfer"]:
            click.echo(paint(safe(f"{entry['id'][:8]} {transfer_text(item)}"), "quiet"))
    aside = sum(not entry["on_path"] for entry in entries)
    if aside:
        click.echo(paint(f"○ {aside} beside the path: fork choice prefers the trunk", "quiet"))
    for item in value["rolled_back"]:
        told = f"rolled back: “{item['title']}” is {item['status']}: {item['reason']}"
        click.echo(paint(safe(told), "warn"))


@lineage.command()
@home_option
@json_option
def verify(*, home: Home, as_json: bool) -> int:
    """Compute everything again from the stored bytes; exit 1 if anything is wrong."""
    from node.audit import audit_home
    from node.cli.table import safe

    findings = audit_home(home)
    faults = sum(not finding.ok for finding in findings)
    if as_json:
        print_json(
            {
                "ok": faults == 0,
                "findings": [{"ok": item.ok, "text": item.text} for item in findings],
            }
        )
    else:
        for finding in findings:
            mark = click.style("ok   ", "green") if finding.ok else click.style("FAULT", "red")
            click.echo(f"{mark}  {safe(finding.text)}")
        click.echo("the lineage is sound" if faults == 0 else f"{faults} faults")
    return 1 if faults else 0


@lineage.command()
@home_option
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def export(*, home: Home, directory: Path) -> None:
    """Write the lineage into DIRECTORY as a git repository, or add what is new to it."""
    from node.blobs import BlobStore
    from node.git_export import export_lineage
    from node.identity import load_identity
    from node.offline import fold_home

    ledger = fold_home(home)
    done = export_lineage(
        ledger, directory, key=load_identity(home.key), read_blob=BlobStore(home.blobs).read
    )
    click.echo(f"{done.new} new commits of {done.total}; main is {done.head[:12]}")
    if not done.checked_out:
        click.echo("the working tree was left alone: it has changes, or shows another commit")
