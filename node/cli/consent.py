"""Asking a person, once, whether strangers' code may run in macOS's weaker sandbox.

This file decides when that is asked and where the answer is kept. It refuses to know how the
sandbox works; without consent the node takes part and runs nobody's code.
"""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

_SETTING: Final = re.compile(r"^\s*sandbox\s*=.*$", re.MULTILINE)
_TABLE: Final = re.compile(r"^\s*\[", re.MULTILINE)


def ask_person(question: str) -> bool | None:
    """Ask at the terminal, on standard error; None where nobody could answer."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    return click.confirm(question, default=False, err=True)


def settle_sandbox(
    chosen: str | None,
    config: Path,
    *,
    accepted: bool,
    platform: str = sys.platform,
    ask: Callable[[str], bool | None] = ask_person,
) -> str | None:
    """Return which sandbox to use, asking once on macOS and keeping a yes in the settings.

    Args:
        chosen: what a flag or the environment says, or None.
        config: the node's settings, which may not exist yet.
        accepted: whether ``--accept-weaker-sandbox`` was given.
        platform: as ``sys.platform`` names it.
        ask: puts a question to the person; None means that there is none.

    Returns:
        A backend's name, or None to leave it to the settings.

    Raises:
        ConfigError: the settings cannot be read, or a yes not be kept.
    """
    from node.config import read_config
    from node.sandbox.selection import WEAKER, WEAKNESS

    if platform != "darwin":
        return chosen or (WEAKER if accepted else None)
    if chosen is not None or "sandbox" in read_config(config):
        return chosen
    question = f"On macOS the sandbox is weaker: {WEAKNESS}. Run strangers' code in it?"
    if not (accepted or ask(question)):
        return None
    keep_choice(config, WEAKER)
    return WEAKER


def keep_choice(config: Path, name: str) -> None:
    """Write ``sandbox = name`` into the settings, and leave everything else in them as it is.

    Raises:
        ConfigError: the file cannot be read or written.
    """
    from node.errors import ConfigError

    line = f'sandbox = "{name}"'
    try:
        config.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = config.read_text(encoding="utf-8") if config.exists() else ""
        first_table = _TABLE.search(text)
        head = text[: first_table.start()] if first_table else text
        if _SETTING.search(head):
            text = _SETTING.sub(line, head, count=1) + text[len(head) :]
        else:
            # Before everything else: a key after a table's header would belong to the table.
            text = f"{line}\n{text}"
        draft = config.with_name(f".{config.name}.{os.getpid()}")
        draft.write_text(text, encoding="utf-8")
        draft.replace(config)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot keep the choice of sandbox in {config}: {error}") from error
