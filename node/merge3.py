"""Three-way merge of training scripts: two changes to one script, put into one text.

Top-level constants are merged by name through the syntax tree, because two neighbouring constants
that were changed apart do not contradict each other, though their lines touch. The rest is merged
line by line by `git merge-file`. What both sides changed in different ways is a conflict and is
never guessed.

This file knows texts. It refuses to know hypotheses, heads and what a merge is good for; whether
the result helps is measured like any other change. The texts are hostile: they are parsed under
the limits of `swarm.source` and never run, and git sees them as files in an empty directory.
"""

import ast
import hashlib
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from node.errors import NodeError
from protocol.syntax import parse_tree
from swarm.source import SourceError, normalise

_GIT_TIMEOUT_S: Final = 20.0
_GIT_ERROR: Final = 128
"""`git merge-file` returns the number of conflicts, or at least this much when it failed."""


class MergeUnavailableError(NodeError):
    """Nothing can be merged here: git is missing or failed."""


@dataclass(frozen=True, slots=True)
class Merged:
    """Both changes in one script."""

    source: str


@dataclass(frozen=True, slots=True)
class Clash:
    """One place that both sides changed in different ways.

    Attributes:
        where: The constant's or definition's name, or `lines`.
        ours: What stands there on the side that is merged into.
        theirs: What stands there on the other side.
    """

    where: str
    ours: str
    theirs: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """The two changes contradict each other."""

    clashes: tuple[Clash, ...]


MergeResult: TypeAlias = Merged | Conflict


class Named(Protocol):
    """A value that has a name and a place in a text."""

    @property
    def start(self) -> int:
        """Where it begins, in bytes."""

    @property
    def end(self) -> int:
        """Where it ends, in bytes."""

    @property
    def text(self) -> str:
        """As it is written."""

    @property
    def meaning(self) -> str:
        """Equal for values that mean the same."""


def git_environment(home: str) -> dict[str, str]:
    """An environment in which git reads nobody's configuration, hooks or directories."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": home,
        "XDG_CONFIG_HOME": home,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }


def merge_scripts(base: str, ours: str, theirs: str) -> MergeResult:
    """Put the changes from `base` to `ours` and from `base` to `theirs` into one script.

    Raises:
        SourceError: One of the scripts breaks the limits of a script.
        MergeUnavailableError: git is missing or failed.
    """
    texts = [unix(text) for text in (base, ours, theirs)]
    for text in texts:
        normalise(text)
    aligned, clashes = align_values(texts, [_constants(text) for text in texts])
    merged, rest = merge_lines(*aligned)
    if rest:
        apart = _merge_apart(*aligned)
        merged, rest = (merged, rest) if apart is None else (apart, [])
    clashes.extend(rest)
    if not clashes:
        clashes.extend(_twice_bound(merged, texts[1], texts[2]))
    return Conflict(tuple(clashes)) if clashes else Merged(merged)


def align_values(
    texts: Sequence[str], values: Sequence[Mapping[str, Named]]
) -> tuple[list[str], list[Clash]]:
    """Give all three texts the merged values of what all three name, before lines are merged.

    Args:
        texts: The base, our side and the other side.
        values: What each of them names, and where.

    Returns:
        The three texts, and the values that both sides set in different ways: ours stand there.
    """
    clashes: list[Clash] = []
    edit: dict[str, str] = {}
    for name in sorted(values[0].keys() & values[1].keys() & values[2].keys()):
        before, mine, other = (found[name] for found in values)
        chosen = mine
        if other.meaning not in {mine.meaning, before.meaning}:
            if before.meaning == mine.meaning:
                chosen = other
            else:
                clashes.append(Clash(name, mine.text, other.text))
        edit[name] = chosen.text
    aligned = [with_values(text, found, edit) for text, found in zip(texts, values, strict=True)]
    return aligned, clashes


def describe_script(parent: str, child: str) -> str:
    """A change in a few words: the constants that it sets, else how many lines it touches.

    Raises:
        SourceError: One of the scripts breaks the limits of a script.
    """
    parent, child = unix(parent), unix(child)
    normalise(parent)
    normalise(child)
    before, after = _constants(parent), _constants(child)
    common = before.keys() & after.keys()
    set_anew = [
        name for name, value in after.items()
        if name in common and before[name].meaning != value.meaning
    ]  # fmt: skip
    edit = {name: after[name].text for name in common}
    only_constants = normalise(with_values(parent, before, edit)) == normalise(child)
    if set_anew and only_constants:
        return ", ".join(f"{name}={' '.join(after[name].text.split())}" for name in set_anew)
    lines = Counter(child.split("\n"))
    lines.subtract(Counter(parent.split("\n")))
    added = sum(count for count in lines.values() if count > 0)
    removed = -sum(count for count in lines.values() if count < 0)
    return f"{added} lines added, {removed} removed"


def unix(text: str) -> str:
    """The text with line feeds only."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


