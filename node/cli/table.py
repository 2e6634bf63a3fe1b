"""Plain aligned output. Text from peers loses whatever could steer a terminal."""

from collections.abc import Sequence

import click

from protocol.schema import printable

_LINE_BYTES_MAX = 4096


def safe(text: str) -> str:
    """One line that is safe to show."""
    return printable(text, _LINE_BYTES_MAX)


def print_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Print names and values, aligned."""
    width = max(len(name) for name, _ in fields)
    for name, value in fields:
        click.echo(f"{name:<{width}}  {safe(value)}")
