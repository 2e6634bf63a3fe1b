"""`swarm-node lineage`: the lineage from the genesis to the head; verified, or as a repository."""

from pathlib import Path

import click

from node.cli.options import Home, home_option, json_option, print_json


@click.group(invoke_without_command=True)
@home_option
@json_option
@click.pass_context
def lineage(context: click.Context, *, home: Home, as_json: bool) -> None:
    """Show the lineage from the genesis to the head."""
    from node.control import ask
    from node.errors import NotRunningError

    if context.invoked_subcommand is not None:
        if as_json or context.get_parameter_source("home") != click.core.ParameterSource.DEFAULT:
            raise click.UsageError(f"put options after lineage {context.invoked_subcommand}")
        return
    try:
        entries = ask(home.control, "lineage")
        fallen = ask(home.control, "status")["rolled_back"]
    except NotRunningError:
        from node import view
        from node.offline import fold_home

        ledger = fold_home(home)
        entries, fallen = view.lineage(ledger), view.rolled_back(ledger)
    if as_json:
        print_json(entries)
        return
    from rich.console import Console

    from node.cli.table import safe
    from node.demo_display import lineage_table

    Console().print(lineage_table(entries, {}))
    for item in fallen:
        click.echo(safe(f"rolled back: “{item['title']}” is {item['status']}: {item['reason']}"))


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
