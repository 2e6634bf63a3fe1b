"""What this node does right now, and what happened lately: for people, never for decisions."""

import logging
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

WorkState: TypeAlias = Literal[
    "starting",
    "idle",
    "proposing",
    "screening",
    "verifying",
    "rechecking",
    "paused",
    "finished",
]

_FEED_MAX: Final = 500

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Work:
    """What one worker does.

    Attributes:
        state: The kind of work.
        hypothesis: Record id of the hypothesis; None while there is none or it has no id yet.
        title: Its title.
        pair: Number of the pair that runs.
        arm: `parent` or `child`.
        progress: Share of the run that is done, 0 to 1.
    """

    state: WorkState
    hypothesis: bytes | None = None
    title: str = ""
    pair: int | None = None
    arm: str = ""
    progress: float = 0.0


@dataclass(frozen=True, slots=True)
class FeedItem:
    """One line of news.

    Attributes:
        sequence: Counts up from 0.
        at_ms: Wall clock.
        text: One line, written here; parts that peers wrote are quoted.
        hypothesis: Record id that it is about, if any.
    """

    sequence: int
    at_ms: int
    text: str
    hypothesis: bytes | None


@dataclass(slots=True)
class Activity:
    """The node's present work, one item a worker, and its feed.

    Attributes:
        device: The hardware, in words.
        workers: What each worker does.
        feed: The latest news, oldest first.
        busy_s: Seconds of worker time spent so far, by kind of work.
    """

    device: str
    workers: list[Work]
    feed: deque[FeedItem] = field(default_factory=lambda: deque(maxlen=_FEED_MAX))
    busy_s: dict[WorkState, float] = field(default_factory=dict)
    _count: int = 0

    def begin(self, worker: int, work: Work) -> None:
        """Say what a worker does from now on."""
        self.workers[worker] = work

    def progress(self, worker: int, share: float) -> None:
        """Say how far a worker's run is."""
        self.workers[worker] = replace(self.workers[worker], progress=share)

    def spent(self, state: WorkState, seconds: float) -> None:
        """Book worker time."""
        self.busy_s[state] = self.busy_s.get(state, 0.0) + seconds

    def news(self, at_ms: int, text: str, hypothesis: bytes | None = None) -> None:
        """Add a line to the feed, and to the log, which outlives the node."""
        _log.info("%s", text)
        self.feed.append(FeedItem(self._count, at_ms, text, hypothesis))
        self._count += 1
