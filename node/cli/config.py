"""`swarm-node config`: every setting as a node started now would have it, and where it is from."""

import os
from typing import Any, Final

import click

from node.cli.options import Home, home_option, json_option, print_json
from node.cli.table import Cell, Column, Tone, paint, print_table

_TONES: Final[dict[str, Tone]] = {"default": "quiet", "config.toml": "accent"}
_NOT_SETTINGS: Final = frozenset({"SWARM_HOME"})


@click.command()
@home_option
@json_option
def config(*, home: Home, as_json: bool) -> None:
    """Show the settings that `join` would use now, and where each comes from.

    A flag of `join` outdoes the environment, that outdoes config.toml, and that the default.
    """
    settings, unknown = _settings(home)
    if as_json:
        print_json({"path": str(home.config), "settings": settings, "unknown_variables": unknown})
        return
    rows = [
        [
            Cell(item["name"], "strong" if item["source"] != "default" else "plain"),
            Cell(_text(item["value"]), "plain" if item["source"] != "default" else "quiet"),
            Cell(item["source"], _TONES.get(item["source"], "warn")),
        ]
        for item in settings
    ]
    print_table([Column("setting"), Column("value", flexible=True), Column("from")], rows)
    there = "" if home.config.exists() else " (not there yet)"
    click.echo(paint(f"\nconfig.toml is {home.config}{there}", "quiet"))
    for name in unknown:
        click.echo(f"warning: {name} is set, and no setting has that name", err=True)


def _settings(home: Home) -> tuple[list[dict[str, Any]], list[str]]:
    """Every setting with value and source, and environment variables that nothing reads."""
    from dataclasses import fields, replace

    from node.capacity import workers_of
    from node.cli.join import join
    from node.config import Config, make_config, read_config

    in_file = read_config(home.config)
    context = join.make_context("join", [], ignore_unknown_options=False)
    environment = click.core.ParameterSource.ENVIRONMENT
    names = {item.name for item in fields(Config)}
    variables = {
        str(option.name): str(option.envvar)
        for option in join.params
        if isinstance(option, click.Option) and option.envvar is not None and option.name in names
    }
    given = {
        name: context.params[name]
        for name in variables
        if context.get_parameter_source(name) is environment
    }
    effective = make_config(home.config, given)
    effective = replace(effective, workers=workers_of(effective))
    settings = []
    for item in fields(Config):
        if item.name in given:
            source = variables[item.name]
        elif item.name in in_file:
            source = "config.toml"
        else:
            source = "default"
        settings.append(
            {"name": item.name, "value": getattr(effective, item.name), "source": source}
        )
    known = {*variables.values(), *_NOT_SETTINGS}
    unknown = sorted(name for name in os.environ if name.startswith("SWARM_") and name not in known)
    return settings, unknown


def _text(value: Any) -> str:
    match value:
        case None | "" | ():
            return "–"
        case bool():
            return "true" if value else "false"
        case tuple():
            return ", ".join(map(str, value))
        case _:
            return str(value)
