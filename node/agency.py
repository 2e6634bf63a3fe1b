"""Who proposes on this node, and what that costs.

This file decides which proposer runs under which setting, and reads the API key. The key comes from
the environment alone, is taken out of it, so that no process that this one starts inherits it, and
goes nowhere but into the API's header.
"""

import logging
import os
import random
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from node import clock
from node.agent.choice import FallbackProposer
from node.agent.claude import DEFAULT_MODEL, ApiKey, ClaudeProposer, ClaudeSettings
from node.agent.offline import PLATEAU_EXPERIENCES, STAGES, OfflineProposer
from node.agent.prices import PRICES, Price
from node.agent.prompt import PROGRAM_CHARS_MAX, TaskFacts
from node.agent.proposal import Proposal, Proposer, Rejection, ResearchView
from node.agent.usage import Caps, UsageBook, UsageFileError
from node.config import Config
from node.errors import UsageError
from node.home import Home
from trainer.task import Task

KEY_VARIABLE: Final = "ANTHROPIC_API_KEY"
_PROGRAM: Final = "program.md"

_log = logging.getLogger(__name__)


def take_api_key(environment: MutableMapping[str, str]) -> ApiKey | None:
    """Take the key out of the environment; None where there is none."""
    value = environment.pop(KEY_VARIABLE, "").strip()
    return ApiKey(value) if value else None


class SteadySearch:
    """The offline search, which says when it has to widen, and never ends a worker.

    Args:
        search: The search.
        tell: Tells people.

    Attributes:
        said: How the search has widened, or why it has nothing; empty while all is well.
    """

    def __init__(self, search: OfflineProposer, tell: Callable[[str], None]) -> None:
        self._search = search
        self._tell = tell
        self.said = ""

    async def propose(
        self, view: ResearchView, rng: random.Random, rejection: Rejection | None = None
    ) -> Proposal | None:
        """Return a proposal, or None with a word about why."""
        try:
            proposal = await self._search.propose(view, rng, rejection)
        except Exception as error:  # noqa: BLE001 - a defect of the search must not end the node
            _log.exception("the offline agent failed")
            self._say(f"the offline agent failed ({type(error).__name__}); it goes on")
            return None
        if proposal is None:
            self._say("the offline agent has nothing left for this head; it waits for a new one")
        else:
            self._say_how_wide()
        return proposal

    def _say_how_wide(self) -> None:
        stage, dry = self._search.stage, self._search.dry
        plateau = dry >= PLATEAU_EXPERIENCES
        if stage == 0:
            self.said = ""
        elif stage >= STAGES:
            self._say("every step is tried on this head: random bundles of constants now")
        elif plateau:
            self._say(
                "a plateau: nothing has gained on this head for long; wilder steps, more bundles,"
                " and what failed on older heads again"
            )
        else:
            self._say("the catalogue is exhausted on this head: finer and wilder steps now")

    def _say(self, text: str) -> None:
        if text != self.said:
            self.said = text
            self._tell(text)


@dataclass(frozen=True, slots=True)
class Agency:
    """The proposer of a node, and what is shown of it.

    Attributes:
        proposer: Who is asked; None for a node that only verifies.
        mode: `claude`, `offline` or `none`.
        model: The language model's name; empty without one.
        book: What a model has cost here; None when none was ever asked.
        config: The limits; None without one.
        search: The offline search, alone or in Claude's place.
    """

    proposer: Proposer | None
    mode: str
    model: str = ""
    book: UsageBook | None = None
    config: Config | None = None
    search: SteadySearch | None = None

    def status(self) -> dict[str, Any]:
        """What the status shows: the mode, the latest trouble, the search, and the costs."""
        shown: dict[str, Any] = {"mode": self.mode, "model": self.model, "trouble": ""}
        shown["search"] = "" if self.search is None else self.search.said
        if isinstance(self.proposer, FallbackProposer) and self.proposer.trouble is not None:
            trouble = self.proposer.trouble
            shown["trouble"] = f"{trouble.kind.replace('_', ' ')}: {trouble}"
        if self.book is not None and self.config is not None:
            try:
                total, today = self.book.used()
            except UsageFileError as error:
                shown["trouble"] = str(error)
            else:
                shown |= {
                    "calls": total.calls,
                    "tokens": total.tokens,
                    "usd": total.microusd / 1e6,
                    "usd_today": today.microusd / 1e6,
                    "max_usd": self.config.agent_max_usd,
                    "max_usd_per_day": self.config.agent_max_usd_per_day,
                }
        return shown


