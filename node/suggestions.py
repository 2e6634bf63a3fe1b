"""Changes that a person puts in: they wait here until a worker screens them, before agent ideas.

A suggestion is made against the head of its moment. When the head moves before it was run, it is
merged onto the new one (`node.merge3`); a conflict is told to the person and drops it. Until it was
screened nothing of it is a record, so it is kept as a draft (`node.drafts`): one that was
acknowledged outlives the node's restart.
"""

from collections import deque
from dataclasses import dataclass, replace
from typing import Final

import trio

from node.agent.checking import Checked, check_proposal
from node.agent.proposal import (
    CHANGE_CHARS_MAX,
    RATIONALE_CHARS_MAX,
    TITLE_CHARS_MAX,
    Proposal,
    RejectedError,
    ResearchView,
    one_line,
)
from node.drafts import Draft
from node.errors import NodeError, StoreError, UsageError
from node.merge3 import Conflict, MergeUnavailableError
from node.merge_sources import describe_change, merge_sources
from node.workbench import Tools
from protocol.schema import printable
from protocol.sources import SourcesError, holds_files, join_files, split_files
from swarm.source import SourceError, source_digest

_WAITING_MAX: Final = 100
_CATEGORY: Final = "person"


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One person's change.

    Attributes:
        draft: What was put in.
        base: The script that the change is made for: the draft's, or a later head's.
        checked: The change, checked against that script.
    """

    draft: Draft
    base: str
    checked: Checked


class Suggestions:
    """The suggestions that wait.

    Args:
        tools: What the node's workers work with.
    """

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._waiting: deque[Draft] = deque()
        self._waiting.extend(tools.drafts)

    def __len__(self) -> int:
        return len(self._waiting)

    async def add(self, view: ResearchView, source: str, title: str, rationale: str) -> Suggestion:
        """Check a person's change against the head and let it wait.

        Args:
            view: What is known now.
            source: The whole changed script.
            title: One line; empty for a description of what is changed.
            rationale: Why it should help.

        Raises:
            UsageError: It cannot be run, or has been already; the text says why.
            NodeError: Too many wait, or it cannot be kept.
        """
        if len(self._waiting) >= _WAITING_MAX:
            raise NodeError(f"{_WAITING_MAX} changes wait already; try again later")
        source = source.replace("\r\n", "\n").replace("\r", "\n")
        try:
            source = _completed(view.head_source, source)
            change = await trio.to_thread.run_sync(describe_change, view.head_source, source)
            draft = Draft(
                base=view.head_source,
                source=source,
                title=one_line(title, TITLE_CHARS_MAX) or one_line(change, TITLE_CHARS_MAX),
                rationale=printable(rationale, 4 * RATIONALE_CHARS_MAX, lines=True)[
                    :RATIONALE_CHARS_MAX
                ],
                change=one_line(change, CHANGE_CHARS_MAX),
            )
            # A worker may have taken the same change from here while this one was looked at.
            claims = self._tools.claims.on(view.head_id, trio.current_time())
            checked = check_proposal(_proposal(draft, source), replace(view, claims=claims))
        except (SourceError, SourcesError, RejectedError) as error:
            raise UsageError(f"this change cannot be tested: {error}") from error
        if any(_same(waiting.source, checked.digest) for waiting in self._waiting):
            raise UsageError("this change cannot be tested: it waits here already")
        self._waiting.append(draft)
        try:
            await trio.to_thread.run_sync(self._tools.drafts.keep, draft)
        except StoreError:
            if draft in self._waiting:
                self._waiting.remove(draft)
            raise
        self._tools.tell(f"a person proposes “{draft.title}”")
        return Suggestion(draft, view.head_source, checked)

    async def take(self, view: ResearchView) -> Suggestion | None:
        """The next suggestion, made for the present head; None when none is left."""
        # A claim of this node's own is left from an earlier try.
        claims = self._tools.claims.on(
            view.head_id, trio.current_time(), passing_over=self._tools.me
        )
        view = replace(view, claims=claims)
        while self._waiting:
            draft = self._waiting.popleft()
            try:
                source = draft.source
                if draft.base != view.head_source:
                    merged = await trio.to_thread.run_sync(
                        merge_sources, draft.base, view.head_source, source
                    )
                    if isinstance(merged, Conflict):
                        places = ", ".join(sorted({clash.where for clash in merged.clashes}))
                        raise RejectedError(f"the new head changes the same: {places}")
                    source = merged.source
                checked = check_proposal(_proposal(draft, source), view)
                return Suggestion(draft, view.head_source, checked)
            except (SourceError, RejectedError, MergeUnavailableError) as error:
                self._tools.tell(f"dropped a person's “{draft.title}”: {error}")
                self._tools.drafts.forget(draft)
        return None

    def put_back(self, suggestion: Suggestion) -> None:
        """Let a suggestion that was not run to its end be the next one again."""
        self._waiting.appendleft(suggestion.draft)

    def done(self, suggestion: Suggestion) -> None:
        """Forget a suggestion that has become a record."""
        self._tools.drafts.forget(suggestion.draft)


def _proposal(draft: Draft, source: str) -> Proposal:
    """A draft as the worker's gate knows it; what a file holds may be longer than was put in."""
    return Proposal(
        title=one_line(draft.title, TITLE_CHARS_MAX) or "a person's change",
        rationale=draft.rationale[:RATIONALE_CHARS_MAX],
        expected_effect="",
        kind=_CATEGORY,
        change=one_line(draft.change, CHANGE_CHARS_MAX) or "by hand",
        source=source,
        proposer="person",
    )


def _completed(head: str, source: str) -> str:
    """A person's files together with those of the head that they left alone.

    Raises:
        SourcesError: The texts do not hold files as they should.
    """
    if not holds_files(source):
        return source
    files = split_files(source)
    if holds_files(head):
        return join_files({**split_files(head), **files})
    # One script, whatever its file is called.
    return next(iter(files.values())) if len(files) == 1 else source


def _same(source: str, digest: bytes) -> bool:
    try:
        return source_digest(source) == digest
    except SourceError:
        return False
