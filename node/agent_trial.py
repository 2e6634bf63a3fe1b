"""One question to the language model, outside any node: for a person who wants to see it."""

import os
import random
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from node.agency import describe_task, make_claude
from node.agent.checking import check_proposal
from node.agent.claude import ApiKey, ClaudeProposer, Exchange
from node.agent.proposal import RejectedError, ResearchView
from node.agent.trouble import TroubleError
from node.blobs import BlobStore
from node.config import Config
from node.errors import NodeError
from node.home import Home
from node.offline import fold_home
from node.recollection import KeptConstants, recollect
from swarm.source import SourceError, source_digest
from trainer.job import TrainerError
from trainer.task import Task, load_task, open_bundle


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of the question.

    Attributes:
        text: Prompt, answer, checks and cost, for a person.
        accepted: Whether the answer would have been run.
    """

    text: str
    accepted: bool


async def try_once(
    home: Home, config: Config, key: ApiKey, task_directory: Path, tier: str
) -> Trial:
    """Ask once.

    Args:
        home: Whose head is asked about, and whose budget pays.
        config: The model and the limits.
        key: The API key.
        task_directory: The task to ask about in a home without a swarm.
        tier: Its tier.

    Raises:
        NodeError: There is nothing to ask about, or no answer.
    """
    try:
        if home.database.exists():
            task, tier, view = _of_home(home)
        else:
            task = load_task(task_directory)
            view = ResearchView(
                bytes(32), task.genesis_script(tier), frozenset(), frozenset(), (), task.entry
            )
    except TrainerError as error:
        raise NodeError(str(error)) from error
    claude = make_claude(config, home, key, describe_task(task, tier, home))
    try:
        return await _ask(claude, view)
    except TroubleError as error:
        raise NodeError(f"no proposal ({error.kind.replace('_', ' ')}): {error}") from error
    finally:
        await claude.close()


async def _ask(claude: ClaudeProposer, view: ResearchView) -> Trial:
    rng = random.Random(os.urandom(8))
    try:
        proposal = await claude.propose(view, rng)
        assert proposal is not None
        check_proposal(proposal, view)
    except RejectedError as error:
        words, accepted = f"rejected: {error.reason}", False
    else:
        words, accepted = "accepted: a node would run it for a few steps, and then in full", True
    assert claude.last is not None
    return Trial(_describe(claude.last, words), accepted)


def _describe(exchange: Exchange, words: str) -> str:
    prompt, tokens = exchange.prompt, exchange.tokens
    return "\n\n".join(
        (
            "--- system (cached)\n" + prompt.system,
            "--- task, programme and script (cached)\n" + prompt.fixed,
            "--- memory\n" + prompt.changing,
            "--- answer\n" + exchange.answer,
            "--- check\n" + words,
            f"--- cost\n${exchange.microusd / 1e6:.4f}: {tokens.fresh} tokens read,"
            f" {tokens.cache_write} written to the cache, {tokens.cache_read} read from it,"
            f" {tokens.output} answered",
        )
    )


def _of_home(home: Home) -> tuple[Task, str, ResearchView]:
    """The task, tier and memory of the swarm that a home belongs to."""
    ledger, blobs = fold_home(home), BlobStore(home.blobs)
    bundle = blobs.read(ledger.genesis_body.task.digest)
    script = blobs.read(ledger.head.source)
    if bundle is None or script is None:
        raise NodeError("the task or the head's script is not here yet; let the node join first")
    task = open_bundle(bundle)
    past = recollect(ledger, partial(_digest, blobs), KeptConstants(partial(_text, blobs)))
    view = ResearchView(
        head_id=ledger.head.id,
        head_source=script.decode(errors="replace"),
        tried=frozenset(past.tried),
        claims=frozenset(),
        experiences=past.experiences,
        entry=task.entry,
    )
    return task, ledger.genesis_body.tier, view


def _text(blobs: BlobStore, source: bytes) -> str | None:
    raw = blobs.read(source)
    return None if raw is None else raw.decode(errors="replace")


def _digest(blobs: BlobStore, source: bytes) -> bytes | None:
    text = _text(blobs, source)
    try:
        return None if text is None else source_digest(text)
    except SourceError:
        return None
