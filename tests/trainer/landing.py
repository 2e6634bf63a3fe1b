"""The landing page's judge as a module of this process, and the files that it judges."""

from __future__ import annotations

import importlib.util
import json
import re
import tomllib
from typing import TYPE_CHECKING, Any

from protocol.sources import split_files
from trainer.task import built_in_directory, built_in_task

if TYPE_CHECKING:
    from types import ModuleType

DIRECTORY = built_in_directory("landing-page")
TASK = built_in_task("landing-page")
SOURCE = TASK.genesis_script("smoke")


def load_judge() -> ModuleType:
    spec = importlib.util.spec_from_file_location("landing_page_judge", DIRECTORY / "judge.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


JUDGE = load_judge()


def population(visitors: int) -> dict[str, Any]:
    found = json.loads((DIRECTORY / "visitors.json").read_text())
    assert isinstance(found, dict)
    return found | {"visitors": visitors}


def rate(source: str, seed: int, visitors: int = 20_000) -> float:
    """What the judge says of a source."""
    files = split_files(source)
    email = re.sub(r"<!--.*?-->", "", files["email.md"], flags=re.DOTALL).strip()
    values = tomllib.loads(files["variants.toml"])
    return float(JUDGE.response_rate(values, email, population(visitors), seed))


def changed(old: str, new: str) -> str:
    """The genesis files with one text replaced."""
    assert SOURCE.count(old) == 1, old
    return SOURCE.replace(old, new)
