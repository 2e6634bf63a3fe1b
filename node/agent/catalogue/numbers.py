"""What number an expression of a script comes to, without running anything.

This file decides which expressions count as a plain number: literals, and products, quotients and
powers of such. It refuses everything else, and whatever would be large.
"""

from __future__ import annotations

import ast
import math
from typing import Final, TypeAlias

Number: TypeAlias = int | float

_NUMBER_MAX: Final = 1e12
_EXPONENT_MAX: Final = 64


def number_of(node: ast.expr) -> Number | None:
    """Returns what an expression of plain numbers comes to; None for any other, or a huge one."""
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value if abs(value) <= _NUMBER_MAX else None
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = number_of(operand)
            return None if inner is None else -inner
        case ast.BinOp(left=left, op=ast.Mult() | ast.Pow() | ast.Div() as operator, right=right):
            one, other = number_of(left), number_of(right)
            try:
                return None if one is None or other is None else _combined(operator, one, other)
            except (ArithmeticError, ValueError):
                return None
        case _:
            return None


def _combined(operator: ast.Mult | ast.Pow | ast.Div, one: Number, other: Number) -> Number | None:
    value: Number | complex | None
    match operator:
        case ast.Mult():
            value = one * other
        case ast.Div():
            value = one / other
        case _:
            # A bounded exponent keeps the power of a stranger's script cheap.
            value = one**other if abs(other) <= _EXPONENT_MAX else math.inf
    return value if isinstance(value, int | float) and abs(value) <= _NUMBER_MAX else None