def open_book(config: Config, home: Home) -> UsageBook:
    """The book of a home, with the limits of its configuration."""
    caps = Caps(
        microusd=round(config.agent_max_usd * 1e6),
        microusd_per_day=round(config.agent_max_usd_per_day * 1e6),
        tokens=config.agent_max_tokens,
        tokens_per_day=config.agent_max_tokens_per_day,
    )
    return UsageBook(home.agent_usage, caps, clock.now_ms)


def check_agent(config: Config, key: ApiKey | None) -> None:
    """Refuse at start what could only fail later.

    Raises:
        UsageError: Claude is wanted, and there is no key or no price.
    """
    if config.agent == "claude" and key is None:
        raise UsageError(f"--agent claude needs an API key in {KEY_VARIABLE}")
    if key is not None and config.agent in {"auto", "claude"}:
        _settings(config)


def _settings(config: Config) -> ClaudeSettings:
    model = config.agent_model or DEFAULT_MODEL
    price = PRICES.get(model)
    if config.agent_price_usd is not None:
        price = Price(*config.agent_price_usd)
    if price is None:
        raise UsageError(
            f"no price is known for the model {model!r}, so no budget could be kept: set"
            " agent_price_usd = [input, output] in config.toml, in dollars per million tokens"
        )
    return ClaudeSettings(model, price, config.agent_effort)


def make_claude(config: Config, home: Home, key: ApiKey, facts: TaskFacts) -> ClaudeProposer:
    """Claude, as it is configured.

    Raises:
        UsageError: Nobody knows what the model costs.
    """
    settings = _settings(config)
    book = open_book(config, home)
    return ClaudeProposer(key, settings, book, facts, secret=os.urandom(32))


def make_agency(
    config: Config,
    home: Home,
    key: ApiKey | None,
    facts: TaskFacts,
    *,
    tell: Callable[[str], None],
    now_s: Callable[[], float],
) -> Agency:
    """Choose the proposer of a node.

    Args:
        config: What is wanted.
        home: Where costs are kept.
        key: The API key, if there is one.
        facts: What a model is told of the task.
        tell: Tells people.
        now_s: A clock that only goes forward.

    Raises:
        UsageError: Claude is wanted, and there is no key or no price.
    """
    check_agent(config, key)
    # What a model has cost here before is still told when none is asked any more.
    book = open_book(config, home) if home.agent_usage.exists() else None
    if config.agent == "none":
        return Agency(None, "none", book=book, config=config)
    search = SteadySearch(OfflineProposer(), tell)
    if key is None or config.agent == "offline":
        return Agency(search, "offline", book=book, config=config, search=search)
    claude = make_claude(config, home, key, facts)
    both = FallbackProposer(claude, search, tell, now_s)
    model = config.agent_model or DEFAULT_MODEL
    return Agency(both, "claude", model, open_book(config, home), config, search)


def describe_task(task: Task, tier: str, home: Home) -> TaskFacts:
    """What a model is told of a task: the owner's programme instead of the task's, if there is one.

    Raises:
        UsageError: The owner's programme cannot be read.
    """
    program = task.files.get(_PROGRAM, b"").decode(errors="replace")
    try:
        with home.program.open(encoding="utf-8") as file:
            program = file.read(PROGRAM_CHARS_MAX)
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {home.program}: {error}") from error
    budget = task.tier(tier).budget
    better = "less" if task.metric.direction == "min" else "more"
    return TaskFacts(
        title=task.title,
        metric=f"{task.metric.name} in {task.metric.unit}, {better} is better",
        budget=f"{budget.amount:,} {budget.kind} (tier {tier})",
        program=program,
    )
