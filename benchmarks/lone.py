"""A lone agent: it proposes, screens, and builds on what held, with nobody to verify it.

It screens as a node does (`node.duties.screens_enough`): a second seed only where the first leaves
doubt. What a swarm would hand to its verifiers, it accepts by itself: no run failed, every pair has
gained, and the mean gain reaches tau. Everything that it needs is an argument, so that the same
lineage comes out of the same seed and the same outcomes.
"""

import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from benchmarks.outcomes import Measured
from node.agent.catalogue import STRUCTURAL, Edit, NotApplicableError, Script, constant_edits
from node.agent.catalogue.constants import STEPS, parse_assignment
from node.agent.proposal import Experience, ExperienceStatus, Proposal, ResearchView
from node.duties import screens_enough
from swarm.source import SourceError, check_source, source_digest

RunScript = Callable[[str, int], Awaitable[Measured]]
"""Runs a script on the screening seed of a number."""


class Searches(Protocol):
    """Finds the next change, or None."""

    def search(self, view: ResearchView, rng: random.Random) -> Proposal | None:
        """Return a change that is neither tried on this head nor claimed."""
        ...


class RandomChoice:
    """Uniform choice among the single edits of the catalogue that are not tried on this head.

    Steps of constants get finer and wilder when the plain ones are used up, as in the search.
    """

    def search(self, view: ResearchView, rng: random.Random) -> Proposal | None:
        """Return a change of the catalogue by lot."""
        script = Script.parse(view.head_source)
        for width in range(len(STEPS)):
            edits: list[Edit] = [*STRUCTURAL.values(), *constant_edits(script, width)]
            rng.shuffle(edits)
            for proposal in _applied(script, edits):
                digest = _digest(proposal.source, view.head_source)
                if digest is not None and digest not in view.tried:
                    return proposal
        return None


def _applied(script: Script, edits: list[Edit]) -> Iterator[Proposal]:
    for edit in edits:
        try:
            source = edit.apply(script).code
        except NotApplicableError:
            continue
        yield Proposal(edit.title, edit.rationale, "", edit.kind, edit.change, source)


def _digest(source: str, parent: str) -> bytes | None:
    try:
        return check_source(source, parent).digest
    except SourceError:
        return None


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment of a lineage.

    Attributes:
        number: Counts from 1.
        kind: Category of the change.
        change: The change.
        status: What came of it.
        gains_micro: Gain on each screening seed.
        head_micro: Metric of the head on the first seed after the experiment.
        depth: Entries of the lineage after it.
    """

    number: int
    kind: str
    change: str
    status: ExperienceStatus
    gains_micro: tuple[int | None, ...]
    head_micro: int
    depth: int


@dataclass
class Lineage:
    """One agent's research from a first script.

    Attributes:
        search: Who proposes.
        rng: Its chance.
        run: Runs scripts.
        tau_micro: Smallest gain that matters.
        head: The present script.
        heads: The script after each experiment, beginning with the first script.
        experiments: What was tried.
        experiences: The same as the proposer is told.
        tried: Digests of scripts tried on the head.
        duplicates: Scripts that were run twice on one head.
    """

    search: Searches
    rng: random.Random
    run: RunScript
    tau_micro: int
    head: str
    heads: list[str] = field(default_factory=list)
    experiments: list[Experiment] = field(default_factory=list)
    experiences: list[Experience] = field(default_factory=list)
    tried: set[bytes] = field(default_factory=set)
    duplicates: int = 0

    def __post_init__(self) -> None:
        self.heads.append(self.head)

    async def step(self) -> bool:
        """Do one experiment; False if the search has none left."""
        entry = source_digest(self.head)
        view = ResearchView(
            entry, self.head, frozenset(self.tried), frozenset(), tuple(self.experiences)
        )
        proposal = self.search.search(view, self.rng)
        if proposal is None:
            return False
        digest = check_source(proposal.source, self.head).digest
        self.duplicates += digest in self.tried or digest == entry
        self.tried.add(digest)
        gains, failure = await self._screen(proposal.source)
        numbers = [gain for gain in gains if gain is not None]
        mean = sum(numbers) // len(numbers) if numbers else None
        accepted = (
            failure is None and min(numbers) > 0 and sum(numbers) >= self.tau_micro * len(gains)
        )
        status: ExperienceStatus = (
            "crashed" if failure is not None else "verified" if accepted else "screened_out"
        )
        assignment = parse_assignment(proposal.change)
        name = "" if assignment is None else assignment[0]
        self.experiences.append(
            Experience(
                proposal.kind, proposal.change, entry, True, status, mean, self.tau_micro,
                proposal.title, before=Script.parse(self.head).constants().get(name),
            )
        )  # fmt: skip
        if accepted:
            self.head = proposal.source
            self.tried = set()
            self.experiences = [replace(item, on_head=False) for item in self.experiences]
        self.heads.append(self.head)
        now = await self.run(self.head, 0)
        assert now.metric_micro is not None
        depth = (self.experiments[-1].depth if self.experiments else 0) + accepted
        self.experiments.append(
            Experiment(
                len(self.experiments) + 1, proposal.kind, proposal.change, status, tuple(gains),
                now.metric_micro, depth,
            )
        )  # fmt: skip
        return True

    async def _screen(self, source: str) -> tuple[list[int | None], str | None]:
        """Gains on this agent's seeds, and how the last run failed, if it did."""
        gains: list[int | None] = []
        while not screens_enough(gains, self.tau_micro):
            before = await self.run(self.head, len(gains))
            after = await self.run(source, len(gains))
            if before.metric_micro is None or after.metric_micro is None:
                return [*gains, None], after.status
            gains.append(before.metric_micro - after.metric_micro)
        return gains, None