# -- constants by name --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Value:
    """The value of a constant: where it stands, and what it means.

    `start` and `end` are bytes of the whole text; `lines` are those of the statement, from 0, where
    nothing else stands on them.
    """

    start: int
    end: int
    text: str
    meaning: str
    lines: range | None


def _constants(text: str) -> dict[str, _Value]:
    """Top-level `NAME = value` statements whose name is bound once, in the order of the text."""
    tree = _tree(text)
    bound = Counter(_bindings(tree))
    data = text.encode()
    starts = [0]
    for line in data.split(b"\n"):
        starts.append(starts[-1] + len(line) + 1)
    found: dict[str, _Value] = {}
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                pass
            case _:
                continue
        if bound[name] != 1 or value.end_lineno is None or value.end_col_offset is None:
            continue
        start = starts[value.lineno - 1] + value.col_offset
        end = starts[value.end_lineno - 1] + value.end_col_offset
        segment = data[start:end].decode(errors="replace")
        if _meaning_of(segment) == ast.dump(value):
            lines = _own_lines(data.split(b"\n"), statement)
            found[name] = _Value(start, end, segment, ast.dump(value), lines)
    return found


def _own_lines(lines: Sequence[bytes], statement: ast.stmt) -> range | None:
    """The lines of a statement, unless something other than a comment shares them."""
    if statement.end_lineno is None or statement.end_col_offset is None or statement.col_offset:
        return None
    rest = lines[statement.end_lineno - 1][statement.end_col_offset :].strip()
    return range(statement.lineno - 1, statement.end_lineno) if rest[:1] in {b"", b"#"} else None


