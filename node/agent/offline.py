"""The agent that needs no model and no network: a bandit over the catalogue.

This file decides which change of the catalogue is proposed next. It refuses to know how changes
are written and how they are tested.

Theory of operation. Three sources of candidates, in turn:

1. *Due again*: changes that did well on an older head and are not in the present one. Most
   proposals come from here while there are any.
2. *Singles*: every edit that the head's script has a place for. By Thompson sampling each kind puts
   forward its best change, and one of these wins: one draw from what is believed of each decides.
   Kinds come first so that a kind with many constants gets no more attention for it.
3. *Bundles* of two or three edits of different kinds, because some pay only together.

When all that a width offers has been tried on this head, the next width adds finer and wilder steps
of constants; beyond the last width, bundles of constants are drawn at random without end. A head on
which nothing has gained for long is a plateau: the search then begins at the next width, draws more
bundles, and trusts less in what was measured on other heads, so that it is tried again. What was
tried on the head or is claimed by a peer is skipped by the normalised digest of the script itself,
so that a new spelling of an old change does not pass either. Each node brings its own randomness,
which spreads the swarm over the candidates.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Final

import trio

from node.agent.beliefs import DUE_UNITS, OLDER_WEIGHT, Beliefs, effect_units
from node.agent.catalogue import (
    STRUCTURAL,
    AnyEdit,
    Document,
    Files,
    NotApplicableError,
    apply_edits,
    bundle_change,
    find_edits,
    read_document,
    structural_edits,
    value_edits,
)
from node.agent.catalogue.constants import CONSTANTS, STEPS, constant_edit
from node.agent.proposal import (
    CHANGE_CHARS_MAX,
    RATIONALE_CHARS_MAX,
    TITLE_CHARS_MAX,
    Proposal,
    one_line,
)
from swarm.source import NormalSource, SourceError, check_growth, normalise

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

    from node.agent.proposal import Rejection, ResearchView

DUE_SHARE: Final = 0.75
"""Share of proposals that take up a change that is due again, while there is one."""

BUNDLE_SHARE: Final = 0.12
"""Share of proposals that are bundles from the start; more when bundles do well."""

EXPERIENCES_MAX: Final = 2_000
"""How many of the latest experiences are looked at."""

BUNDLE_TRIES_MAX: Final = 40
"""How many bundles are drawn before the search widens."""

PLATEAU_EXPERIENCES: Final = 24
"""So many experiences on a head without a gain, and the search widens before it is at its end."""

GAIN_UNITS: Final = math.log1p(1.0)
"""Effect of a gain of tau."""

STAGES: Final = len(STEPS)
"""Widths of the search before it becomes random."""

RANDOM_TRIES_MAX: Final = 400
"""How many random bundles are drawn, beyond the last width, before giving up."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Candidate:
    """Edits that are tried together, with the category under which they are counted."""

    kind: str
    edits: tuple[AnyEdit, ...]

    @property
    def change(self) -> str:
        return bundle_change(self.edits)


class OfflineProposer:
    """Proposes changes of the catalogue by what the swarm has learnt about them.

    Attributes:
        stage: how wide the search for the latest proposal had to be: 0 for the catalogue itself,
            `STAGES` and above for random values of several constants.
        dry: how many experiences the head has seen since its last gain, at that proposal.
    """

    def __init__(self) -> None:
        # Which edits apply depends on the head alone, and a head lasts for many proposals. The pair
        # is replaced as one, because workers ask from threads of their own.
        self._kept: tuple[str, _Head | None] | None = None
        self.stage = 0
        self.dry = 0

    async def propose(
        self, view: ResearchView, rng: random.Random, rejection: Rejection | None = None
    ) -> Proposal | None:
        """Searches in a thread: a large memory takes a moment, in which the node goes on.

        What was rejected is not remembered: the search is random, and the next draw is another one.
        """
        del rejection
        return await trio.to_thread.run_sync(self.search, view, rng)

    def search(self, view: ResearchView, rng: random.Random) -> Proposal | None:
        """Returns a change that is neither tried on this head nor claimed.

        None is returned only if the head's script has no place for any edit that is left.
        """
        head = self._head_of(view.head_source)
        if head is None:
            return None
        search = _Search(view, head, rng)
        for candidate in search.candidates():
            proposal = search.accept(candidate)
            if proposal is not None:
                self.stage, self.dry = search.stage, search.dry
                return proposal
        return None

    def _head_of(self, source: str) -> _Head | None:
        """Returns what is known of a head's script, or None if it cannot be edited."""
        kept = self._kept
        if kept is not None and kept[0] == source:
            return kept[1]
        try:
            head = _Head(read_document(source), normalise(source))
        except (NotApplicableError, SourceError):
            head = None
        self._kept = (source, head)
        return head


