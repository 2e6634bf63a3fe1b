"""A stand-in for macOS's `sandbox-exec`: keeps what a profile says with what Linux has.

Run as a program, with the arguments of the real one: ``-p PROFILE PROGRAM ARGUMENT...``. It reads
the profile as macOS would, in order, the last rule that fits winning, and turns it into Landlock
rules and filters. It refuses what it does not know, so that a test notices a profile that says
more. It is not macOS: what a real `sandbox-exec` makes of the same text cannot be told from it.
"""

import os
import re
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from node.sandbox.interpreter import carve
from trainer.confinement import landlock
from trainer.confinement.bpf import CLONE_THREAD, outer_filter
from trainer.confinement.kernel import install_filter
from trainer.confinement.sysno import NUMBERS

TOKEN = re.compile(r'\s*(\(|\)|#?"(?:[^"\\]|\\.)*"|[^\s()"]+)')
UNSUPPORTED_HERE = {"sysctl-read", "process-info*", "ipc-posix-sem", "file-map-executable"}
"""Allowed on macOS and without a counterpart here."""

Expression: TypeAlias = "str | list[Expression]"


@dataclass
class Profile:
    """What a profile amounts to.

    Attributes:
        readable: trees and files that may be read.
        hidden: trees within them that may not.
        writable: devices that may be written.
        forks: whether processes may be started.
        network: whether anything of the network is allowed.
    """

    readable: list[Path] = field(default_factory=list)
    hidden: list[Path] = field(default_factory=list)
    writable: list[Path] = field(default_factory=list)
    forks: bool = False
    network: bool = False


def expressions(text: str) -> list[Expression]:
    """Parse a profile into nested lists.

    Raises:
        ValueError: when it is not ASCII, or its brackets do not match.
    """
    if not text.isascii():
        raise ValueError("a profile is ASCII")
    stack: list[list[Expression]] = [[]]
    place = 0
    while text[place:].strip():
        found = TOKEN.match(text, place)
        if found is None:
            raise ValueError(f"cannot read the profile from {text[place : place + 20]!r}")
        place = found.end()
        match found[1]:
            case "(":
                stack.append([])
            case ")":
                done = stack.pop()
                stack[-1].append(done)
            case word:
                stack[-1].append(word)
    if len(stack) != 1:
        raise ValueError("brackets are left open")
    return stack[0]


def paths(filters: Sequence[Expression]) -> Iterator[tuple[str, Path]]:
    """Yield the kind and the path of each file filter."""
    for item in filters:
        assert isinstance(item, list)
        kind, name = item
        if kind in ("literal", "subpath"):
            assert isinstance(name, str)
            yield str(kind), Path(re.sub(r"\\(.)", r"\1", name[1:-1]))


def understood(text: str) -> Profile:
    """Work out what a profile allows.

    Raises:
        ValueError: when it begins with something else than a denial of everything, or holds a rule
            that is not known here.
    """
    version, default, *rules = expressions(text)
    if version != ["version", "1"] or default != ["deny", "default"]:
        raise ValueError("a profile denies by default")
    profile = Profile()
    for rule in rules:
        assert isinstance(rule, list)
        verb, *rest = rule
        operations = [item for item in rest if isinstance(item, str)]
        filters = [item for item in rest if isinstance(item, list)]
        for operation in operations:
            apply(profile, str(verb), operation, filters)
    return profile


def apply(profile: Profile, verb: str, operation: str, filters: Sequence[Expression]) -> None:
    """Take one operation of a rule into account."""
    match verb, operation:
        case "allow", "file-read*":
            # The root directory by itself: Landlock could only allow all of it.
            shown = [path for kind, path in paths(filters) if path != Path("/")]
            profile.readable += shown
            profile.hidden = [h for h in profile.hidden if h not in shown]
        case "deny", "file-read*":
            profile.hidden += [path for _, path in paths(filters)]
        case "allow", "file-write-data":
            profile.writable += [path for _, path in paths(filters)]
        case "allow", "process-fork":
            profile.forks = True
        case "deny", "network*":
            profile.network = False
        case "allow", "file-read-metadata" | "process-exec" | "signal":
            pass  # as Landlock has it anyway
        case "allow", _ if operation in UNSUPPORTED_HERE or operation.startswith("ipc-posix-shm"):
            pass
        case _:
            raise ValueError(f"no rule ({verb} {operation}) is known here")


def no_forks() -> bytes:
    """Return a filter that lets threads start and no process."""
    numbers = NUMBERS[os.uname().machine]
    refuse = (0x06, 0, 0, 0x50000 | 1)
    allow = (0x06, 0, 0, 0x7FFF0000)
    program = [(0x20, 0, 0, 0)]
    for name in ("fork", "vfork"):
        if name in numbers:
            program += [(0x15, 0, 1, numbers[name]), refuse]
    program += [(0x15, 0, 3, numbers["clone"]), (0x20, 0, 0, 16), (0x45, 1, 0, CLONE_THREAD)]
    program += [refuse, allow]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def confine(profile: Profile) -> None:
    """Put this process under a profile, for good."""
    read, list_only = [], []
    for tree in profile.readable:
        if tree.exists():
            below, names = carve(tree.resolve(), profile.hidden)
            read += below
            list_only += names
    # Sorted after the masks: what was handed over lies inside none of them.
    landlock.restrict(
        landlock.Access(
            read=tuple(map(str, read)),
            list_only=tuple(map(str, list_only)),
            write=tuple(map(str, profile.writable)),
        )
    )
    install_filter(outer_filter(own_processes_only=True))
    if not profile.forks:
        install_filter(no_forks())


def main() -> None:
    """Do as `sandbox-exec -p` does."""
    switch, text, *argv = sys.argv[1:]
    if switch != "-p":
        sys.exit(64)
    confine(understood(text))
    os.execv(argv[0], argv)  # noqa: S606  (no shell is the point)


if __name__ == "__main__":
    main()
