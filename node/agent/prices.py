"""What tokens cost: US dollars per million tokens, which is millionths of a dollar per token.

This file decides how usage becomes money, rounded up. The table holds the list prices as of October
2026; `agent_price_usd` in the configuration replaces it for a model that is not listed, or whose
price has changed. A model without a price is never asked, since no budget could be kept.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Final

CACHE_WRITE_FACTOR: Final = 1.25
"""Writing to the five-minute cache costs this many times the input price."""

CACHE_READ_FACTOR: Final = 0.1
"""Reading from the cache costs at most this part of the input price on every listed model."""


@dataclasses.dataclass(frozen=True, slots=True)
class Price:
    """Price of one model.

    Attributes:
        input_usd: for a million tokens read, without the cache.
        output_usd: for a million tokens written, thinking included.
    """

    input_usd: float
    output_usd: float


@dataclasses.dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of one or more calls, by how they are charged.

    Attributes:
        fresh: read without the cache.
        cache_write: read, and kept in the cache.
        cache_read: read from the cache.
        output: written, thinking included.
    """

    fresh: int = 0
    cache_write: int = 0
    cache_read: int = 0
    output: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.fresh + self.cache_write + self.cache_read + self.output


@dataclasses.dataclass(frozen=True, slots=True)
class Used:
    """What was used: calls, tokens and millionths of a dollar."""

    calls: int = 0
    tokens: int = 0
    microusd: int = 0

    def __add__(self, other: Used) -> Used:
        return self.plus(other.calls, other.tokens, other.microusd)

    def plus(self, calls: int, tokens: int, microusd: int) -> Used:
        """Returns the sum; a settlement may be negative, a total never is."""
        return Used(
            max(0, self.calls + calls),
            max(0, self.tokens + tokens),
            max(0, self.microusd + microusd),
        )


NO_COST: Final = Used()

PRICES: Final = {
    "claude-fable-5-1": Price(10.0, 50.0),
    "claude-opus-5-5": Price(4.0, 20.0),
    "claude-opus-5": Price(5.0, 25.0),
    "claude-opus-4-8": Price(5.0, 25.0),
    "claude-sonnet-5-5": Price(2.0, 10.0),
    "claude-sonnet-5": Price(2.0, 10.0),
    # Its price for prompts over 100,000 tokens, which ours never are: never less than the bill.
    "claude-haiku-5-5": Price(0.5, 2.5),
    "claude-haiku-4-5": Price(1.0, 5.0),
}
"""List prices by the model's name."""


def cost_microusd(price: Price, tokens: Tokens) -> int:
    """Returns what tokens cost, in millionths of a dollar, rounded up."""
    read = tokens.fresh + CACHE_WRITE_FACTOR * tokens.cache_write
    read += CACHE_READ_FACTOR * tokens.cache_read
    return math.ceil(price.input_usd * read + price.output_usd * tokens.output)