class _Head:
    """The head's script and the single edits that apply to it, found once per width."""

    def __init__(self, script: Document, normal: NormalSource) -> None:
        self.script = script
        self.normal = normal
        self._structural = [
            _Candidate(edit.kind, (edit,))
            for edit in structural_edits(script)
            if self._applies(edit)
        ]
        self._widths: dict[int, list[_Candidate]] = {}

    def singles(self, width: int) -> list[_Candidate]:
        """Returns every single edit that applies, with the steps of constants up to a width."""
        if width not in self._widths:
            steps = value_edits(self.script, width)
            constants = [_Candidate(edit.kind, (edit,)) for edit in steps]
            self._widths[width] = self._structural + constants
        return self._widths[width]

    def lost(self, change: str) -> bool:
        """Returns whether a change of one file among several has no place here, or is in."""
        if not isinstance(self.script, Files):
            return False
        edits = find_edits(change)
        return len(edits) == 1 and not self._applies(edits[0])

    def _applies(self, edit: AnyEdit) -> bool:
        try:
            edit.apply(self.script)
        except NotApplicableError:
            return False
        return True


class _Search:
    """One search for one proposal."""

    def __init__(self, view: ResearchView, head: _Head, rng: random.Random) -> None:
        self.stage = 0
        self._view = view
        self._head = head
        self._script = head.script
        self._rng = rng
        self._experiences = view.experiences[-EXPERIENCES_MAX:]
        self._tried_changes = {e.change for e in self._experiences if e.on_head}
        self._spent = self._find_spent()
        self.dry = self._count_dry()
        self.wide = min(len(STEPS) - 1, self.dry // PLATEAU_EXPERIENCES)
        constants = {name: float(value) for name, value in head.script.constants().items()}
        # On a plateau what is known of other heads fades, so that it is tried once more.
        older_weight = OLDER_WEIGHT / (1 + self.wide)
        self._beliefs = Beliefs(
            self._experiences, self._spent, constants, older_weight=older_weight
        )

    def candidates(self) -> Iterator[_Candidate]:
        """Yields candidates in the order in which they should be tried, without end in practice."""
        due = self._due()
        if due and self._rng.random() < DUE_SHARE:
            yield from due
        for width in range(self.wide, len(STEPS)):
            self.stage = width
            singles = self._head.singles(width)
            if self._rng.random() < BUNDLE_SHARE + self._bundle_bonus() + 0.1 * self.wide:
                yield from self._bundles(singles, 3)
            yield from self._by_kind(singles)
            yield from self._bundles(singles, BUNDLE_TRIES_MAX)
        self.stage = len(STEPS)
        yield from self._random_bundles()

    def accept(self, candidate: _Candidate) -> Proposal | None:
        """Returns the proposal that a candidate makes, or None if it is old, claimed or invalid."""
        change = candidate.change
        if len(change) > CHANGE_CHARS_MAX or (len(candidate.edits) == 1 and self._seen(change)):
            return None
        try:
            source = apply_edits(self._script, candidate.edits).code
            child = normalise(source)
            check_growth(child, self._head.normal)
        except (NotApplicableError, SourceError):
            return None
        if child.digest == self._head.normal.digest:
            return None
        if child.digest in self._view.tried or child.digest in self._view.claims:
            return None
        return Proposal(
            title=one_line("; ".join(edit.title for edit in candidate.edits), TITLE_CHARS_MAX),
            rationale=one_line(self._rationale(candidate), RATIONALE_CHARS_MAX),
            expected_effect=one_line(
                " ".join(dict.fromkeys(edit.expected_effect for edit in candidate.edits)),
                RATIONALE_CHARS_MAX,
            ),
            kind=candidate.kind,
            change=change,
            source=source,
        )

    def _seen(self, change: str) -> bool:
        """Returns whether this head has an experience of the change, which saves applying it."""
        return change in self._tried_changes

    def _rationale(self, candidate: _Candidate) -> str:
        parts = [edit.rationale for edit in candidate.edits]
        if len(parts) > 1:
            parts.append("Together, because some changes pay only with one another.")
        past = [
            units
            for e in self._experiences
            if e.change == candidate.change and not e.on_head
            if (units := effect_units(e)) is not None
        ]
        if past:
            helped = sum(units > 0 for units in past)
            parts.append(f"On older heads it helped in {helped} of {len(past)} trials.")
        return " ".join(parts)

    def _find_spent(self) -> frozenset[str]:
        """Returns the changes of past experiences that have no place in the head any more."""
        singles = {candidate.change for candidate in self._head.singles(0)}
        present = {f"{name}={value!r}" for name, value in self._script.constants().items()}
        spent = set()
        for change in {e.change for e in self._experiences}:
            gone = change in STRUCTURAL and change not in singles
            if gone or change in present or self._head.lost(change):
                spent.add(change)
        return frozenset(spent)

    def _due(self) -> list[_Candidate]:
        """Returns what did well on older heads, most promising first by one draw each."""
        best: dict[str, float] = {}
        for experience in self._experiences:
            units = effect_units(experience)
            if units is None or experience.on_head:
                continue
            if experience.change in self._tried_changes or experience.change in self._spent:
                continue
            best[experience.change] = max(units, best.get(experience.change, -math.inf))
        drawn: list[tuple[float, _Candidate]] = []
        for change, units in best.items():
            edits = find_edits(change) if units >= DUE_UNITS else ()
            if not edits:
                continue
            kind = edits[0].kind if len(edits) == 1 else "bundle"
            drawn.append(
                (self._beliefs.draw_change(kind, change, self._rng), _Candidate(kind, edits))
            )
        drawn.sort(key=lambda pair: -pair[0])
        return [candidate for _, candidate in drawn]

    def _by_kind(self, singles: Sequence[_Candidate]) -> Iterator[_Candidate]:
        """Yields singles: the kind with the largest draw first, then the change within it."""
        left: dict[str, list[_Candidate]] = {}
        for candidate in singles:
            if not self._seen(candidate.change):
                left.setdefault(candidate.kind, []).append(candidate)
        while left:
            best = {kind: max(left[kind], key=self._draw) for kind in sorted(left)}
            # A fresh draw: the largest of many would favour kinds with many changes.
            kind = max(best, key=lambda name: self._draw(best[name]))
            left[kind].remove(best[kind])
            if not left[kind]:
                del left[kind]
            yield best[kind]

    def _count_dry(self) -> int:
        """How many experiences on this head, to the latest, have brought nothing worth having."""
        count = 0
        for experience in reversed(self._experiences):
            if experience.on_head:
                units = effect_units(experience)
                if units is not None and units >= GAIN_UNITS:
                    break
                count += 1
        return count

    def _draw(self, candidate: _Candidate) -> float:
        return self._beliefs.draw_change(candidate.kind, candidate.change, self._rng)

    def _bundle_bonus(self) -> float:
        """Returns how much more often bundles are tried because they did well."""
        return max(0.0, min(0.3, 0.2 * self._beliefs.kind("bundle").mean - 0.06))

    def _bundles(self, singles: Sequence[_Candidate], tries: int) -> Iterator[_Candidate]:
        """Yields bundles of edits of different kinds, each chosen by a draw of its own."""
        by_kind: dict[str, list[_Candidate]] = {}
        for candidate in singles:
            by_kind.setdefault(candidate.kind, []).append(candidate)
        for _ in range(tries):
            count = min(self._rng.choice((2, 2, 3)), len(by_kind))
            if count < 2:
                return
            order = sorted(by_kind, key=lambda k: -self._beliefs.draw_kind(k, self._rng))
            chosen = [max(by_kind[kind], key=self._draw) for kind in order[:count]]
            edits = tuple(edit for candidate in chosen for edit in candidate.edits)
            if not self._seen(bundle_change(edits)):
                yield _Candidate("bundle", edits)

    def _random_bundles(self) -> Iterator[_Candidate]:
        """Yields random values of several constants at once: the search is never at its end."""
        constants = self._script.constants()
        names = [name for name in sorted(constants) if CONSTANTS.get(name) and constants[name]]
        fractions = [name for name in names if CONSTANTS[name].scale == "log"]
        for _ in range(RANDOM_TRIES_MAX if fractions else 0):
            chosen = self._rng.sample(fractions, min(len(fractions), self._rng.choice((1, 2, 3))))
            edits = []
            for name in chosen:
                factor = math.exp(self._rng.gauss(0.0, 0.7))
                value = float(f"{constants[name] * factor:.3g}")
                edits.append(constant_edit(name, value, constants[name]))
            kind = edits[0].kind if len(edits) == 1 else "bundle"
            yield _Candidate(kind, tuple(edits))
