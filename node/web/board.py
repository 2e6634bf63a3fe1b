"""The board: everything that the page shows, kept up to date piece by piece.

The ledger tells what a record changed; the board describes only that again, and says what differs
from what it said before. It refuses to know HTTP, and it never waits: a large ledger is described
in slices, between which the caller lets others run.
"""

import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, assert_never

from node import view
from node.blobs import BlobStore
from node.hardware import software_version
from node.presences import Heard
from node.web import rows
from node.web.rows import Facts, Row
from node.words import standing_reason
from protocol import limits
from swarm.events import (
    AuthorVoided,
    Event,
    HeadChanged,
    HypothesisAdded,
    MemberAdded,
    TransferAdded,
    TrialAdded,
    VerdictChanged,
)
from swarm.ledger import Ledger

SLICE: Final = 64
"""Hypotheses that are described without a pause: a few milliseconds' work."""

_AGENTS_EVERY_MS: Final = 2_000


async def nothing_pending() -> None:
    """For ledgers that nobody writes to."""


@dataclass(frozen=True, slots=True)
class BoardSource:
    """Where a board looks.

    Attributes:
        ledger: Gives the ledger; it may be another object after a disk fault.
        running: Gives what the running node knows; None beside one that is down.
        heard: Gives the latest presence of every peer.
        blobs: The scripts.
        now_ms: Wall clock.
        now_s: The clock of presences.
        settled: Waits until the disk has all that the ledger counts. What is read directly after
            it, before anything else is awaited, is not taken back.
    """

    ledger: Callable[[], Ledger]
    running: Callable[[], view.Running | None]
    heard: Callable[[], Mapping[bytes, Heard]]
    blobs: BlobStore
    now_ms: Callable[[], int]
    now_s: Callable[[], float]
    settled: Callable[[], Awaitable[object]] = nothing_pending


