"""Copies of the worker's own code, in a directory of their own, for sandboxes to see.

Our installed packages are masked inside a sandbox because validation and test bytes ship with
them, so the few modules that run there are copied out by name. The copy is named by its content:
nodes that share a home share it, and an upgraded node makes a new one. This file decides how a copy
is made and trusted. It refuses to know which modules; the caller lists them.
"""

import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from node.sandbox.model import SandboxError

DIGEST_LENGTH: Final = 32
PRIVATE_HOME_FALLBACK: Final = Path("/var/lib/swarm-node/stage")
"""Where root stages when its home cannot be entered by the user that a sandbox runs as."""


def stage(files: Mapping[str, Path], home: Path) -> Path:
    """Copy files into a content-addressed directory below ``home``.

    Args:
        files: source file by relative path inside the copy, such as ``trainer/job.py``.
        home: a directory of the node's, created if missing.

    Returns:
        The directory to list in ``SandboxSpec.read_only`` and to put on the program's path.

    Raises:
        SandboxError: when a name leaves the copy, a source cannot be read, or an existing copy is
            not as it should be.
    """
    contents = {_checked(name): _read(source) for name, source in sorted(files.items())}
    digest = hashlib.sha256(b"swarm-node stage v1\0")
    for name, content in contents.items():
        for part in (name.encode(), content):
            digest.update(len(part).to_bytes(8, "big") + part)
    target = home / digest.hexdigest()[:DIGEST_LENGTH]
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o755)
        if not target.exists():
            _publish(contents, target)
        _verify(contents, target)
    except OSError as error:
        raise SandboxError(f"cannot stage the worker's code in {home}: {error}") from error
    return target


def staging_home(preferred: Path) -> Path:
    """Return where to stage so that the sandbox's user can read it.

    Only the Landlock backend run by root depends on it: there the program opens staged files as an
    ordinary user, by their real path.

    Args:
        preferred: the node's own choice, used when everybody may enter it.
    """
    if os.geteuid() != 0 or enterable_by_all(preferred):
        return preferred
    return PRIVATE_HOME_FALLBACK


def enterable_by_all(path: Path) -> bool:
    """Whether every user may pass each existing directory on the way to ``path``."""
    absolute = path.absolute()
    existing = [p for p in (absolute, *absolute.parents) if p.is_dir()]
    return all(p.stat().st_mode & stat.S_IXOTH for p in existing)


def _checked(name: str) -> str:
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts:
        raise SandboxError(f"{name!r} is not a path inside the copy")
    return Path(name).as_posix()


def _read(source: Path) -> bytes:
    try:
        return source.read_bytes()
    except OSError as error:
        raise SandboxError(f"cannot read {source}: {error}") from error


def _publish(contents: Mapping[str, bytes], target: Path) -> None:
    """Write beside the target and rename, so that no one ever sees half a copy."""
    draft = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    draft.mkdir()
    try:
        for name, content in contents.items():
            path = draft / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o444)
        for directory in (draft, *(p for p in draft.rglob("*") if p.is_dir())):
            directory.chmod(0o755)
        try:
            draft.rename(target)
        except OSError:
            # Another process was first, or the rename failed; the caller's check tells which.
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _verify(contents: Mapping[str, bytes], target: Path) -> None:
    """Refuse a copy that does not hold exactly the expected bytes, or that others could change."""
    found = {p.relative_to(target).as_posix(): p for p in target.rglob("*") if not p.is_dir()}
    if found.keys() != contents.keys():
        raise SandboxError(f"{target} holds other files than were staged; remove it")
    for name, path in found.items():
        if path.is_symlink() or path.read_bytes() != contents[name]:
            raise SandboxError(f"{path} is not what was staged; remove {target}")
    for path in (target, *target.rglob("*")):
        status = path.lstat()
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise SandboxError(f"{path} can be changed by another user; remove {target}")
