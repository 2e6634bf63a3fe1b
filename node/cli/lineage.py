"""`swarm-node lineage`: the lineage from the genesis to the head; verified, or as a repository."""

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
    except NotRunningError:
        from node import view
        from node.offline import fold_home

        entries = view.lineage(fold_home(home))
    if as_json:
        print_json(entries)
        return
    from rich.console import Console

    from node.demo_display import lineage_table

    Console().print(lineage_table(entries, {}))


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
