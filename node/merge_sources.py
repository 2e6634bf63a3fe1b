"""Three-way merge of what a task lets agents edit: one script, or several files in one text.

This file decides that files are merged one by one, each in the way of its kind: Python as
`node.merge3` does, TOML by the names of its values first and by lines then, any other text by
lines. It refuses to know hypotheses and heads.
"""

from collections.abc import Sequence
from typing import Final

from node.merge3 import (
    Clash,
    Conflict,
    Merged,
    MergeResult,
    align_values,
    describe_script,
    merge_lines,
    merge_scripts,
    unix,
)
from node.toml_text import places
from protocol.sources import holds_files, join_files, split_files
from swarm.source import SourceError, check_growth, normalise

_CLASH: Final = "files"


def merge_sources(base: str, ours: str, theirs: str) -> MergeResult:
    """Put the changes from `base` to `ours` and from `base` to `theirs` into one source.

    Raises:
        SourceError: One of the sources breaks the limits of a source.
        MergeUnavailableError: git is missing or failed.
    """
    texts = [unix(text) for text in (base, ours, theirs)]
    if not any(holds_files(text) for text in texts):
        return merge_scripts(*texts)
    names = {normalise(text).files for text in texts}
    if len(names) != 1:
        return Conflict((Clash(_CLASH, "other files", "other files"),))
    merged: dict[str, str] = {}
    clashes: list[Clash] = []
    files = [split_files(text) for text in texts]
    for name in files[0]:
        result = _merge_file(name, [held[name] for held in files])
        match result:
            case Merged(source=source):
                merged[name] = source
            case Conflict(clashes=found):
                clashes += [Clash(f"{name}: {c.where}", c.ours, c.theirs) for c in found]
    if clashes:
        return Conflict(tuple(clashes))
    source = join_files(merged)
    try:
        normalise(source)
    except SourceError:
        return Conflict((Clash(_CLASH, "(the merged files are not valid)", ""),))
    return Merged(source)


def describe_change(parent: str, child: str) -> str:
    """A change in a few words: the values that it sets, else how many lines it touches.

    Raises:
        SourceError: One of the sources breaks the limits of a source, or they hold other files.
    """
    parent, child = unix(parent), unix(child)
    if not holds_files(parent) and not holds_files(child):
        return describe_script(parent, child)
    check_growth(normalise(child), normalise(parent))
    before, after = split_files(parent), split_files(child)
    changed = [name for name in before if before[name] != after[name]]
    return "; ".join(
        f"{name}: {_describe_file(name, before[name], after[name])}" for name in changed
    )


def _merge_file(name: str, texts: Sequence[str]) -> MergeResult:
    if name.endswith(".py"):
        return merge_scripts(*texts)
    clashes: list[Clash] = []
    if name.endswith(".toml"):
        texts, clashes = align_values(texts, [places(text) for text in texts])
    merged, rest = merge_lines(*texts)
    clashes = clashes + rest
    return Conflict(tuple(clashes)) if clashes else Merged(merged)


def _describe_file(name: str, before: str, after: str) -> str:
    if name.endswith(".toml"):
        old, new = places(before), places(after)
        if old.keys() == new.keys():
            anew = [key for key in old if old[key].meaning != new[key].meaning]
            aligned, _ = align_values([before, before, after], [old, old, new])
            if anew and aligned[0] == after:
                return ", ".join(f"{key}={new[key].text}" for key in anew)
    lines, others = before.split("\n"), after.split("\n")
    added = sum(line not in lines for line in others)
    removed = sum(line not in others for line in lines)
    return f"{added} lines added, {removed} removed"
