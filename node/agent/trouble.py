"""How asking a language model can go wrong, and how long it is left alone then.

This file decides the closed list of outcomes that a person is told about. Each is an ordinary
event: the offline search answers in the model's place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from node.agent.prices import NO_COST
from node.agent.proposal import AgentError

if TYPE_CHECKING:
    from collections.abc import Mapping

TroubleKind: TypeAlias = Literal[
    "bad_key", "bad_request", "budget", "malformed", "no_credit", "overloaded", "rate_limited",
    "refused", "timeout", "truncated", "unreachable",
]  # fmt: skip

PAUSES_S: Final[Mapping[TroubleKind, float]] = {
    "bad_key": 3600.0,
    "bad_request": 600.0,
    "budget": 300.0,
    "malformed": 30.0,
    "no_credit": 1800.0,
    "overloaded": 60.0,
    "rate_limited": 60.0,
    "refused": 60.0,
    "timeout": 60.0,
    "truncated": 60.0,
    "unreachable": 60.0,
}
"""How long the offline search answers alone after the first trouble; doubled with each in a row."""

PAUSE_MAX_S: Final = 3600.0


class TroubleError(AgentError):
    """A model gave no answer.

    Attributes:
        kind: what happened.
        retry_after_s: how long the service asked to be left alone, if it did.
        cost: what asking has cost, or may have.
    """

    def __init__(self, kind: TroubleKind, text: str, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.kind = kind
        self.retry_after_s = retry_after_s
        self.cost = NO_COST


def pause_s(error: TroubleError, in_a_row: int) -> float:
    """Returns how long to leave a model alone after so many troubles in a row."""
    own = PAUSES_S[error.kind] * 2.0 ** min(in_a_row - 1, 10)
    return min(PAUSE_MAX_S, max(own, error.retry_after_s or 0.0))
