"""Lineage entries: what merged hypotheses became, and the tree that they form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from protocol.records import Hypothesis, Record
from swarm.fork_choice import entry_weight, heaviest_path
from swarm.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Entry:
    """One node of the lineage.

    Attributes:
        id: H(parent ids ‖ source digest).
        parents: Parent entries; the first is the paired baseline. Empty for the root.
        hypothesis: Record id of the hypothesis; None for the root.
        source: Digest of the entry's script.
        depth: Entries between it and the root along first parents.
        title: The hypothesis's title.
        author: The hypothesis's author; the founder for the root.
        metric_micro: Mean metric over the counted pairs; None before anything was measured.
        gain_micro: Mean gain over the first parent; None for the root.
        low_micro: Lower bound of the gain.
        high_micro: Upper bound of the gain.
        verifiers: Members whose pairs were counted.
        trials: Number of counted pairs.
        merged_ms: When the canonical merge record says that it was merged.
        weight: What fork choice counts.
        self_verified: Whether only its own author verified it so far.
        confirmed: Whether it and everything that it is built on is verified by others.
    """

    id: bytes
    parents: tuple[bytes, ...]
    hypothesis: bytes | None
    source: bytes
    depth: int
    title: str
    author: bytes
    metric_micro: int | None
    gain_micro: int | None
    low_micro: int | None
    high_micro: int | None
    verifiers: tuple[bytes, ...]
    trials: int
    merged_ms: int
    weight: int
    self_verified: bool = False
    confirmed: bool = True


@dataclass(frozen=True, slots=True)
class Candidate:
    """A hypothesis that is merged, verified or self-verified: an entry, if its parents are entries.

    Attributes:
        record: The hypothesis.
        body: Its content.
        entry: The entry id that it yields.
        verdict: What it stands on: others' trials where they verify it, else what its verifiers
            signed, else its author's trials.
        self_verified: Whether it is its author's.
        merge: Its canonical merge record: the one with the lowest id.
    """

    record: Record
    body: Hypothesis
    entry: bytes
    verdict: Verdict
    self_verified: bool
    merge: Record


def build_entries(
    root: Entry, candidates: Sequence[Candidate], tau_micro: int
) -> dict[bytes, Entry]:
    """All entries that hang together with the root, by id.

    Several hypotheses may yield one entry; the one whose merge record has the lowest id stands for
    it, verified ones first, so that every order of arrival builds the same tree.
    """
    chosen: dict[bytes, Candidate] = {}
    for candidate in candidates:
        rival = chosen.get(candidate.entry)
        if rival is None or _rank(candidate) < _rank(rival):
            chosen[candidate.entry] = candidate
    entries = {root.id: root}
    waiting = list(chosen.values())
    while waiting:
        ready = [item for item in waiting if all(parent in entries for parent in item.body.parents)]
        if not ready:
            break
        for item in ready:
            parents = [entries[parent] for parent in item.body.parents]
            entries[item.entry] = _entry(item, parents, tau_micro)
        waiting = [item for item in waiting if item.entry not in entries]
    return entries


def _rank(candidate: Candidate) -> tuple[bool, bytes]:
    return candidate.self_verified, candidate.merge.id


def _entry(candidate: Candidate, parents: Sequence[Entry], tau_micro: int) -> Entry:
    verdict = candidate.verdict
    low_micro = verdict.low_micro
    return Entry(
        id=candidate.entry,
        parents=candidate.body.parents,
        hypothesis=candidate.record.id,
        source=candidate.body.source,
        depth=parents[0].depth + 1,
        title=candidate.body.title,
        author=candidate.record.author,
        metric_micro=verdict.metric_micro,
        gain_micro=verdict.gain_micro,
        low_micro=low_micro,
        high_micro=verdict.high_micro,
        verifiers=verdict.verifiers,
        trials=verdict.pairs,
        merged_ms=candidate.merge.created_ms,
        weight=0 if low_micro is None else entry_weight(low_micro, tau_micro),
        self_verified=candidate.self_verified,
        confirmed=not candidate.self_verified and all(parent.confirmed for parent in parents),
    )


def chosen_path(root: bytes, entries: Mapping[bytes, Entry]) -> list[bytes]:
    """Ids from the root to the head that fork choice picks."""
    children: dict[bytes, list[bytes]] = {}
    for entry in entries.values():
        if entry.parents and entry.id != root:
            children.setdefault(entry.parents[0], []).append(entry.id)
    weights = {entry.id: entry.weight for entry in entries.values()}
    unconfirmed = {entry.id for entry in entries.values() if not entry.confirmed}
    return heaviest_path(root, children, weights, unconfirmed)