def _meaning_of(segment: str) -> str | None:
    """What an expression means; None where its text does not stand for itself."""
    try:
        tree = parse_tree(segment, "eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    assert isinstance(tree, ast.Expression)
    return ast.dump(tree.body)


def with_values(text: str, found: Mapping[str, Named], values: Mapping[str, str]) -> str:
    """The text with constants set anew; everything else stays as it is, to the byte."""
    data = text.encode()
    for name, value in sorted(found.items(), key=lambda item: -item[1].start):
        if name in values:
            data = data[: value.start] + values[name].encode() + data[value.end :]
    return data.decode()


def _bindings(tree: ast.Module) -> list[str]:
    """Every name that a top-level statement binds plainly, as often as it does."""
    names: list[str] = []
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=targets):
                names.extend(item.id for item in targets if isinstance(item, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.append(name)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.append(statement.name)
            case _:
                pass
    return names


def _twice_bound(merged: str, ours: str, theirs: str) -> list[Clash]:
    """Names that each side binds once, at different places: the lines merge, the meaning does not.

    A result that is no valid script at all is left to whoever checks it against the limits.
    """
    try:
        normalise(merged)
    except SourceError:
        return [Clash("lines", "(the merged text is not a valid script)", "")]
    merged_counts, mine, other = (
        Counter(_bindings(_tree(text))) for text in (merged, ours, theirs)
    )
    return [
        Clash(name, "bound here", "bound at another place")
        for name in sorted(merged_counts)
        if merged_counts[name] > max(mine[name], other[name])
    ]


def _merge_apart(base: str, ours: str, theirs: str) -> str | None:
    """Merge again without the constants that their side adds, and put those in afterwards.

    Two sides that each add constants at the end of the same block touch the same lines, but mean
    different names. Each new constant goes after the one that it follows on its own side.

    Returns:
        None when that does not help either.
    """
    present = {name for text in (base, ours) for name in _bindings(_tree(text))}
    lines = theirs.split("\n")
    additions: dict[str, list[str]] = {}
    dropped: set[int] = set()
    anchor: str | None = None
    for name, value in _constants(theirs).items():
        if name in present:
            anchor = name
        elif anchor is not None and value.lines is not None:
            additions.setdefault(anchor, []).extend(lines[number] for number in value.lines)
            dropped.update(value.lines)
    if not additions:
        return None
    without = "\n".join(line for number, line in enumerate(lines) if number not in dropped)
    merged, clashes = merge_lines(base, ours, without)
    try:
        normalise(merged)
    except SourceError:
        return None
    found = _constants(merged)
    places = {name: found[name].lines for name in additions if name in found}
    if clashes or len(places) < len(additions):
        return None
    result = merged.split("\n")
    for name, place in sorted(places.items(), key=lambda item: -(item[1] or range(1)).stop):
        if place is None:
            return None
        result[place.stop : place.stop] = additions[name]
    return "\n".join(result)


def _tree(text: str) -> ast.Module:
    tree = parse_tree(text)
    assert isinstance(tree, ast.Module)
    return tree


# -- the rest by lines --------------------------------------------------------------------------


def merge_lines(base: str, ours: str, theirs: str) -> tuple[str, list[Clash]]:
    """Merge by lines with git; the clashes are empty when that went well.

    Raises:
        MergeUnavailableError: git is missing or failed.
    """
    token = hashlib.sha256(f"{ours}\0{base}\0{theirs}".encode()).hexdigest()[:24]
    labels = [f"{side}-{token}" for side in ("ours", "base", "theirs")]
    with tempfile.TemporaryDirectory(prefix="swarm-node-merge-") as directory:
        names = []
        for side, text in zip(("ours", "base", "theirs"), (ours, base, theirs), strict=True):
            (Path(directory) / side).write_bytes(text.encode())
            names.append(side)
        options = [item for label in labels for item in ("-L", label)]
        environment = git_environment(directory) | {"GIT_CEILING_DIRECTORIES": directory}
        try:
            run = subprocess.run(
                ["git", "merge-file", "-p", "--diff3", *options, *names],
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_GIT_TIMEOUT_S,
                check=False,
            )
        except FileNotFoundError as error:
            raise MergeUnavailableError("git is not installed, so nothing is merged") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise MergeUnavailableError(f"git could not merge: {error}") from error
    if run.returncode < 0 or run.returncode >= _GIT_ERROR:
        words = " ".join(run.stderr.decode(errors="replace").split())[:200]
        raise MergeUnavailableError(f"git could not merge: {words}")
    merged = run.stdout.decode()
    return merged, [] if run.returncode == 0 else _read_clashes(merged, token)


def _read_clashes(marked: str, token: str) -> list[Clash]:
    """Both sides of every conflict in git's marked text; the token keeps scripts from faking it."""
    clashes: list[Clash] = []
    side: str | None = None
    sides: dict[str, list[str]] = {}
    for line in marked.split("\n"):
        if line == f"<<<<<<< ours-{token}":
            side, sides = "ours", {"ours": [], "base": [], "theirs": []}
        elif line == f"||||||| base-{token}":
            side = "base"
        elif line == "=======" and side == "base":
            side = "theirs"
        elif line == f">>>>>>> theirs-{token}":
            clashes.append(Clash("lines", "\n".join(sides["ours"]), "\n".join(sides["theirs"])))
            side = None
        elif side is not None:
            sides[side].append(line)
    return clashes or [Clash("lines", "", "")]
