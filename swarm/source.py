"""What counts as the same training script, and what a script may contain at all.

This file decides two things about the text of what a task lets agents edit. First its *digest*: the
hash of its syntax tree without comments, formatting and docstrings, so that the same change spelled
differently is recognised before anybody trains it twice. Second its *limits*: how large it may be,
how much it may grow over its parent and how long a literal may get, so that trained weights cannot
travel inside a script.

Where a task has several files to edit, or one that is not Python, the text holds them all
(`protocol.sources`): the digest is then over the normal form of each, the limits hold for their
sum, and a child has the files that its parent has. What counts as the same in files other than
Python is decided in `swarm.source_texts`.

It refuses to know what the script does and which functions its task wants from it. The text is
hostile: whatever it holds, only `SourceError` leaves this file. Outcomes never depend on the
caller's stack depth or on the Python version: trees are walked without recursion, everything
deep enough to trouble the parser is refused by limits well below the point where the parser gives
up (a deep tree can end the process, not only raise), and what only newer Pythons read is refused
by them too (`swarm.source_tokens` for f-strings).
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import tokenize
from typing import TYPE_CHECKING, Final

from protocol.limits import LITERAL_BYTES_MAX, SOURCE_BYTES_MAX, SOURCE_GROWTH_BYTES_MAX
from protocol.sources import SourcesError, holds_files, split_files
from protocol.syntax import parse_tree
from swarm.source_texts import SourceError, normal_text
from swarm.source_tokens import script_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "ELIFS_MAX",
    "LINE_TOKENS_MAX",
    "TEXT_GROWTH_BYTES_MAX",
    "TREE_DEPTH_MAX",
    "NormalSource",
    "SourceError",
    "check_growth",
    "check_source",
    "decode_source",
    "normalise",
    "source_digest",
]

TEXT_GROWTH_BYTES_MAX: Final = 8 * 1024
"""Most bytes that one change may add as written: comments are not free."""

TREE_DEPTH_MAX: Final = 100
"""Deepest syntax tree; real training scripts stay under 30."""

LINE_TOKENS_MAX: Final = 1000
"""Most tokens in one logical line: bounds what the parser may recurse over, one level a token."""

ELIFS_MAX: Final = 100
"""Most `elif` branches in a file: each nests the tree one level deeper without a longer line."""

_DIGEST_DOMAIN: Final = b"swarm-node source v1\0"
_FILES_DOMAIN: Final = b"swarm-node files v1\0"
_IGNORED_TOKENS: Final = frozenset(
    {tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT}
)
_WORD_TOKENS: Final = frozenset({tokenize.NAME, tokenize.NUMBER})
_NAME_FIELDS: Final = ("name", "arg", "asname", "module", "rest")
_DOCUMENTED: Final = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclasses.dataclass(frozen=True, slots=True)
class NormalSource:
    """A script reduced to what it means.

    Attributes:
        digest: SHA-256 of the normalised tree; equal for scripts that differ only in form.
        size_bytes: length of the script without comments, docstrings and spacing.
        text_bytes: length of the script as written, UTF-8.
        files: names of its files where it holds several; empty for one Python file.
    """

    digest: bytes
    size_bytes: int
    text_bytes: int
    files: tuple[str, ...] = ()


def decode_source(data: bytes) -> str:
    """Returns the text of a blob that should be a script.

    Raises:
        SourceError: it is too large or not UTF-8.
    """
    if len(data) > SOURCE_BYTES_MAX:
        raise SourceError(f"the script is over {SOURCE_BYTES_MAX} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise SourceError("the script is not UTF-8") from None


def normalise(source: str) -> NormalSource:
    """Reduces a script to its digest and sizes, checking every limit that needs no parent.

    Two scripts have the same digest when they differ only in comments, formatting, docstrings,
    the spelling of literals or the order of neighbouring top-level constants.

    Raises:
        SourceError: the script is too large, too deep, not Python, or holds a literal that is too
            long.
    """
    try:
        text_bytes = len(source.encode("utf-8"))
    except UnicodeEncodeError:
        raise SourceError("the script is not valid Unicode") from None
    if text_bytes > SOURCE_BYTES_MAX:
        raise SourceError(f"the script is over {SOURCE_BYTES_MAX} bytes")
    if "\0" in source:
        raise SourceError("the script holds a null byte")
    if holds_files(source):
        return _normalise_files(source, text_bytes)
    digest, size_bytes = _normalise_python(source)
    return NormalSource(digest, size_bytes, text_bytes)


def _normalise_files(source: str, text_bytes: int) -> NormalSource:
    """Reduces a text that holds several files; each counts by the normal form of its kind."""
    try:
        files = split_files(source)
    except SourcesError as error:
        raise SourceError(str(error)) from None
    digest, size_bytes = hashlib.sha256(_FILES_DOMAIN), 0
    for name, content in files.items():
        if name.endswith(".py"):
            part, size = _normalise_python(content)
        else:
            form = normal_text(name, content)
            part, size = hashlib.sha256(form).digest(), len(form)
        digest.update(_atom("file", name) + part)
        size_bytes += size
    return NormalSource(digest.digest(), size_bytes, text_bytes, tuple(files))


def _normalise_python(source: str) -> tuple[bytes, int]:
    """Returns the digest of a Python file and its size without form."""
    token_bytes = _scan_tokens(source)
    tree = _parse(source)
    docstring_bytes = _reduce(tree)
    tree.body = _sort_constants(tree.body)
    digest = hashlib.sha256(_DIGEST_DOMAIN)
    for part in _serialise(tree):
        digest.update(part)
    return digest.digest(), max(0, token_bytes - docstring_bytes)


def source_digest(source: str) -> bytes:
    """Returns the digest under which duplicates are looked up; see `normalise`."""
    return normalise(source).digest


def check_source(source: str, parent: str | None = None) -> NormalSource:
    """Checks a script against every limit, growth over its parent included.

    Args:
        source: the proposed script.
        parent: the script it changes; None for the script of a genesis.

    Raises:
        SourceError: a limit is exceeded, here or in the parent.
    """
    child = normalise(source)
    if parent is not None:
        check_growth(child, normalise(parent))
    return child


def check_growth(child: NormalSource, parent: NormalSource) -> None:
    """Checks that a script has its parent's files, and how much it adds to them.

    Raises:
        SourceError: it adds too much, or a file comes or goes.
    """
    if child.files != parent.files:
        raise SourceError("a change must keep the files that it changes, and add none")
    if child.size_bytes - parent.size_bytes > SOURCE_GROWTH_BYTES_MAX:
        raise SourceError(f"the script grows by over {SOURCE_GROWTH_BYTES_MAX} bytes")
    if child.text_bytes - parent.text_bytes > TEXT_GROWTH_BYTES_MAX:
        raise SourceError(f"the text of the script grows by over {TEXT_GROWTH_BYTES_MAX} bytes")


def _scan_tokens(source: str) -> int:
    """Returns the bytes of all tokens that carry meaning; refuses what could exhaust the parser."""
    total = line_tokens = elifs = 0
    after_word = False
    try:
        for kind, text in script_tokens(source):
            if kind in _IGNORED_TOKENS:
                continue
            if kind == tokenize.NEWLINE:
                line_tokens = 0
            line_tokens += 1
            elifs += text == "elif"
            # Two words need a space between them; everything else stands without.
            word = kind in _WORD_TOKENS
            total += len(text.encode("utf-8")) + (word and after_word)
            after_word = word
            if line_tokens > LINE_TOKENS_MAX:
                raise SourceError(f"a statement has over {LINE_TOKENS_MAX} tokens")
            if elifs > ELIFS_MAX:
                raise SourceError(f"the script has over {ELIFS_MAX} elif branches")
    except (tokenize.TokenError, SyntaxError, ValueError):
        raise SourceError("the script is not valid Python") from None
    except (RecursionError, MemoryError):
        raise SourceError("the script is nested too deeply") from None
    return total


def _parse(source: str) -> ast.Module:
    try:
        tree = parse_tree(source)
    except (SyntaxError, ValueError, OverflowError):
        raise SourceError("the script is not valid Python") from None
    except (RecursionError, MemoryError):
        raise SourceError("the script is nested too deeply") from None
    assert isinstance(tree, ast.Module)
    return tree


def _reduce(tree: ast.Module) -> int:
    """Removes docstrings and checks depth and literals, without recursion.

    Returns:
        The bytes of the docstrings, quotes left out.
    """
    dropped = 0
    stack: list[tuple[ast.AST, int]] = [(tree, 1)]
    while stack:
        node, depth = stack.pop()
        if depth > TREE_DEPTH_MAX:
            raise SourceError("the script is nested too deeply")
        if isinstance(node, _DOCUMENTED):
            dropped += _drop_docstring(node)
        if isinstance(node, ast.JoinedStr):
            _reduce_fstring(node)
        if _literal_bytes(node) > LITERAL_BYTES_MAX:
            raise SourceError(f"the script holds a literal or name over {LITERAL_BYTES_MAX} bytes")
        stack.extend([(child, depth + 1) for child in ast.iter_child_nodes(node)])
    return dropped


def _reduce_fstring(node: ast.JoinedStr) -> None:
    """Makes an f-string what Python 3.11 reads.

    Raises:
        SourceError: it would not read it.
    """
    # Python 3.12.0 and 3.12.1 end some format specifications with an empty text.
    node.values = [v for v in node.values if not (isinstance(v, ast.Constant) and v.value == "")]
    for value in _formatted(node):
        for inner in _formatted(value.format_spec):
            if any(True for _ in _formatted(inner.format_spec)):
                raise SourceError("a format specification of an f-string is nested too deeply")


def _formatted(node: ast.expr | None) -> Iterator[ast.FormattedValue]:
    if isinstance(node, ast.JoinedStr):
        yield from (value for value in node.values if isinstance(value, ast.FormattedValue))


def _drop_docstring(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef,
) -> int:
    match node.body:
        case [ast.Expr(value=ast.Constant(value=str() as text)), *rest]:
            # A body that was only a docstring means the same as `pass`.
            node.body = rest or ([] if isinstance(node, ast.Module) else [ast.Pass()])
            return len(text.encode("utf-8", "surrogatepass"))
        case _:
            return 0


def _literal_bytes(node: ast.AST) -> int:
    """Returns the bytes of data that one node carries by itself."""
    match node:
        case ast.Constant(value=value):
            return _value_bytes(value)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return len(name.encode())
        case ast.JoinedStr(values=values):
            return sum(_value_bytes(v.value) for v in values if isinstance(v, ast.Constant))
        case ast.Global(names=names) | ast.Nonlocal(names=names):
            return max(len(name.encode()) for name in names)
        case ast.expr_context() | ast.operator() | ast.cmpop():
            return 0
        case _:
            found = [getattr(node, field, None) for field in _NAME_FIELDS]
            return max([len(name.encode()) for name in found if isinstance(name, str)], default=0)


def _value_bytes(value: object) -> int:
    match value:
        case str():
            return len(value.encode("utf-8", "surrogatepass"))
        case bytes():
            return len(value)
        case int():
            return (value.bit_length() + 7) // 8
        case _:
            return 0


def _constant_name(node: ast.stmt) -> str | None:
    """Returns the name that a plain `NAME = literal` binds, or None for any other statement."""
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant()):
            return name
        case ast.Assign(
            targets=[ast.Name(id=name)], value=ast.UnaryOp(op=ast.USub(), operand=ast.Constant())
        ):
            return name
        case _:
            return None


def _sort_constants(body: list[ast.stmt]) -> list[ast.stmt]:
    """Sorts each run of neighbouring constants by name: their order means nothing.

    A run that binds a name twice keeps its order, since the last one wins.
    """
    result: list[ast.stmt] = []
    run: list[tuple[str, ast.stmt]] = []

    def flush() -> None:
        if len({name for name, _ in run}) == len(run):
            run.sort(key=lambda pair: pair[0])
        result.extend(statement for _, statement in run)
        run.clear()

    for statement in body:
        name = _constant_name(statement)
        if name is None:
            flush()
            result.append(statement)
        else:
            run.append((name, statement))
    flush()
    return result


def _serialise(tree: ast.AST) -> Iterator[bytes]:
    """Yields an unambiguous form of the tree: prefix notation, every part with its length.

    Fields that are absent or empty are left out, because newer Pythons add fields that are empty
    for older syntax; `ast.dump` differs between versions for that reason.
    """
    stack: list[object] = [tree]
    while stack:
        item = stack.pop()
        match item:
            case ast.Constant(value=value):
                yield _atom("constant", value)
            case ast.AST():
                fields = [
                    (name, value)
                    for name, value in ast.iter_fields(item)
                    if value is not None and value != [] and name != "type_comment"
                ]
                yield f"({type(item).__name__}:{len(fields)}".encode()
                for name, value in reversed(fields):
                    stack.extend((value, _Field(name)))
            case list():
                yield f"[{len(item)}".encode()
                stack.extend(reversed(item))
            case _Field(name):
                yield f".{name}:".encode()
            case _:
                yield _atom("value", item)


@dataclasses.dataclass(frozen=True, slots=True)
class _Field:
    name: str


def _atom(role: str, value: object) -> bytes:
    # Hexadecimal spares the quadratic decimal conversion, which Python refuses for long integers.
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    text = f"{value:x}" if is_integer else repr(value)
    data = text.encode("utf-8", "surrogatepass")
    return f"<{role}:{type(value).__name__}:{len(data)}:".encode() + data
