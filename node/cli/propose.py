"""`swarm-node propose`: a person's own change, put in through the running node."""

from pathlib import Path

import click

from node.cli.options import Home, home_option, json_option, print_json

_FILE_BYTES_MAX = 1 << 20


@click.command()
@home_option
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)  # fmt: skip
@click.option("--title", default="", help="One line.  [default: what the change sets]")
@click.option("--rationale", default="", help="Why it should help.")
@json_option
def propose(
    *, home: Home, files: tuple[Path, ...], title: str, rationale: str, as_json: bool
) -> None:
    """Have the running node test FILE, a changed copy of the head's script.

    `swarm-node lineage export` writes that script as train.py; where a task has several files to
    edit, it writes them by name; give those that you changed. The node checks the change at once
    and screens it before its agent's own ideas; what comes of it is published like any other
    hypothesis, with a person as its proposer.
    """
    from node.cli.table import safe
    from node.control import ask

    source = _read_source(files)
    params = {"source": source, "title": title, "rationale": rationale}
    answer = ask(home.control, "propose", params)
    if as_json:
        print_json(answer)
        return
    click.echo(f"“{safe(answer['title'])}” waits for the next free worker; it changes the head")
    click.echo(f"{answer['parent'][:16]} by {safe(answer['change'])}")


def _read_source(files: tuple[Path, ...]) -> str:
    """The text of one script, or of several files in one.

    Raises:
        UsageError: One of them cannot be read.
    """
    from node.errors import UsageError
    from protocol.sources import SourcesError, join_files

    texts: dict[str, str] = {}
    for file in files:
        try:
            with file.open("rb") as stream:
                texts[file.name] = stream.read(_FILE_BYTES_MAX).decode()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read {file} as UTF-8 text: {error}") from error
    if len(files) == 1 and files[0].suffix == ".py":
        return texts[files[0].name]
    if len(texts) != len(files):
        raise UsageError("two of the files have the same name")
    try:
        return join_files({name: text.replace("\r\n", "\n") for name, text in texts.items()})
    except SourcesError as error:
        raise UsageError(str(error)) from error
