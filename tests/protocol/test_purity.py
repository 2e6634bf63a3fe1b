"""The package does no I/O and keeps no clock: checked on its text and on what it loads."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import protocol

FOLDER = Path(protocol.__file__).parent
ALLOWED = {
    "ast", "collections", "cryptography", "dataclasses", "enum", "hashlib", "msgpack", "protocol",
    "re", "struct", "threading", "typing", "warnings",
}  # fmt: skip
FORBIDDEN = ("trio", "torch", "libp2p", "sqlite3", "apsw", "numpy", "asyncio")


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.name)
def test_a_module_imports_only_what_is_pure(path: Path) -> None:
    imported: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                imported.update(alias.name.split(".")[0] for alias in names)
            case ast.ImportFrom(module=module, level=level):
                assert level == 0, "relative import"
                imported.add(str(module).split(".")[0])
            case ast.Call(func=ast.Name(id=("open" | "print" | "input" | "__import__") as name)):
                raise AssertionError(f"calls {name}")
            case _:
                pass
    assert imported <= ALLOWED


def test_loading_the_package_loads_nothing_heavy() -> None:
    names = ", ".join(f"protocol.{path.stem}" for path in FOLDER.glob("[a-z]*.py"))
    program = f"import sys, {names}; print(*(n for n in {FORBIDDEN!r} if n in sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=FOLDER.parent, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert result.stdout.split() == []
