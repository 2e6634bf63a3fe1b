"""docs/tasks.md names every key that the parser takes, and no others in its tables of keys."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from trainer import manifest, scales
from trainer.formats import FORMATS

ROOT = Path(__file__).parents[2]
TAKES = {"text", "texts", "one_or_more", "choice", "integer", "integers", "table"}
TABLES = {"metric", "vocabulary", "data", "tiers", "scales", "live"}
INLINE = {"kind", "amount", "context", "windows", "probes"}


def _taken() -> set[str]:
    """Keys that `trainer/manifest.py` and `trainer/scales.py` take, by their literals."""
    trees = [
        ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
        for module in (manifest, scales)
    ]
    return {
        node.args[0].value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in TAKES
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    }


def test_every_key_is_documented() -> None:
    text = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
    first_cells = re.findall(r"^\| (`[^|]*?) \|", text, re.MULTILINE)
    documented = {word for cell in first_cells for word in re.findall(r"`([a-z0-9_]+)`", cell)}
    documented -= {"trusted", "reported"} | set(FORMATS)
    taken = _taken()
    assert len(taken) > 25
    assert documented == taken - TABLES - (INLINE - {"kind"})
    for key in taken:
        assert re.search(rf"[`\[{{ ,]{key}[`\].,; }}]", text), key
    for form in FORMATS:
        assert f"`{form}`" in text
