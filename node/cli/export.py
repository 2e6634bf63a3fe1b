"""`swarm-node export`: the leaderboard as files."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from node.cli.options import Home, home_option

if TYPE_CHECKING:
    from node.web.routes import Site


@click.command()
@home_option
@click.option(
    "--html", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Write a copy of the page, which opens from disk, and its data.",
)  # fmt: skip
@click.option(
    "--png", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Write the progress chart.",
)  # fmt: skip
@click.option("--tsv", is_flag=True, help="Print autoresearch's results.tsv.")
@click.option("--json", "as_json", is_flag=True, help="Print everything that the page shows.")
def export(*, home: Home, html: Path | None, png: Path | None, tsv: bool, as_json: bool) -> None:
    """Write the leaderboard of a home as a page, picture, table or JSON.

    The home's node may be running or not.
    """
    from node.errors import NodeError, UsageError

    if tsv and as_json:
        raise UsageError("--tsv and --json both print on stdout; choose one")
    if not (html or png or tsv or as_json):
        raise UsageError("say what to write: --html DIR, --png FILE, --tsv or --json")
    site = _site(home)
    if html is not None:
        from node.web.export import write_copy

        for path in write_copy(html, site):
            click.echo(f"wrote {path}", err=True)
    if png is not None:
        from node.web.picture import progress_png

        try:
            png.write_bytes(progress_png(site.board))
        except OSError as error:
            raise NodeError(f"cannot write {png}: {error.strerror}") from error
        click.echo(f"wrote {png}", err=True)
    if tsv:
        from node.web.text_formats import results_tsv

        sys.stdout.write(results_tsv(site.board.ordered()))
    if as_json:
        from node.cli.options import print_json
        from node.web.export import everything

        print_json(everything(site))


def _site(home: Home) -> "Site":
    """A site about a home's stored records, whatever runs there."""
    from node import clock
    from node.blobs import BlobStore
    from node.offline import fold_home
    from node.web.board import Board, BoardSource
    from node.web.events import EventLog
    from node.web.routes import Site

    ledger = fold_home(home)
    source = BoardSource(
        ledger=lambda: ledger,
        running=lambda: None,
        heard=dict,
        blobs=BlobStore(home.blobs),
        now_ms=clock.now_ms,
        now_s=lambda: 0.0,
    )
    site = Site(Board(source), EventLog("copy"), ready=True)
    site.board.renew_now()
    return site
