"""Prints the table of the hostile suite; exit status 1 when something is not as it must be."""

import os
import sys

from tests.hostile.report import MARK_OF_JOB, WORKS, as_markdown, as_text, problems, rows
from tests.hostile.suite import SANDBOXES, open_suite


def main(arguments: list[str]) -> int:
    """Run everything and print it.

    Args:
        arguments: ``--markdown`` prints the table as ``docs/attacks.md`` has it.
    """
    say = sys.stderr if "--markdown" in arguments else sys.stdout
    with open_suite() as suite:
        control = suite.run("control", "control")
        pairs = [(suite.run(name, "job"), suite.run(name, "outer")) for name in SANDBOXES]
    table = rows(control, pairs, root=os.geteuid() == 0)
    if "--markdown" in arguments:
        print("\n".join(as_markdown({row[0]: row[1:] for row in table})))  # noqa: T201
    else:
        print("\n".join(as_text(table, ("attack", "control", *SANDBOXES))))  # noqa: T201
    wrong = problems(table, [control, *(inside for inside, _ in pairs)])
    wrong += [
        f"{o.name}: {', '.join(o.reached)} past the outer wall" for _, o in pairs if o.reached
    ]
    working = sum(row[1] == WORKS for row in table)
    second = sum(MARK_OF_JOB in row[2:] for row in table)
    print(
        f"\n{len(table)} attacks, {working} of them proven to work without a sandbox; "
        f"{second} need the second wall (“{MARK_OF_JOB}”) in at least one sandbox.\n"
        f"seconds: control {control.seconds:.1f}"
        + "".join(f", {i.name} {i.seconds:.1f} + {o.seconds:.1f}" for i, o in pairs),
        file=say,
    )
    for line in wrong:
        print(f"WRONG: {line}", file=say)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
