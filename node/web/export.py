"""A copy of the leaderboard as files: one page that opens from disk, and its data beside it.

A page opened from disk may not load modules or data, so everything stands in the page itself:
scripts as one, fonts and styles inside, data as inert JSON. Its content policy names its own parts
by their hashes, so that it still runs nothing else.
"""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any, Final

from node.errors import NodeError
from node.web.routes import Site, static_files
from node.web.text_formats import results_tsv

DETAIL_BYTES_MAX: Final = 64 << 20
"""Diffs and trials that a copy holds at most; the merged hypotheses' come first."""

_IMPORT: Final = re.compile(r'^import (?:\{ ([^}]+) \}|(\w+)) from "\./([^"]+)";$', re.MULTILINE)
_EXPORT: Final = re.compile(r"^export (?:async )?(?:function|class|const) (\w+)", re.MULTILINE)
_EXPORT_WORD: Final = re.compile(r"^export (?=(?:async )?(?:function|class|const) )", re.MULTILINE)
_DEFAULT_EXPORT: Final = re.compile(r"^export \{ (\w+) as default \};$", re.MULTILINE)
_FONT: Final = re.compile(r'url\("(vendor/[\w.-]+\.woff2)"\)')
_START: Final = "main.js"


def write_copy(directory: Path, site: Site) -> list[Path]:
    """Write `index.html`, `results.tsv` and `leaderboard.json`.

    Args:
        directory: Where to; made when it is not there.
        site: What to copy; its board has been filled.

    Raises:
        NodeError: A file cannot be written.
    """
    data = everything(site)
    written = {
        "index.html": page(data),
        "results.tsv": results_tsv(site.board.ordered()),
        "leaderboard.json": json.dumps(data, separators=(",", ":")),
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in written.items():
            (directory / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise NodeError(f"cannot write to {directory}: {error.strerror}") from error
    return [directory / name for name in written]


def everything(site: Site) -> dict[str, Any]:
    """All that the page shows: state, points, lineage, and details as far as they fit."""
    details: list[dict[str, Any]] = []
    room = DETAIL_BYTES_MAX
    rows = site.board.ordered()
    for row in sorted(rows, key=lambda row: row["status"] != "merged"):
        detail = site.board.detail(row["id"])
        compare = site.board.diff(row["id"])
        assert detail is not None
        assert compare is not None
        detail["diff"] = compare()["lines"]
        room -= len(json.dumps(detail))
        if room < 0:
            break
        details.append(detail)
    return {
        "state": site.state(),
        "points": site.points(),
        "lineage": site.lineage(),
        "details": details,
    }


def page(data: dict[str, Any]) -> str:
    """The whole page as one document."""
    files = static_files()
    script = bundle(_START)
    style = _FONT.sub(
        _inline_font, files["vendor/uPlot.css"].decode() + files["style.css"].decode()
    )
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}';"
        " img-src data:; font-src data:; base-uri 'none'; form-action 'none';"
        " require-trusted-types-for 'script'; trusted-types 'none'"
    )
    icon = base64.b64encode(files["icon.svg"]).decode()
    snapshot = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    html = files["index.html"].decode()
    head_end = html.index("</head>")
    kept = [
        line for line in html[:head_end].split("\n") if not line.startswith(("<link ", "<script "))
    ]
    return (
        "\n".join(kept)
        + f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        + f'<link rel="icon" href="data:image/svg+xml;base64,{icon}">\n'
        + f"<style>{style}</style>\n"
        + html[head_end:].replace(
            "</body>",
            f'<script type="application/json" id="snapshot">{snapshot}</script>\n'
            f'<script type="module">{script}</script>\n</body>',
        )
    )


def bundle(start: str) -> str:
    """Join a module and all that it imports into one script: each becomes a function's scope.

    Only the forms that our own modules are written in are understood.
    """
    ordered: list[str] = []

    def visit(name: str) -> None:
        for imported in _IMPORT.finditer(static_files()[name].decode()):
            if imported.group(3) not in ordered:
                visit(imported.group(3))
        ordered.append(name)

    visit(start)
    parts = [_as_scope(name, static_files()[name].decode()) for name in ordered]
    script = "\n".join(parts)
    assert "</script" not in script.lower()
    return script


def _as_scope(name: str, source: str) -> str:
    def use(found: re.Match[str]) -> str:
        names, default, path = found.groups()
        if default:
            return f"const {default} = {_variable(path)}.default;"
        return f"const {{ {names} }} = {_variable(path)};"

    # A module with a default export is somebody else's, of which we use nothing but that.
    default = _DEFAULT_EXPORT.search(source)
    exported = _EXPORT.findall(source) if default is None else [f"default: {default.group(1)}"]
    body = _DEFAULT_EXPORT.sub("", _EXPORT_WORD.sub("", _IMPORT.sub(use, source)))
    return (
        f"const {_variable(name)} = (() => {{\n{body}\nreturn {{ {', '.join(exported)} }};\n}})();"
    )


def _variable(name: str) -> str:
    return "module_" + re.sub(r"\W", "_", name)


def _inline_font(found: re.Match[str]) -> str:
    data = base64.b64encode(static_files()[found.group(1)]).decode()
    return f'url("data:font/woff2;base64,{data}")'


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
