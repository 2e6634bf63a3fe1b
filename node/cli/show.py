"""`swarm-node show`: one hypothesis or entry, with its trials and its diff."""

from collections.abc import Sequence
from typing import Any, Final

import click

from node.cli.options import Home, home_option, json_option, print_json
from node.cli.table import (
    STATUS_TONES,
    Cell,
    Column,
    Tone,
    ago,
    gain_text,
    paint,
    print_fields,
    print_table,
    safe,
    value_text,
)

_DIFF_TONES: Final[dict[str, Tone]] = {"+": "good", "-": "bad", "@": "accent"}
_TEXT_COLUMNS: Final = 88


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
        from node.hypothesis_costs import HypothesisCosts
        from node.offline import fold_home

        costs = HypothesisCosts(home.agent_costs)
        value = view.show(fold_home(home), BlobStore(home.blobs), identity, costs)
    if as_json:
        print_json(value)
    else:
        _print(value)


def _print(value: dict[str, Any]) -> None:
    if value["kind"] == "genesis":
        print_fields(
            [
                ("entry", value["id"]),
                ("title", "the genesis"),
                ("value", value_text(value["val_bpb"], 6)),
                ("founder", value["author"]),
                ("script", value["source"]),
            ]
        )
        return
    click.echo(paint(safe(value["title"]), "strong"))
    click.echo()
    print_fields(_fields(value))
    click.echo()
    _print_text(value["rationale"])
    if value["trials"]:
        click.echo()
        _print_trials(value["trials"])
    for place in value["conflicts"]:
        click.echo(paint(f"\ncontradicts the head at {safe(place['where'])}", "warn"))
        for side in ("head", "hypothesis"):
            for line in place[side].split("\n"):
                click.echo(f"  {paint(f'{side:<10}', 'quiet')}  {safe(line)}")
    click.echo()
    if not value["diff"]:
        click.echo(paint("one of the two scripts is not here yet, so there is no diff", "quiet"))
    for line in value["diff"]:
        click.echo(paint(safe(line), _DIFF_TONES.get(line[:1], "plain")))


def _fields(value: dict[str, Any]) -> list[tuple[str, str | Cell | Sequence[Cell]]]:
    from node import clock
    from node.cli.transfer_text import transfer_text
    from node.words import SELF_VERIFIED, verdict_word

    word = verdict_word(value["status"], value["scorer"]).replace("_", " ")
    if value["self_verified"]:
        word = SELF_VERIFIED
    status = [Cell(word, STATUS_TONES.get(value["status"], "plain"))]
    if value["reason"]:
        status.append(Cell(f"  {value['reason']}", "quiet"))
    fields: list[tuple[str, str | Cell | Sequence[Cell]]] = [("status", status)]
    if value["gain"] is not None:
        gain = gain_text(value["gain"], value["gain_low"], value["gain_high"])
        by = "its author" if value["self_verified"] else "others"
        fields.append(
            (
                "gain",
                [
                    Cell(gain, "good" if value["gain"] > 0 else "bad"),
                    Cell(f"  over {value['pairs']} pairs by {by}", "quiet"),
                ],
            )
        )
    elif value["screened_gain"] is not None:
        claim = [Cell(gain_text(value["screened_gain"])), Cell("  its author's own claim", "quiet")]
        fields.append(("gain", claim))
    who = f"{value['proposer']} {value['model']}".strip()
    proposer = f"{who}, {value['category']}"
    fields += [
        ("hypothesis", value["id"]),
        ("entry", value["entry"]),
        ("parent", value["parent"]),
        ("author", [Cell(value["author"]), Cell(f"  {ago(value['created_ms'], clock.now_ms())}",
                                                "quiet")]),
        ("proposer", proposer),
        ("change", value["change"]),
        ("script", value["source"]),
    ]  # fmt: skip
    fields.extend(("transfer", transfer_text(item)) for item in value["transfer"])
    if value["cost"] is not None:
        cost = value["cost"]
        words = f"${cost['usd']:.4f} for {cost['tokens']:,} tokens in {cost['calls']} calls"
        fields.append(("cost", words))
    return fields


def _print_text(text: str) -> None:
    """A reason, wrapped; blank lines between paragraphs stay."""
    import textwrap

    for line in text.splitlines():
        for part in textwrap.wrap(safe(line), _TEXT_COLUMNS) or [""]:
            click.echo(part)


def _print_trials(trials: Sequence[dict[str, Any]]) -> None:
    rows = [
        [
            Cell(trial["purpose"]),
            Cell(str(trial["pair"] + 1)),
            Cell(trial["author"][:16]),
            *(_arm(trial[side]) for side in ("parent", "child")),
            _gain(trial["gain"]),
            Cell(f"{trial['cpu_s']:.1f}", "quiet"),
            Cell(trial["device"], "quiet"),
        ]
        for trial in sorted(trials, key=_trial_order)
    ]
    columns = [
        Column("purpose"),
        Column("pair", right=True),
        Column("run by"),
        Column("parent", right=True),
        Column("child", right=True),
        Column("gain", right=True),
        Column("cpu s", right=True, spare=True),
        Column("device", flexible=True),
    ]
    print_table(columns, rows)


def _trial_order(trial: dict[str, Any]) -> tuple[bool, int, str]:
    """The author's own runs first, then the pairs as they count."""
    return trial["purpose"] != "screen", trial["pair"], trial["author"]


def _arm(arm: dict[str, Any]) -> Cell:
    value = arm["val_bpb"]
    return Cell(arm["status"], "bad") if value is None else Cell(value_text(value, 6))


def _gain(gain: float | None) -> Cell:
    if gain is None:
        return Cell("–", "quiet")
    return Cell(f"{gain:+.6f}", "good" if gain > 0 else "bad")
