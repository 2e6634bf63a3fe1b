"""Which files a confined Python needs, and which of them must stay out of its sight.

This file decides the read-only view: the interpreter, its standard library, the environment's
packages and the system's shared libraries, without our own packages, whose data includes the
validation and test bytes. It refuses to know how a view is enforced; each backend does that.
"""

import os
import site
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

OWN_PACKAGES: Final = ("protocol", "gossip", "swarm", "trainer", "node", "tests", "benchmarks")
PACKAGE_DIRECTORIES: Final = ("site-packages", "dist-packages")
LIBRARIES: Final = ("lib", "lib64")
LONGEST_LINK_CHAIN: Final = 16
SYSTEM_TREES: Final = ("/usr/lib", "/usr/lib64", "/lib", "/lib64")
SYSTEM_FILES: Final = ("/etc/ld.so.cache",)
SHARED_PREFIXES: Final = ("/usr", "/usr/local", "/opt/homebrew")
KERNEL_FACTS: Final = ("/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu")
"""What OpenMP and torch read to learn about the processor."""


@dataclass(frozen=True)
class Interpreter:
    """A Python to run in a sandbox.

    Attributes:
        executable: the path to start it by, possibly a link inside a virtual environment.
        prefix: the virtual environment, or the installation itself.
        base_prefix: the installation.
        search_path: existing directories from which it imports packages.
    """

    executable: Path
    prefix: Path
    base_prefix: Path
    search_path: tuple[Path, ...]

    @classmethod
    def current(cls) -> "Interpreter":
        """Describe the interpreter that runs this code."""
        return cls(
            executable=Path(sys.executable),
            prefix=Path(sys.prefix),
            base_prefix=Path(sys.base_prefix),
            search_path=tuple(Path(p) for p in site.getsitepackages() if Path(p).is_dir()),
        )


@dataclass(frozen=True)
class View:
    """What a sandbox shows, all of it read-only.

    Attributes:
        trees: files, directories and links, at the paths where they must appear; none lies
            inside another by name.
        masked: real (link-free) directories that must not be readable, by whatever name.
    """

    trees: tuple[Path, ...]
    masked: tuple[Path, ...]


def interpreter_view(interpreter: Interpreter) -> View:
    """Return what ``interpreter`` needs, without our own packages.

    Everything is listed by purpose rather than by prefix: an environment's root may hold a
    ``pip.conf`` with a password, and ``bin`` holds programs that nobody needs inside.
    """
    trees = [
        *executable_chain(interpreter.executable),
        interpreter.prefix / "pyvenv.cfg",
        *(p / lib for p in (interpreter.prefix, interpreter.base_prefix) for lib in LIBRARIES),
        *interpreter.search_path,
        *map(Path, SYSTEM_TREES),
        *map(Path, SYSTEM_FILES),
    ]
    masked = own_package_directories(interpreter)
    shown = (p for p in trees if p.exists() and not any(m in within(p) for m in masked))
    return View(trees=outermost(shown), masked=masked)


def within(path: Path) -> tuple[Path, ...]:
    """Return a path's real place and every directory above it."""
    real = path.resolve()
    return (real, *real.parents)


def executable_chain(executable: Path) -> list[Path]:
    """Return a program's path, every link on the way to the real file, and that file."""
    chain = [executable]
    while chain[-1].is_symlink() and len(chain) < LONGEST_LINK_CHAIN:
        target = chain[-1].parent / chain[-1].readlink()
        chain.append(Path(os.path.normpath(target)))
    return [*chain, executable.resolve()]


def outermost(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Return ``paths`` without those that lie inside another by name, in order."""
    unique = list(dict.fromkeys(paths))
    return tuple(p for p in unique if not any(q in p.parents for q in unique))


def own_package_directories(interpreter: Interpreter) -> tuple[Path, ...]:
    """Return every real directory where our packages are or could have been installed.

    Every package directory in sight is looked at, not only where this process imported its
    packages from: a second, older installation holds the same data. Package directories that the
    interpreter does not search are masked whole.
    """
    roots = [interpreter.prefix, interpreter.base_prefix, *map(Path, SHARED_PREFIXES)]
    candidates = {
        directory.resolve()
        for root in roots
        for library in LIBRARIES
        for name in PACKAGE_DIRECTORIES
        for directory in (root / library).glob(f"python3*/{name}")
    }
    searched = {p.resolve() for p in interpreter.search_path}
    masked = [*sorted(candidates - searched)]
    # The running packages may be outside every package directory: an editable installation or a
    # start from a checkout.
    for directory in (*sorted(searched), Path(__file__).resolve().parents[2]):
        masked += [
            (directory / name).resolve() for name in OWN_PACKAGES if (directory / name).is_dir()
        ]
    return outermost(masked)


def carve(tree: Path, masked: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Split a tree for a mechanism that can only allow, never mask.

    Args:
        tree: a real path.
        masked: real directories to leave out.

    Returns:
        Paths below which everything may be read, and directories of which only the names may be
        listed (importing needs to list a package directory). Links are in neither: what they
        point to inside the view has its own rule, and the rest is not to be seen.
    """
    masked = tuple(masked)
    if any(m == tree or m in tree.parents for m in masked):
        return [], []
    if not any(tree in m.parents for m in masked):
        return [tree], []
    read: list[Path] = []
    list_only = [tree]
    for child in sorted(tree.iterdir()):
        if not child.is_symlink():
            below_read, below_list_only = carve(child, masked)
            read += below_read
            list_only += below_list_only
    return read, list_only
