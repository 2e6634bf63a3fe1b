"""A training script as a syntax tree that edits can find their way in.

This file decides how an edit names a place (a function, a method, a loop, an expression, a
constant) and how the place is changed while the rest of the text, comments included, stays as it
is. It refuses to know what any edit is for. Places are found by name and structure, never by text,
so that an edit still applies after others were merged; where the place is gone, the edit raises
`NotApplicableError`.
"""

from __future__ import annotations

import ast
import dataclasses
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import libcst as cst

from node.agent.catalogue.numbers import Number, number_of
from node.agent.proposal import AgentError
from protocol.syntax import parse_tree
from swarm.source import SourceError, normalise

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_Statement: TypeAlias = cst.SimpleStatementLine | cst.BaseCompoundStatement
_Definition = TypeVar("_Definition", cst.FunctionDef, cst.ClassDef)


class NotApplicableError(AgentError):
    """The script has no place for this edit, or has the change already."""


@dataclasses.dataclass(frozen=True, slots=True)
class Script:
    """One version of a script; every change returns a new one.

    Attributes:
        module: its concrete syntax tree.
    """

    module: cst.Module

    @classmethod
    def parse(cls, source: str) -> Script:
        """Returns the tree of a script within the limits of `swarm.source`.

        Raises:
            NotApplicableError: the script exceeds a limit or cannot be parsed.
        """
        try:
            # The limits come first: they keep trees shallow enough for any recursive parser.
            normalise(source)
            return cls(cst.parse_module(source))
        except (SourceError, cst.ParserSyntaxError, RecursionError) as error:
            raise NotApplicableError(f"the script cannot be edited: {error}") from None

    @property
    def code(self) -> str:
        """The text of this version."""
        return self.module.code

    def same_as(self, other: Script) -> bool:
        """Returns whether both have the same text; cheap where they share most statements."""
        mine, theirs = self.module.body, other.module.body
        return len(mine) == len(theirs) and all(
            a is b or code_of(a) == code_of(b) for a, b in zip(mine, theirs, strict=True)
        )

    # Constants

    def constants(self) -> dict[str, Number]:
        """Returns the top-level constants: upper-case names bound to numbers.

        A number may be written as a product or power of plain ones, such as `2**19`.
        """
        found: dict[str, Number] = {}
        for statement in self.module.body:
            name = _constant_name(statement)
            if name is None:
                continue
            try:
                tree = parse_tree(_constant_value(statement), "eval")
            except (ValueError, SyntaxError):
                continue
            assert isinstance(tree, ast.Expression)
            value = number_of(tree.body)
            if value is not None:
                found[name] = value
        return found

    def with_constant(self, name: str, value: Number, comment: str = "") -> Script:
        """Sets a constant, or adds it after the last one at the top of the script."""
        for index, statement in enumerate(self.module.body):
            if _constant_name(statement) == name:
                changed = _set_value(statement, cst.parse_expression(_number_text(value)))
                return self._replace_statement(index, [changed])
        last = max(
            (i for i, s in enumerate(self.module.body) if _constant_name(s) is not None), default=-1
        )
        if last < 0:
            raise NotApplicableError("the script has no constants at its top")
        text = f"{name} = {_number_text(value)}" + (f"  # {comment}" if comment else "")
        return self._insert(last + 1, [cst.parse_statement(text + "\n")])

    def with_import(self, name: str) -> Script:
        """Imports a module of the standard library, before all other imports."""
        line = f"import {name}"
        at = -1
        for index, statement in reversed(list(enumerate(self.module.body))):
            if code_of(statement).strip() == line:
                return self
            match statement:
                case cst.SimpleStatementLine(body=[cst.Import() | cst.ImportFrom()]):
                    at = index
                case _:
                    continue
        if at < 0:
            raise NotApplicableError("the script imports nothing")
        first = self.module.body[at]
        assert isinstance(first, cst.SimpleStatementLine)
        added = cst.parse_statement(line + "\n").with_changes(leading_lines=first.leading_lines)
        rest = first.with_changes(leading_lines=[cst.EmptyLine(indent=False)])
        body = list(self.module.body)
        body[at : at + 1] = [added, rest]
        return Script(self.module.with_changes(body=body))

    # Functions and classes

    def function(self, name: str, owner: str | None = None) -> cst.FunctionDef:
        """Returns a top-level function, or a method of the class `owner`.

        Raises:
            NotApplicableError: there is none.
        """
        body = self.module.body if owner is None else self.class_(owner).body.body
        return _find(body, cst.FunctionDef, name)

    def body(self, name: str, owner: str | None = None) -> Sequence[cst.CSTNode]:
        """Returns the statements of a function or method."""
        return self.function(name, owner).body.body

    def class_(self, name: str) -> cst.ClassDef:
        """Returns a top-level class.

        Raises:
            NotApplicableError: there is none.
        """
        return _find(self.module.body, cst.ClassDef, name)

    def has(self, name: str) -> bool:
        """Returns whether a function or class of this name stands at the top level."""
        return any(
            isinstance(node, cst.FunctionDef | cst.ClassDef) and node.name.value == name
            for node in self.module.body
        )

    def with_body(self, name: str, code: str, owner: str | None = None) -> Script:
        """Replaces the body of a function or method by the statements in code."""
        function = self.function(name, owner)
        body = function.body.with_changes(body=_statements(code))
        assert isinstance(body, cst.BaseSuite)
        return self._swap(function.with_changes(body=body), owner)

    def before(self, name: str, code: str) -> Script:
        """Inserts top-level definitions before the function or class `name`, unless they exist."""
        fresh = [
            node
            for node in _statements(code)
            if not (isinstance(node, cst.FunctionDef | cst.ClassDef) and self.has(node.name.value))
        ]
        spaced = [node.with_changes(leading_lines=[cst.EmptyLine(False)] * 2) for node in fresh]
        return self._insert(self._index(name), spaced)

    def without(self, name: str) -> Script:
        """Removes a top-level function or class."""
        return self._replace_statement(self._index(name), [])

    # Statements

    def edit_body(
        self,
        name: str,
        change: Callable[[list[cst.BaseStatement]], list[cst.BaseStatement] | None],
        owner: str | None = None,
    ) -> Script:
        """Applies change to the statements of a function; None means that it found no place.

        Raises:
            NotApplicableError: the function or the place in it is missing.
        """
        function = self.function(name, owner)
        body = function.body
        if not isinstance(body, cst.IndentedBlock):
            raise NotApplicableError(f"{name} has no block of statements")
        changed = change(list(body.body))
        if changed is None:
            raise NotApplicableError(f"{name} has no place for this edit")
        return self._swap(function.with_changes(body=body.with_changes(body=tuple(changed))), owner)

    def prepend(self, name: str, code: str, owner: str | None = None) -> Script:
        """Adds statements at the start of a function, after its docstring."""

        def change(body: list[cst.BaseStatement]) -> list[cst.BaseStatement]:
            at = 1 if body and is_docstring(body[0]) else 0
            return [*body[:at], *_statements(code), *body[at:]]

        return self.edit_body(name, change, owner)

    def append(self, name: str, code: str, owner: str | None = None) -> Script:
        """Adds statements at the end of a function, before a final `return`."""

        def change(body: list[cst.BaseStatement]) -> list[cst.BaseStatement]:
            at = len(body) - 1 if body and is_return(body[-1]) else len(body)
            return [*body[:at], *_statements(code), *body[at:]]

        return self.edit_body(name, change, owner)

    # Expressions

    def calls(self, dotted: str, name: str, owner: str | None = None) -> bool:
        """Returns whether a function calls `dotted`, such as `F.rms_norm`."""
        found = False

        def visit(node: cst.BaseExpression) -> cst.BaseExpression | None:
            nonlocal found
            if isinstance(node, cst.Call) and code_of(node.func) == dotted:
                found = True
            return None

        self.function(name, owner).visit(_Rewriter(visit))
        return found

    def replace(self, old: str, new: str, name: str, owner: str | None = None) -> Script:
        """Replaces every expression equal to `old` within one function.

        Expressions are equal when their syntax trees are, whatever their spacing.

        Raises:
            NotApplicableError: there is no such expression.
        """
        wanted = _tree(old)
        kind = type(cst.parse_expression(old))

        def visit(node: cst.BaseExpression) -> cst.BaseExpression | None:
            if type(node) is kind and _tree(code_of(node)) == wanted:
                return cst.parse_expression(new)
            return None

        return self.rewrite(visit, name, owner)

    def rewrite(
        self,
        visit: Callable[[cst.BaseExpression], cst.BaseExpression | None],
        name: str,
        owner: str | None = None,
    ) -> Script:
        """Replaces each expression for which visit returns another one.

        Raises:
            NotApplicableError: visit replaced nothing.
        """
        rewriter = _Rewriter(visit)
        function = self.function(name, owner)
        changed = function.visit(rewriter)
        if not rewriter.count:
            raise NotApplicableError(f"{name} has no place for this edit")
        assert isinstance(changed, cst.FunctionDef)
        return self._swap(changed, owner)

    # Internals

    def _index(self, name: str) -> int:
        for index, node in enumerate(self.module.body):
            if isinstance(node, cst.FunctionDef | cst.ClassDef) and node.name.value == name:
                return index
        raise NotApplicableError(f"the script has no {name}")

    def _swap(self, new: cst.FunctionDef, owner: str | None) -> Script:
        """Puts a changed function or method in the place of the one of its name."""
        if owner is None:
            return self._replace_statement(self._index(new.name.value), [new])
        class_ = self.class_(owner)
        old = _find(class_.body.body, cst.FunctionDef, new.name.value)
        methods = [new if node is old else node for node in class_.body.body]
        changed = class_.with_changes(body=class_.body.with_changes(body=methods))
        return self._replace_statement(self._index(owner), [changed])

    def _replace_statement(self, index: int, new: Sequence[_Statement]) -> Script:
        body = list(self.module.body)
        body[index : index + 1] = new
        return Script(self.module.with_changes(body=body))

    def _insert(self, index: int, new: Sequence[_Statement]) -> Script:
        body = list(self.module.body)
        body[index:index] = new
        return Script(self.module.with_changes(body=body))


