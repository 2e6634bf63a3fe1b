"""The agent that asks Claude, through Anthropic's API.

This file decides how a question travels, when it is asked again, and what every possible answer
means. It refuses to know what is asked (`node.agent.prompt`) and what an answer must hold
(`node.agent.answers`).

Theory of operation. Before each request the most that it can cost is booked (`node.agent.usage`):
every byte of the prompt as a token written to the cache, and the longest answer. What comes back
settles the booking; a request that timed out, was cancelled or was answered with nonsense stays
booked in full, because it may have been charged. The library's own retries are off, since each try
has to be booked. The API key is handed over by the caller and goes into one header.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from typing import TYPE_CHECKING, Any, Final

import trio

from node.agent.answers import read_answer
from node.agent.prices import NO_COST, Price, Tokens, Used, cost_microusd
from node.agent.prompt import SCHEMA, Prompt, TaskFacts, build_prompt
from node.agent.proposal import RejectedError, one_line
from node.agent.trouble import TroubleError
from node.agent.usage import BudgetError, Reservation, UsageBook, UsageFileError

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    import anthropic
    from anthropic.types import Message

    from node.agent.proposal import Proposal, Rejection, ResearchView

DEFAULT_MODEL: Final = "claude-opus-5-5"
ANSWER_TOKENS_MAX: Final = 16_000
"""Thinking included. A proposal itself has some hundred tokens."""

PROMPT_BYTES_MAX: Final = 95_000
"""Bounds what a call can cost; the largest script and the digest stay below."""

_OVERHEAD_TOKENS: Final = 3_000
"""What the service adds to a prompt: the schema, roles and marks."""

TRIES_MAX: Final = 4
_BACKOFF_FIRST_S: Final = 2.0
_RETRY_AFTER_MAX_S: Final = 60.0
"""A service that wants to be left alone for longer is: the offline search answers meanwhile."""


class ApiKey:
    """A key that does not show itself when it is printed or logged."""

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Returns the key itself."""
        return self._value

    def redact(self, text: str) -> str:
        """Returns text in which the key does not occur."""
        return text.replace(self._value, "[key]")

    def __repr__(self) -> str:
        return "ApiKey(hidden)"


@dataclasses.dataclass(frozen=True, slots=True)
class ClaudeSettings:
    """How Claude is asked.

    Attributes:
        model: name of the model.
        price: what it costs.
        effort: how hard it thinks; empty leaves that to the model.
        timeout_s: longest wait for one answer.
        base_url: where the API is; None for the library's own choice.
    """

    model: str
    price: Price
    effort: str = ""
    timeout_s: float = 300.0
    base_url: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Exchange:
    """One question, its answer and its price, for a person to look at.

    Attributes:
        prompt: what was asked.
        answer: the answer's text.
        tokens: what it took.
        microusd: what it cost.
    """

    prompt: Prompt
    answer: str
    tokens: Tokens
    microusd: int


