"""What the columns of the hostile suite add up to: verdicts, the table, and the list in the docs.

This file decides what counts as a proven attack and as a stopped one. It runs nothing.
"""

from collections.abc import Mapping, Sequence

from tests.hostile.suite import Column, Result
from tests.hostile.world import ATTACKS, Attack

NOT_IN_KERNEL = (
    "Function not implemented",
    "Address family not supported by protocol",
    "No such device",
)
"""What a kernel answers that was built without a feature: then there is nothing to attack."""
MARK_OF_JOB = "stopped by the job"
NOT_ALLOWED = ("Operation not permitted", "Permission denied")
"""What an ordinary user hears, or root in a container: the attack would take more rights."""
STOPPED, WORKS = "stopped", "works"
ABSENT, NEEDS_RIGHTS = "not in this kernel", "needs more rights"
EFFECTS_OF_CONTROL = (
    "files",
    "memory",
    "program",
    "signal",
    "size",
    "survivor",
    "tcp",
    "unix path",
)
"""What must be seen from outside when nothing stops the attacks: it proves the looking."""


def control_word(attack: Attack, result: Result, *, root: bool) -> str:
    """Say in a word or two what the control showed."""
    if result.got:
        return WORKS if not result.got.startswith("unforeseen") else result.got
    if any(answer in result.how for answer in NOT_IN_KERNEL):
        return ABSENT
    if (attack.needs_root and not root) or any(answer in result.how for answer in NOT_ALLOWED):
        return NEEDS_RIGHTS
    return f"DOES NOT WORK ({result.how})"


def sandbox_word(inside: Result, outer: Result | None) -> str:
    """Say whether a sandbox stopped an attack, and which of its two walls it took.

    Args:
        inside: the attack as a job makes it, behind both walls.
        outer: the same behind the outer wall alone, if that was tried.
    """
    if inside.got or inside.how == "was not tried":
        return f"BROKEN ({inside.got or inside.how})"
    return STOPPED if outer is None or not outer.got else MARK_OF_JOB


def rows(
    control: Column, sandboxes: Sequence[tuple[Column, Column | None]], *, root: bool
) -> list[list[str]]:
    """Return the table: attack, control, and a cell for each sandbox."""
    table = []
    for name, attack in sorted(ATTACKS.items(), key=lambda item: (item[1].group, item[0])):
        cells = [name, control_word(attack, control.results[name], root=root)]
        for inside, outer in sandboxes:
            alone = None if outer is None else outer.results[name]
            cells.append(sandbox_word(inside.results[name], alone))
        table.append(cells)
    return table


def problems(table: Sequence[Sequence[str]], columns: Sequence[Column]) -> list[str]:
    """Return every reason why the suite has failed; an empty list is what one wants."""
    fine = {WORKS, ABSENT, NEEDS_RIGHTS}
    found = [f"{row[0]}: the control {row[1]}" for row in table if row[1] not in fine]
    found += [f"{row[0]}: {cell}" for row in table for cell in row[2:] if cell.startswith("BROKEN")]
    control, *confined = columns
    found += [
        f"the control left no trace of its success: {effect}"
        for effect in EFFECTS_OF_CONTROL
        if effect not in control.reached
    ]
    found += [f"{c.name}: reached the node: {', '.join(c.reached)}" for c in confined if c.reached]
    return found


def as_text(table: Sequence[Sequence[str]], headings: Sequence[str]) -> list[str]:
    """Align a table for a terminal."""
    every = [list(headings), *map(list, table)]
    widths = [max(len(row[column]) for row in every) for column in range(len(headings))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in every
    ]


def as_markdown(words: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the list of attacks as ``docs/attacks.md`` shows it.

    Args:
        words: by the attack's name, the cells after its description.
    """
    lines = [
        "| Group | Attack | What it does | Control | bubblewrap | Landlock | Landlock ABI 3 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, attack in sorted(ATTACKS.items(), key=lambda item: (item[1].group, item[0])):
        lines.append(f"| {attack.group} | `{name}` | {attack.text} | {' | '.join(words[name])} |")
    return lines
