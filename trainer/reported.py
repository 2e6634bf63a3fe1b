"""Reading the metric that a run reports of itself.

This file decides which line of a program's output counts: the last `metric: value` line of what was
kept of it. It refuses to decide what such a number is worth: it is the program's own word, so what
it earns is called *reproduced* where a trusted scorer's result is called *verified*.
"""

from __future__ import annotations

import decimal
import re
from typing import Final

from trainer.job import MICRO

METRIC_MICRO_MAX: Final = 1 << 50
"""Largest magnitude, as records allow it."""
_DIGITS_MAX: Final = 40


def last_metric(output: str, name: str) -> int | None:
    """Returns the last reported value in millionths, or None when there is none.

    A last line of that name whose value is no finite number, or too large, counts as none: an
    earlier one must not stand for it.

    Args:
        output: the end of what the run printed, hostile.
        name: the metric's name.
    """
    pattern = re.compile(rf"^[ \t]*{re.escape(name)}[ \t]*:[ \t]*(\S*)[ \t]*\r?$", re.MULTILINE)
    found = pattern.findall(output)
    if not found or len(found[-1]) > _DIGITS_MAX:
        return None
    try:
        value = decimal.Decimal(found[-1])
    except decimal.InvalidOperation:
        return None
    if not value.is_finite() or value.adjusted() > 10:
        return None
    micro = int((value * MICRO).to_integral_value(decimal.ROUND_HALF_EVEN))
    return micro if abs(micro) <= METRIC_MICRO_MAX else None