class ClaudeProposer:
    """Asks Claude for the next change.

    Args:
        key: the API key.
        settings: how to ask.
        book: what was spent, and what may be.
        facts: the task.
        secret: key of the marks around strangers' text; random, and only in this process.
        sleep: waits some seconds before another try.

    Attributes:
        last: the latest exchange.
    """

    def __init__(
        self,
        key: ApiKey,
        settings: ClaudeSettings,
        book: UsageBook,
        facts: TaskFacts,
        *,
        secret: bytes,
        sleep: Callable[[float], Awaitable[object]] = trio.sleep,
    ) -> None:
        self._sleep = sleep
        self._key = key
        self._settings = settings
        self._book = book
        self._facts = facts
        self._secret = secret
        self._client: anthropic.AsyncAnthropic | None = None
        self.last: Exchange | None = None

    async def propose(
        self, view: ResearchView, rng: random.Random, rejection: Rejection | None = None
    ) -> Proposal | None:
        """Asks until there is an answer, or a reason to stop asking.

        Raises:
            TroubleError: there is no answer.
            RejectedError: there is one, and it makes no script.
        """
        prompt = build_prompt(view, self._facts, self._secret, rejection)
        if prompt.size_bytes > PROMPT_BYTES_MAX:
            raise TroubleError("bad_request", "the script is too large to be shown to a model")
        cost = NO_COST
        for attempt in range(TRIES_MAX):
            try:
                message, used = await self._ask(prompt)
            except TroubleError as error:
                error.cost = cost = cost + error.cost
                wait_s = error.retry_after_s
                if wait_s is None:
                    wait_s = _BACKOFF_FIRST_S * 2**attempt * rng.uniform(0.75, 1.25)
                again = error.kind in {"overloaded", "rate_limited", "unreachable"}
                if not again or attempt + 1 == TRIES_MAX or wait_s > _RETRY_AFTER_MAX_S:
                    raise
                await self._sleep(wait_s)
            else:
                return self._read(message, view, cost + used)
        raise AssertionError("the last try returns or raises")

    async def close(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            with trio.CancelScope(shield=True), trio.move_on_after(5.0):
                await self._client.close()

    async def _ask(self, prompt: Prompt) -> tuple[Message, Used]:
        """Makes one request, booked before and settled after, and returns what it has cost."""
        client = await self._connected()
        worst = Tokens(cache_write=prompt.size_bytes + _OVERHEAD_TOKENS, output=ANSWER_TOKENS_MAX)
        price = self._settings.price
        try:
            booked = await trio.to_thread.run_sync(
                self._book.reserve, worst.total, cost_microusd(price, worst)
            )
        except (BudgetError, UsageFileError) as error:
            raise TroubleError("budget", str(error)) from error
        most = Used(1, booked.tokens, booked.microusd)
        try:
            with trio.fail_after(self._settings.timeout_s):
                message = await self._send(client, prompt)
            tokens = _tokens(message)
        except trio.TooSlowError as error:
            seconds = f"{self._settings.timeout_s:.0f}"
            trouble = TroubleError("timeout", f"no answer within {seconds} s")
            trouble.cost = most
            raise trouble from error
        except Exception as error:
            trouble, charged = self._trouble_of(error)
            trouble.cost = most if charged else Used(1)
            if not charged:
                await self._settle(booked, 0, 0)
            raise trouble from error
        cost = cost_microusd(price, tokens)
        await self._settle(booked, tokens.total, cost)
        self.last = Exchange(prompt, _text(message), tokens, cost)
        return message, Used(1, tokens.total, cost)

    async def _connected(self) -> anthropic.AsyncAnthropic:
        if self._client is None:
            # The import takes seconds, in which the node has to go on.
            self._client = await trio.to_thread.run_sync(self._connect)
        return self._client

    def _connect(self) -> anthropic.AsyncAnthropic:
        import anthropic

        for name in ("anthropic", "httpx2", "httpcore2"):
            # At lower levels these tell of headers and bodies.
            logging.getLogger(name).setLevel(logging.WARNING)
        return anthropic.AsyncAnthropic(
            api_key=self._key.reveal(),
            base_url=self._settings.base_url,
            max_retries=0,
            timeout=self._settings.timeout_s,
        )

    async def _send(self, client: anthropic.AsyncAnthropic, prompt: Prompt) -> Message:
        config: dict[str, Any] = {"format": {"type": "json_schema", "schema": SCHEMA}}
        if self._settings.effort:
            config["effort"] = self._settings.effort
        kept = {"type": "ephemeral"}
        content = [
            {"type": "text", "text": prompt.fixed, "cache_control": kept},
            {"type": "text", "text": prompt.changing},
        ]
        request: dict[str, Any] = {
            "model": self._settings.model,
            "max_tokens": ANSWER_TOKENS_MAX,
            "system": [{"type": "text", "text": prompt.system, "cache_control": kept}],
            "messages": [{"role": "user", "content": content}],
            "output_config": config,
        }
        # The answer comes in pieces, so that no proxy takes long thinking for silence, and the
        # service notices at once when nobody waits for the rest any more.
        async with client.messages.stream(**request) as stream:
            message: Message = await stream.get_final_message()
        return message

    def _read(self, message: Message, view: ResearchView, cost: Used) -> Proposal:
        """Says what an answer means; whatever that is, it carries the cost."""
        match getattr(message, "stop_reason", None):
            case "end_turn" | "stop_sequence":
                try:
                    proposal = read_answer(_text(message), view, self._settings.model)
                except RejectedError as error:
                    error.cost = cost
                    raise
                return dataclasses.replace(proposal, cost=cost)
            case "refusal":
                trouble = TroubleError("refused", "the model refused to answer")
            case "max_tokens" | "model_context_window_exceeded":
                trouble = TroubleError(
                    "truncated", f"the answer was cut off at {ANSWER_TOKENS_MAX} tokens"
                )
            case other:
                trouble = TroubleError("malformed", f"the answer ended as {str(other)[:40]!r}")
        trouble.cost = cost
        raise trouble

    async def _settle(self, booked: Reservation, tokens: int, microusd: int) -> None:
        with trio.CancelScope(shield=True):
            try:
                await trio.to_thread.run_sync(self._book.settle, booked, tokens, microusd)
            except UsageFileError as error:
                raise TroubleError("budget", str(error)) from error

    def _trouble_of(self, error: Exception) -> tuple[TroubleError, bool]:
        """Says what an exception of the library means, and whether the call may be charged."""
        import anthropic

        if isinstance(error, anthropic.APIStatusError):
            # An error that comes within a stream has the status of the stream, which had begun.
            return self._of_status(error), error.status_code < 400
        if isinstance(error, anthropic.APITimeoutError):
            return TroubleError("timeout", "no answer in time"), True
        if isinstance(error, (anthropic.APIConnectionError, *_broken_streams())):
            return TroubleError("unreachable", "the API cannot be reached"), True
        if isinstance(error, (anthropic.AnthropicError, *_NONSENSE)):
            return TroubleError("malformed", "the API's answer makes no sense"), True
        raise error

    def _of_status(self, error: anthropic.APIStatusError) -> TroubleError:
        said = one_line(self._key.redact(str(error.api_message or "")), 200)
        words = f"HTTP {error.status_code}" + (f": {said}" if said else "")
        after = _retry_after_s(error.response.headers.get("retry-after"))
        match error.status_code:
            case 401 | 403:
                return TroubleError("bad_key", f"the API key is not accepted ({words})")
            case 402:
                return TroubleError("no_credit", f"the account has no credit ({words})")
            case 429:
                return TroubleError("rate_limited", f"too many requests ({words})", after)
            case _ if error.type == "overloaded_error":
                return TroubleError("overloaded", f"the API is overloaded ({words})", after)
            case _ if error.type == "rate_limit_error":
                return TroubleError("rate_limited", f"too many requests ({words})", after)
            case 529 | 503:
                return TroubleError("overloaded", f"the API is overloaded ({words})", after)
            case status if status < 400:
                return TroubleError("unreachable", f"the API failed in mid-answer ({words})")
            case status if status >= 500 or status == 408:
                return TroubleError("unreachable", f"the API failed ({words})", after)
            case _ if error.type == "billing_error" or "credit balance" in said.lower():
                return TroubleError("no_credit", f"the account has no credit ({words})")
            case _:
                return TroubleError("bad_request", f"the API refused the request ({words})")


_NONSENSE: Final = (ValueError, TypeError, AttributeError, KeyError, IndexError, AssertionError)
"""What the library raises where a stream has not the form that it trusts."""


def _broken_streams() -> tuple[type[Exception], ...]:
    """What a connection that breaks within an answer raises: the transport's own errors."""
    import httpx2

    return (httpx2.TransportError,)


def _text(message: Message) -> str:
    """Returns the text of an answer, without what the model thought."""
    blocks: Any = getattr(message, "content", None)
    if not isinstance(blocks, list):
        return ""
    texts = [getattr(b, "text", "") for b in blocks if getattr(b, "type", "") == "text"]
    return "".join(text for text in texts if isinstance(text, str))


def _tokens(message: Message) -> Tokens:
    """Returns what a message took: the service's own numbers.

    Raises:
        ValueError: it does not say so. The library lets a message pass that lacks any field.
    """
    if getattr(message, "stop_reason", None) is None:
        # Its stream broke off, so the numbers are those of its beginning.
        raise ValueError("a message without an end")
    usage: Any = getattr(message, "usage", None)
    names = (
        "input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens",
    )  # fmt: skip
    counts = [getattr(usage, name, None) for name in names]
    if counts[0] is None or counts[3] is None:
        raise ValueError("a message without usage")
    if any(type(count) not in {int, type(None)} or (count or 0) < 0 for count in counts):
        raise ValueError("usage that is no count")
    return Tokens(*(count or 0 for count in counts))


def _retry_after_s(header: str | None) -> float | None:
    """Seconds that a service asks for; None for no or an odd request."""
    try:
        seconds = float(header or "")
    except ValueError:
        return None
    return min(seconds, 86_400.0) if math.isfinite(seconds) and seconds > 0 else None
