"""Landlock rule sets: which files a process may open, decided by path, without namespaces.

This file decides how the kernel's Landlock interface is spoken at each of its versions. It
refuses to know which paths matter; callers list them. What Landlock does not cover (metadata
changes, signals before version 6, sockets other than TCP) is the system call filter's part.
"""

import os
import stat
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trainer.confinement.errors import ConfinementError
from trainer.confinement.kernel import PR_SET_NO_NEW_PRIVS, process_control, system_call

EXECUTE: Final = 1 << 0
WRITE_FILE: Final = 1 << 1
READ_FILE: Final = 1 << 2
READ_DIR: Final = 1 << 3
TRUNCATE: Final = 1 << 14
IOCTL_DEV: Final = 1 << 15
READ_TREE: Final = EXECUTE | READ_FILE | READ_DIR
# Rights that mean something on a file that is not a directory; the kernel refuses the others.
FILE_RIGHTS: Final = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV

CREATE_RULESET_VERSION: Final = 1
RULE_PATH_BENEATH: Final = 1
NET_BIND_AND_CONNECT_TCP: Final = 0b11
SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS: Final = 0b11
MINIMUM_VERSION: Final = 3
"""The first version that controls truncation; below it a read-only file can still be emptied."""
SIGNAL_SCOPE_VERSION: Final = 6


@dataclass(frozen=True)
class Access:
    """What a process keeps.

    Attributes:
        read: files and directory trees to read and execute from.
        list_only: directories whose names may be listed, without reading a file below them.
        write: existing files (devices) to write.
    """

    read: tuple[str, ...] = ()
    list_only: tuple[str, ...] = ()
    write: tuple[str, ...] = ()


def version() -> int:
    """Return the kernel's Landlock version, 0 when it has none or it is switched off."""
    try:
        return system_call("landlock_create_ruleset", 0, 0, CREATE_RULESET_VERSION)
    except (OSError, ConfinementError):
        return 0


def _all_file_rights(abi: int) -> int:
    """Return every file-system right of a version: 13 in the first, 14 to 16 later."""
    count = {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)
    return (1 << count) - 1


def restrict(access: Access, *, writes_only: bool = False) -> int:
    """Put this process, for good, under a rule set.

    Args:
        access: what it keeps.
        writes_only: leave reading alone and control only what changes something.

    Returns:
        The Landlock version used.

    Raises:
        ConfinementError: when the kernel's version is below ``MINIMUM_VERSION``.
        OSError: when the kernel refused a step.
    """
    abi = version()
    if abi < MINIMUM_VERSION:
        raise ConfinementError(f"Landlock version {abi} is below {MINIMUM_VERSION}")
    handled = _all_file_rights(abi)
    if writes_only:
        handled &= ~READ_TREE
    attributes = struct.pack(
        "=QQQ", handled, NET_BIND_AND_CONNECT_TCP, SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS
    )
    # Each version appended a field; an older kernel refuses bytes that it does not know.
    size = 8 if abi < 4 else 16 if abi < SIGNAL_SCOPE_VERSION else 24
    ruleset = system_call("landlock_create_ruleset", attributes[:size], size, 0)
    try:
        _allow(ruleset, access.read, READ_TREE & handled)
        _allow(ruleset, access.list_only, READ_DIR & handled)
        _allow(ruleset, access.write, (READ_FILE | WRITE_FILE | IOCTL_DEV) & handled)
        process_control(PR_SET_NO_NEW_PRIVS, 1)
        system_call("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)
    return abi


def _allow(ruleset: int, paths: Iterable[str], rights: int) -> None:
    if sys.platform != "linux" or not rights:
        return
    for path in paths:
        try:
            descriptor = os.open(Path(path), os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # a system without this file needs no rule for it
        try:
            is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
            granted = rights if is_directory else rights & FILE_RIGHTS
            if granted:
                rule = struct.pack("=Qi", granted, descriptor)
                system_call("landlock_add_rule", ruleset, RULE_PATH_BENEATH, rule, 0)
        finally:
            os.close(descriptor)
