"""Filling a task's page and e-mail with the values of a variant.

This file decides the little that a template can say: `{{table.key}}` stands for a value, escaped
for HTML in a page, and `{{?table.key}}...{{/table.key}}` keeps what is inside only where the value
is true. It refuses to run anything. The template comes with the task; values may be a stranger's,
so nothing of them is read as a template again.
"""

import html
import re
import tomllib
from collections.abc import Mapping
from typing import Any, Final

from node.errors import UsageError

_NAME: Final = r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)?"
_SECTION: Final = re.compile(rf"\{{\{{\?({_NAME})\}}\}}(.*?)\{{\{{/\1\}}\}}", re.DOTALL)
_VALUE: Final = re.compile(rf"\{{\{{({_NAME})\}}\}}")
_BLANKS: Final = re.compile(r"\n{3,}")
_COMMENT: Final = re.compile(r"<!--.*?-->", re.DOTALL)


def read_values(text: str, extra: Mapping[str, str]) -> dict[str, Any]:
    """The values of a variant by name, `table.key` or `key`.

    Args:
        text: A TOML file.
        extra: Values of the server's own, which go before those of the file.

    Raises:
        UsageError: It is not TOML.
    """
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the values of a variant cannot be read: {error}") from error
    found: dict[str, Any] = {}
    for key, value in table.items():
        inner = value.items() if isinstance(value, dict) else ()
        found |= {f"{key}.{name}": item for name, item in inner}
        found[key] = value
    return found | dict(extra)


def fill_page(template: str, values: Mapping[str, Any]) -> str:
    """A page with every value escaped; a name that is not there becomes nothing."""
    return _fill(template, values, lambda text: html.escape(text, quote=True))


def fill_text(template: str, values: Mapping[str, Any]) -> str:
    """A plain text, such as an e-mail, without the comments of its file."""
    plain = _BLANKS.sub("\n\n", _COMMENT.sub("", template))
    return _fill(plain, values, lambda text: " ".join(text.split()))


def _fill(template: str, values: Mapping[str, Any], written: Any) -> str:
    def section(match: re.Match[str]) -> str:
        return match[2] if values.get(match[1]) is True else ""

    def value(match: re.Match[str]) -> str:
        found = values.get(match[1], "")
        plain = isinstance(found, str | int | float) and not isinstance(found, bool)
        return str(written(str(found))) if plain else ""

    return _VALUE.sub(value, _SECTION.sub(section, template))