class _Rewriter(cst.CSTTransformer):
    """Offers every expression to a function, innermost first, and counts what it replaced."""

    def __init__(self, visit: Callable[[cst.BaseExpression], cst.BaseExpression | None]) -> None:
        super().__init__()
        self._visit = visit
        self.count = 0

    def on_leave(
        self,
        original_node: cst.CSTNodeT,  # noqa: ARG002 - the visitor interface has it
        updated_node: cst.CSTNodeT,
    ) -> cst.CSTNodeT | cst.RemovalSentinel | cst.FlattenSentinel[cst.CSTNodeT]:
        if isinstance(updated_node, cst.BaseExpression):
            replacement = self._visit(updated_node)
            if replacement is not None:
                self.count += 1
                return replacement  # type: ignore[return-value]  # any expression may stand here
        return updated_node


def is_docstring(statement: cst.CSTNode) -> bool:
    """Returns whether a statement is only a string."""
    match statement:
        case cst.SimpleStatementLine(body=[cst.Expr(value=cst.SimpleString())]):
            return True
        case _:
            return False


def is_return(statement: cst.CSTNode) -> bool:
    """Returns whether a statement is a `return`."""
    match statement:
        case cst.SimpleStatementLine(body=[cst.Return()]):
            return True
        case _:
            return False


