"""`swarm-node pause`, `resume` and `finish`: what a running node does next."""

import click

from node.cli.options import Home, home_option, json_option, print_json


@click.command()
@home_option
@json_option
def pause(*, home: Home, as_json: bool) -> None:
    """Let the running node end what it runs and begin nothing new, until `resume`."""
    answer = _ask(home, "pause", {})
    if as_json:
        print_json(answer)
    else:
        click.echo("pausing: what runs now may end; swarm-node resume goes on")


@click.command()
@home_option
@json_option
def resume(*, home: Home, as_json: bool) -> None:
    """Let a paused node go on."""
    answer = _ask(home, "resume", {})
    if as_json:
        print_json(answer)
    else:
        click.echo(f"still resting: {answer['resting']}" if answer["resting"] else "going on")


@click.command()
@home_option
@json_option
def finish(*, home: Home, as_json: bool) -> None:
    """End the running node after what it runs now."""
    answer = _ask(home, "finish", {"leave": True})
    if as_json:
        print_json(answer)
    else:
        click.echo("finishing: the node ends after what it runs now")


def _ask(home: Home, method: str, params: dict[str, bool]) -> dict[str, str]:
    from node.control import ask

    answer: dict[str, str] = ask(home.control, method, params)
    return answer
