"""`swarm-node doctor`: check everything and say what to do."""

from dataclasses import asdict

import click

from node.cli.options import Home, home_option, json_option, print_json


@click.command()
@home_option
@json_option
def doctor(*, home: Home, as_json: bool) -> int:
    """Check platform, sandbox, identity, records and blobs. Exit code 5 when one is not fine."""
    from node.cli.table import safe
    from node.doctor import check_all

    worst = 0
    findings = []
    marks = {"ok": ("ok", "green"), "warning": ("warn", "yellow"), "problem": ("FAIL", "red")}
    for finding in check_all(home):
        findings.append(finding)
        worst |= finding.grade == "problem"
        if as_json:
            continue
        mark, colour = marks[finding.grade]
        click.secho(f"{mark:<5}", fg=colour, nl=False)
        click.echo(f"{finding.subject:<20}  {safe(finding.text)}")
        if finding.remedy:
            click.echo(f"{'':<27}→ {finding.remedy}")
    if as_json:
        print_json([asdict(finding) for finding in findings])
    return 5 if worst else 0