class Board:
    """The latest description of a swarm.

    Attributes:
        source: Where it looks.
        revision: Counts up whenever a description changes.
        facts: Every hypothesis, by its id in hexadecimal.
        entries: Every entry's row, by its id in hexadecimal.
        agents: What every agent gave.
    """

    def __init__(self, source: BoardSource) -> None:
        self.source = source
        self.revision = 0
        self.facts: dict[str, Facts] = {}
        self.entries: dict[str, Row] = {}
        self.agents: list[Row] = []
        self._ledger: Ledger | None = None
        self._dirty: set[bytes] = set()
        self._all_dirty = True
        self._moved_heads: set[str] = set()
        self._merged_ms: dict[bytes, int] = {}
        self._entries_stale = True
        self._agents_stale = True
        self._agents_at_ms = 0

    def note(self, events: Sequence[Event]) -> None:
        """Remember what has to be described again."""
        for event in events:
            match event:
                case HypothesisAdded(hypothesis=identity) | TrialAdded(hypothesis=identity):
                    self._dirty.add(identity)
                case VerdictChanged(hypothesis=identity):
                    self._dirty.add(identity)
                case HeadChanged(before=before, after=after):
                    self._moved_heads |= {before.hex(), after.hex()}
                case MemberAdded() | AuthorVoided():
                    self._all_dirty = True
                case TransferAdded():
                    self._entries_stale = True
                case _:
                    assert_never(event)

    def renew(self) -> Iterator[dict[str, Any] | None]:
        """Describe again what is dirty, in slices.

        Yields:
            None between slices, at last what has changed: rows of `hypotheses` and `entries`, and
            `agents` when any of them did.
        """
        ledger = self.source.ledger()
        if ledger is not self._ledger:
            self._ledger, self._all_dirty = ledger, True
            known = {identity.hex() for identity in ledger.entries}
            self.entries = {name: row for name, row in self.entries.items() if name in known}
        wanted, merged_ms = self._take_dirty(ledger)
        changed: list[Row] = []
        for start in range(0, len(wanted), SLICE):
            for identity in wanted[start : start + SLICE]:
                if not ledger.is_hypothesis(identity):
                    continue
                facts = rows.hypothesis_facts(ledger.hypothesis(identity), merged_ms.get(identity))
                before = self.facts.get(facts.row["id"])
                if before is None or before.row != facts.row:
                    changed.append(facts.row)
                self.facts[facts.row["id"]] = facts
            yield None
        change: dict[str, Any] = {}
        if changed:
            change["hypotheses"] = changed
        entries = self._renew_entries(ledger) if wanted or self._entries_stale else []
        if entries:
            change["entries"] = entries
        self._agents_stale |= bool(wanted)
        if self._renew_agents(ledger):
            change["agents"] = self.agents
        if change:
            self.revision += 1
        yield change

    def _take_dirty(self, ledger: Ledger) -> tuple[list[bytes], dict[bytes, int]]:
        """Hypotheses to describe again, and when each merged one was merged.

        Where a hypothesis stands also depends on whether its parent is the head and whether it is
        an entry; a new head changes both for a few of them.
        """
        merged_ms = {
            entry.hypothesis: entry.merged_ms
            for entry in ledger.entries.values()
            if entry.hypothesis is not None
        }
        if self._all_dirty:
            wanted = [item.id for item in ledger.hypotheses()]
        else:
            changed = {name for name, _ in merged_ms.items() ^ self._merged_ms.items()}
            moved = {
                bytes.fromhex(name)
                for name, item in self.facts.items()
                if self._moved_heads and item.row["parent"] in self._moved_heads
            }
            wanted = list(self._dirty | changed | moved)
        self._all_dirty, self._dirty, self._moved_heads = False, set(), set()
        self._merged_ms = merged_ms
        return wanted, merged_ms

    def _renew_entries(self, ledger: Ledger) -> list[Row]:
        self._entries_stale = False
        path = {entry.id for entry in ledger.lineage()}
        transfers = view.transfers_by_entry(ledger)
        changed: list[Row] = []
        for entry in ledger.entries.values():
            row = rows.entry_row(
                entry, on_path=entry.id in path, transfer=transfers.get(entry.id, [])
            )
            if self.entries.get(row["id"]) != row:
                self.entries[row["id"]] = row
                changed.append(row)
        return changed

    def _renew_agents(self, ledger: Ledger) -> bool:
        now_ms = self.source.now_ms()
        if not self._agents_stale or 0 <= now_ms - self._agents_at_ms < _AGENTS_EVERY_MS:
            return False
        self._agents_stale, self._agents_at_ms = False, now_ms
        agents = rows.agent_rows(ledger, self.facts.values())
        if agents == self.agents:
            return False
        self.agents = agents
        return True

    def renew_now(self) -> dict[str, Any]:
        """Describe everything that is dirty in one go; for programs that serve nobody meanwhile."""
        change: dict[str, Any] = {}
        for step in self.renew():
            change = step or change
        return change

    # -- what is asked --------------------------------------------------------------------------

    def ordered(self) -> list[Row]:
        """The row of every hypothesis, oldest first."""
        rows_ = [facts.row for facts in self.facts.values()]
        return sorted(rows_, key=lambda row: (row["created_ms"], row["id"]))

    def lineage(self) -> list[Row]:
        """The row of every entry, by depth."""
        return sorted(self.entries.values(), key=lambda row: (row["depth"], row["id"]))

    def live(self) -> dict[str, Any]:
        """The small part that changes all the time: peers, work, counts, the head."""
        ledger, running = self.source.ledger(), self.source.running()
        head = ledger.head
        deviation = rows.seed_deviation(self.facts.values())
        baseline, value = rows.unit(ledger.root.metric_micro), rows.unit(head.metric_micro)
        gain = None
        if ledger.root.metric_micro is not None and head.metric_micro is not None:
            gain = rows.unit(ledger.metric.gain_micro(ledger.root.metric_micro, head.metric_micro))
        connected = () if running is None else running.peers
        half = rows.half_width(deviation, head.trials)
        baseline_half = rows.half_width(deviation, self._root_pairs())
        return {
            "head": {
                "id": head.id.hex(),
                "title": head.title,
                "depth": head.depth,
                "val_bpb": value,
                "half_width": half,
            },
            "baseline_val_bpb": baseline,
            "baseline_half_width": baseline_half,
            "gain": gain,
            "gain_half_width": None
            if gain is None or half is None or baseline_half is None
            else math.hypot(half, baseline_half),
            "seed_deviation": deviation,
            "counts": self._counts(),
            "compute": {
                "cpu_s": round(sum(item.cpu_ms for item in self.facts.values()) / 1000),
                "trials": sum(item.trials for item in self.facts.values()),
            },
            "agent": "" if running is None else running.agent.get("mode", ""),
            "cost": None if running is None else rows.cost_row(running.agent),
            "records": len(ledger),
            "members": len(ledger.members),
            "peers": rows.peer_rows(
                connected, self.source.heard(), self.source.now_s(), self.source.now_ms()
            ),
            "work": []
            if running is None
            else [rows.work_row(work) for work in running.activity.workers],
        }

    def _root_pairs(self) -> int:
        """Pairs that measured the genesis script, as somebody's parent."""
        root = self.source.ledger().root.id.hex()
        return sum(item.row["pairs"] for item in self.facts.values() if item.row["parent"] == root)

    def state(self) -> dict[str, Any]:
        """Everything about the swarm except its hypotheses and entries."""
        ledger, running = self.source.ledger(), self.source.running()
        return {
            "software": software_version(),
            "swarm": rows.swarm_row(ledger),
            "node": {
                "id": None if running is None else running.node_id.hex(),
                "role": "observer" if running is None or not running.sandbox else "agent",
                "device": "" if running is None else running.activity.device,
                "sandbox": "" if running is None else running.sandbox,
                "sandbox_problem": "" if running is None else running.sandbox_problem,
            },
            "agents": self.agents,
            **self.live(),
        }

    def _counts(self) -> dict[str, int]:
        counts = dict.fromkeys(
            ("proposed", "merged", "verified", "refuted", "parked", "crashed", "screened_out",
             "claimed", "undecided", "stale"),
            0,
        )  # fmt: skip
        for facts in self.facts.values():
            status = facts.row["status"]
            if status != "proposed":
                counts[status] += 1
        return counts | {"proposed": len(self.facts)}

    def detail(self, prefix: str) -> dict[str, Any] | None:
        """Everything about one hypothesis, by the start of its id or its entry's; None if unknown.

        A start that fits several is unknown.
        """
        ledger = self.source.ledger()
        found = self._find(prefix)
        if found is None:
            return None
        item = ledger.hypothesis(bytes.fromhex(found))
        counted = set(item.verdict.trials)
        trials = sorted(item.trials, key=lambda record: (record.created_ms, record.id))
        return {
            **self.facts[found].row,
            "rationale": item.body.rationale,
            "model": item.body.origin.model,
            "change": item.body.origin.change,
            "source": item.body.source.hex(),
            "parents": [parent.hex() for parent in item.body.parents],
            "reason": standing_reason(item),
            "evidence": item.verdict.evidence_milli / 1000,
            "trials": [
                rows.trial_row(ledger, record, counted=record.id in counted) for record in trials
            ],
        }

    def diff(self, prefix: str) -> Callable[[], dict[str, Any]] | None:
        """What tells how a hypothesis, or an entry, changes its parent's script; None if unknown.

        Comparing takes a while and asks no ledger, so another thread may do it.
        """
        found = self._find(prefix)
        if found is None:
            return None
        ledger = self.source.ledger()
        item = ledger.hypothesis(bytes.fromhex(found))
        parent, child = view.compared(ledger, item)
        named = {"id": found, "entry": item.entry_id.hex()}

        def compare() -> dict[str, Any]:
            lines = view.diff(self.source.blobs, parent, child)
            return {**named, "available": bool(lines), "lines": lines}

        return compare

    def _find(self, prefix: str) -> str | None:
        if prefix in self.facts:
            return prefix
        if len(prefix) < 2 * limits.ID_BYTES:
            found = [name for name in self.facts if name.startswith(prefix)]
            if len(found) == 1:
                return found[0]
        entries = [row for name, row in self.entries.items() if name.startswith(prefix)]
        if len(entries) == 1:
            hypothesis = entries[0]["hypothesis"]
            return hypothesis if hypothesis in self.facts else None
        by_entry = [name for name, item in self.facts.items() if item.row["entry"] == prefix]
        return by_entry[0] if by_entry else None