def code_of(node: cst.CSTNode) -> str:
    """Returns the text of a node."""
    return cst.Module(body=[]).code_for_node(node)


def assigned(statement: cst.CSTNode) -> str | None:
    """Returns the dotted name that a plain assignment binds, such as `self.up`, or None."""
    match statement:
        case cst.SimpleStatementLine(body=[cst.Assign(targets=[cst.AssignTarget(target=target)])]):
            return code_of(target)
        case _:
            return None


def statements(code: str) -> list[cst.BaseStatement]:
    """Returns the statements of a piece of our own code."""
    return list(_statements(code))


def _statements(code: str) -> tuple[_Statement, ...]:
    return tuple(
        statement
        for statement in cst.parse_module(code).body
        if isinstance(statement, cst.SimpleStatementLine | cst.BaseCompoundStatement)
    )


def _find(body: Sequence[cst.CSTNode], kind: type[_Definition], name: str) -> _Definition:
    for node in body:
        if isinstance(node, kind) and node.name.value == name:
            return node
    raise NotApplicableError(f"the script has no {name}")


def _tree(expression: str) -> str:
    return ast.dump(parse_tree(f"({expression}\n)", "eval"))


def _constant_name(statement: cst.CSTNode) -> str | None:
    name = assigned(statement)
    return name if name is not None and name.isidentifier() and name.isupper() else None


def _constant_value(statement: cst.CSTNode) -> str:
    match statement:
        case cst.SimpleStatementLine(body=[cst.Assign(value=value)]):
            return code_of(value)
        case _:
            raise ValueError("not a constant")


def _set_value(statement: cst.CSTNode, value: cst.BaseExpression) -> _Statement:
    assert isinstance(statement, cst.SimpleStatementLine)
    assign = statement.body[0]
    return statement.with_changes(body=[assign.with_changes(value=value)])


def _number_text(value: Number) -> str:
    """Returns a number as Python writes it, with an exponent where that is shorter to read."""
    return repr(value)
