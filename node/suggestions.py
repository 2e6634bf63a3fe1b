"""Changes that a person puts in: they wait here until a worker screens them, before agent ideas.

A suggestion is made against the head of its moment. When the head moves before it was run, it is
merged onto the new one (`node.merge3`); a conflict is told to the person and drops it. Suggestions
are kept in memory: until they were screened, nothing of them is a record.
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
from node.errors import NodeError, UsageError
from node.merge3 import Conflict, MergeUnavailableError
from node.merge_sources import describe_change, merge_sources
from node.workbench import Tools
from protocol.schema import printable
from protocol.sources import SourcesError, holds_files, join_files, split_files
from swarm.source import SourceError

_WAITING_MAX: Final = 100
_CATEGORY: Final = "person"


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One person's change.

    Attributes:
        base: The script that it was made for.
        checked: The change, checked against the head.
    """

    base: str
    checked: Checked


class Suggestions:
    """The suggestions that wait.

    Args:
        tools: What the node's workers work with.
    """

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._waiting: deque[Suggestion] = deque()

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
            NodeError: Too many wait.
        """
        if len(self._waiting) >= _WAITING_MAX:
            raise NodeError(f"{_WAITING_MAX} changes wait already; try again later")
        source = source.replace("\r\n", "\n").replace("\r", "\n")
        try:
            source = _completed(view.head_source, source)
            change = await trio.to_thread.run_sync(describe_change, view.head_source, source)
            title = one_line(title, TITLE_CHARS_MAX) or one_line(change, TITLE_CHARS_MAX)
            proposal = Proposal(
                title=title,
                rationale=printable(rationale, 4 * RATIONALE_CHARS_MAX, lines=True)[
                    :RATIONALE_CHARS_MAX
                ],
                expected_effect="",
                kind=_CATEGORY,
                change=one_line(change, CHANGE_CHARS_MAX),
                source=source,
                proposer="person",
            )
            # A worker may have taken the same change from here while this one was looked at.
            claims = self._tools.claims.on(view.head_id, trio.current_time())
            checked = check_proposal(proposal, replace(view, claims=claims))
        except (SourceError, SourcesError, RejectedError) as error:
            raise UsageError(f"this change cannot be tested: {error}") from error
        if any(item.checked.digest == checked.digest for item in self._waiting):
            raise UsageError("this change cannot be tested: it waits here already")
        suggestion = Suggestion(view.head_source, checked)
        self._waiting.append(suggestion)
        self._tools.tell(f"a person proposes “{title}”")
        return suggestion

    async def take(self, view: ResearchView) -> Suggestion | None:
        """The next suggestion, made for the present head; None when none is left."""
        while self._waiting:
            suggestion = self._waiting.popleft()
            proposal = suggestion.checked.proposal
            try:
                if suggestion.base != view.head_source:
                    merged = await trio.to_thread.run_sync(
                        merge_sources, suggestion.base, view.head_source, proposal.source
                    )
                    if isinstance(merged, Conflict):
                        places = ", ".join(sorted({clash.where for clash in merged.clashes}))
                        raise RejectedError(f"the new head changes the same: {places}")
                    proposal = replace(proposal, source=merged.source)
                return Suggestion(view.head_source, check_proposal(proposal, view))
            except (SourceError, RejectedError, MergeUnavailableError) as error:
                self._tools.tell(f"dropped a person's “{proposal.title}”: {error}")
        return None

    def put_back(self, suggestion: Suggestion) -> None:
        """Let a suggestion that was not run to its end be the next one again."""
        self._waiting.appendleft(suggestion)


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
