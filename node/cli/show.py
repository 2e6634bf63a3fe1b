"""`swarm-node show`: one hypothesis or entry, with its trials and its diff."""

from typing import Any

import click

from node.cli.options import Home, home_option, json_option, print_json


@click.command()
@home_option
@click.argument("identity", metavar="ID")
@json_option
def show(*, home: Home, identity: str, as_json: bool) -> None:
    """Show one hypothesis or lineage entry; the start of its ID is enough."""
    from node.control import ask
    from node.errors import NotRunningError

    try:
        value = ask(home.control, "show", {"id": identity})
    except NotRunningError:
        from node import view
        from node.blobs import BlobStore
        from node.offline import fold_home

        value = view.show(fold_home(home), BlobStore(home.blobs), identity)
    if as_json:
        print_json(value)
    else:
        _print(value)


def _print(value: dict[str, Any]) -> None:
    from node.cli.table import print_fields, safe
    from node.words import verdict_word

    if value["kind"] == "genesis":
        print_fields([(name, str(value[name])) for name in ("id", "title", "val_bpb", "source")])
        return
    names = ("id", "title", "status", "reason", "author", "parent", "entry", "proposer",
             "category", "change", "source")  # fmt: skip
    fields = [
        (name, verdict_word(value[name], value["scorer"]) if name == "status" else str(value[name]))
        for name in names
    ]
    if value["gain"] is not None:
        low, high = value["gain_low"], value["gain_high"]
        interval = "" if low is None or high is None else f" [{low:+.4f}, {high:+.4f}]"
        fields.append(("gain", f"{value['gain']:+.6f}{interval} over {value['pairs']} pairs"))
    print_fields(fields)
    click.echo()
    for line in value["rationale"].splitlines():
        click.echo(safe(line))
    click.echo("\npurpose  pair  verifier          parent      child       gain")
    for trial in value["trials"]:
        arms = [
            arm["status"] if arm["val_bpb"] is None else f"{arm['val_bpb']:.6f}"
            for arm in (trial["parent"], trial["child"])
        ]
        gain = "" if trial["gain"] is None else f"{trial['gain']:+.6f}"
        click.echo(
            f"{trial['purpose']:<7}  {trial['pair'] + 1:>4}  {trial['author'][:16]}"
            f"  {arms[0]:<10}  {arms[1]:<10}  {gain}"
        )
    for place in value["conflicts"]:
        click.secho(f"\ncontradicts the head at {safe(place['where'])}", fg="yellow")
        for side in ("head", "hypothesis"):
            for line in place[side].split("\n"):
                click.echo(f"  {side:<10}  {safe(line)}")
    click.echo()
    for line in value["diff"]:
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
        click.secho(safe(line), fg=colour)
