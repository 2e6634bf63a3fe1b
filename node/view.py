"""What a node shows of itself and its swarm, as plain JSON values.

The same functions serve the control socket, the demo and the command line beside a node that is
not running. Metrics are shown in their unit, as floats; the records keep integers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gossip.interface import PeerInfo
from node.activity import Activity, Work
from node.blobs import BlobStore
from node.conflicts import Sides, conflicts, sides
from node.difference import source_lines, unified_lines
from node.errors import NodeError
from node.hypothesis_costs import HypothesisCosts
from node.web.rows import entry_row, trial_row, unit
from node.words import standing_reason
from protocol.records import Record, Trial
from swarm.hypotheses import HypothesisView
from swarm.ledger import Ledger
from swarm.rollback import fallen
from swarm.transfer import Comparison, Judge, Report, Step, report

_HYPOTHESES_SHOWN: Final = 30
_FEED_SHOWN: Final = 60
_FALLEN_SHOWN: Final = 20
_PREFIX_MIN: Final = 4


@dataclass(frozen=True, slots=True)
class Running:
    """What only a running node knows.

    Attributes:
        node_id: Its public key.
        peers: Its connected peers.
        activity: What it does.
        sandbox: The sandbox in use; empty when none works.
        sandbox_problem: Why none is in use, in words.
        agent: Who proposes here, its latest trouble and its costs.
    """

    node_id: bytes
    peers: Sequence[PeerInfo]
    activity: Activity
    sandbox: str
    sandbox_problem: str
    agent: Mapping[str, Any] = field(default_factory=dict)


def status(ledger: Ledger, running: Running | None) -> dict[str, Any]:
    """What `status --json` prints; `running` is None beside a node that is down."""
    head = ledger.head
    genesis = ledger.genesis_body
    baseline_micro = ledger.root.metric_micro
    return {
        "running": running is not None,
        "node_id": None if running is None else running.node_id.hex(),
        "swarm_id": ledger.swarm.hex(),
        "swarm_name": genesis.name,
        "task": genesis.task.name,
        "tier": genesis.tier,
        "scorer": genesis.task.scorer,
        "admission": genesis.policy.admission,
        "metric": {
            "name": genesis.metric.name,
            "unit": genesis.metric.unit,
            "direction": genesis.metric.direction,
        },
        "role": "agent" if running is not None and running.sandbox else "observer",
        "head": {
            "id": head.id.hex(),
            "depth": head.depth,
            "val_bpb": unit(head.metric_micro),
            "title": head.title,
            "merged_ms": head.merged_ms,
            "confirmed": head.confirmed,
            "gain": unit(head.gain_micro),
            "gain_low": unit(head.low_micro),
            "gain_high": unit(head.high_micro),
        },
        "baseline_val_bpb": unit(baseline_micro),
        "records": len(ledger),
        "records_digest": ledger.digest.hex(),
        "hypotheses": _counts(ledger),
        "members": len(ledger.members),
        "members_needed": genesis.policy.members_min,
        "self_verified_allowed": genesis.policy.self_verified,
        "merges": head.depth,
        "rolled_back": rolled_back(ledger),
        "peers": [] if running is None else [_peer(peer) for peer in running.peers],
        "worker": _worker(running),
        "sandbox": "" if running is None else running.sandbox,
        "sandbox_problem": "" if running is None else running.sandbox_problem,
        "agent": {} if running is None else dict(running.agent),
    }


def _counts(ledger: Ledger) -> dict[str, int]:
    counts = dict.fromkeys(
        ("proposed", "verified", "refuted", "parked", "undecided", "screened_out", "crashed",
         "stale", "duplicate", "self_verified"),
        0,
    )  # fmt: skip
    sources: set[tuple[bytes, bytes]] = set()
    for item in ledger.hypotheses():
        counts["proposed"] += 1
        key = (item.body.parents[0], item.body.source)
        if key in sources:
            counts["duplicate"] += 1
        sources.add(key)
        if item.self_verified:
            counts["self_verified"] += 1
            continue
        word = {"merged": "verified", "claimed": "undecided", "proposed": "undecided"}.get(
            item.status, item.status
        )
        counts[word] = counts.get(word, 0) + 1
    return counts


def _peer(peer: PeerInfo) -> dict[str, Any]:
    return {
        "id": peer.node_id.hex(),
        "addrs": list(peer.addresses),
        "direct": peer.direct,
        "rtt_ms": None if peer.rtt_ms is None else round(peer.rtt_ms, 1),
        "last_seen_s": round(peer.last_seen_s, 1),
    }


def _worker(running: Running | None) -> dict[str, Any]:
    workers = [] if running is None else running.activity.workers
    shown = workers[0] if workers else Work("idle")
    state = "stopped" if running is None else shown.state
    return {
        "state": state,
        "device": "" if running is None else running.activity.device,
        "hypothesis": None if shown.hypothesis is None else shown.hypothesis.hex(),
        "title": shown.title,
        "pair": shown.pair,
        "arm": shown.arm,
        "progress": round(shown.progress, 3),
        "workers": len(workers),
        "busy_s": {}
        if running is None
        else {word: round(spent, 1) for word, spent in running.activity.busy_s.items()},
    }


def lineage(ledger: Ledger) -> list[dict[str, Any]]:
    """What `lineage --json` prints: entries from the genesis to the head."""
    transfers = transfers_by_entry(ledger)
    return [
        entry_row(entry, on_path=True, transfer=transfers.get(entry.id, []))
        for entry in ledger.lineage()
    ]


def transfers_by_entry(ledger: Ledger) -> dict[bytes, list[dict[str, Any]]]:
    """What replays at other scales say of each entry, by scale and author."""
    judge = Judge(ledger.metric, ledger.policy.tau_micro)
    found: dict[bytes, list[dict[str, Any]]] = {}
    for record, body in ledger.transfers():
        for step in report(body, judge).steps:
            found.setdefault(step.entry, []).append(
                {
                    "scale": body.scale,
                    "author": record.author.hex(),
                    "record": record.id.hex(),
                    "up_to": body.entry.hex(),
                    **_transfer_step(step),
                }
            )
    return found


def transfer_report(item: Report) -> dict[str, Any]:
    """What `transfer --json` prints of a replay."""
    return {
        "entry": item.entry.hex(),
        "scale": item.scale,
        "carried": item.carried,
        "genesis_val_bpb": unit(item.genesis_micro),
        "steps": [{"entry": step.entry.hex(), **_transfer_step(step)} for step in item.steps],
    }


def _transfer_step(step: Step) -> dict[str, Any]:
    return {
        "baseline": step.baseline.hex(),
        "val_bpb": unit(step.metric_micro),
        **_comparison(step.step),
        "genesis": _comparison(step.whole),
        "cpu_s": round(step.cpu_ms / 1000, 1),
    }


def _comparison(item: Comparison) -> dict[str, Any]:
    return {
        "status": item.status,
        "pairs": item.pairs,
        "gain": unit(item.gain_micro),
        "gain_low": unit(item.low_micro),
        "gain_high": unit(item.high_micro),
    }


def tree(ledger: Ledger) -> list[dict[str, Any]]:
    """Every entry, those beside the path to the head included, by depth."""
    path = {entry.id for entry in ledger.lineage()}
    entries = sorted(ledger.entries.values(), key=lambda entry: (entry.depth, entry.id))
    transfers = transfers_by_entry(ledger)
    return [
        entry_row(entry, on_path=entry.id in path, transfer=transfers.get(entry.id, []))
        for entry in entries
    ]


def rolled_back(ledger: Ledger) -> list[dict[str, Any]]:
    """Merges that later evidence took back, the latest first, with the reason."""
    return [
        {
            "id": cause.item.id.hex(),
            "entry": cause.item.entry_id.hex(),
            "title": cause.item.body.title,
            "status": cause.item.status,
            "reason": cause.reason,
        }
        for cause in fallen(ledger)[:_FALLEN_SHOWN]
    ]


def snapshot(ledger: Ledger, running: Running) -> dict[str, Any]:
    """Everything that the demo draws."""
    latest = sorted(ledger.hypotheses(), key=lambda item: item.created_ms, reverse=True)
    return {
        "status": status(ledger, running),
        "lineage": lineage(ledger),
        "hypotheses": [_hypothesis(item) for item in latest[:_HYPOTHESES_SHOWN]],
        "feed": [
            {"sequence": item.sequence, "at_ms": item.at_ms, "text": item.text}
            for item in list(running.activity.feed)[-_FEED_SHOWN:]
        ],
    }


def _hypothesis(item: HypothesisView) -> dict[str, Any]:
    verdict = item.standing
    return {
        "id": item.id.hex(),
        "title": item.body.title,
        "author": item.author.hex(),
        "parent": item.body.parents[0].hex(),
        "status": item.status,
        "screened_gain": unit(item.screened_gain_micro),
        "gain": unit(verdict.gain_micro),
        "gain_low": unit(verdict.low_micro),
        "gain_high": unit(verdict.high_micro),
        "pairs": verdict.pairs,
        "evidence": verdict.evidence_milli / 1000,
        "reason": standing_reason(item),
        "self_verified": item.self_verified,
    }


@dataclass(frozen=True, slots=True)
class Found:
    """What the ledger says of one hypothesis or entry; its scripts are still to be compared.

    Attributes:
        value: What is shown, without `diff` and `conflicts`.
        compared: Digests of the parent's and the hypothesis's script; None for the genesis.
        merged: Which scripts to merge to find what contradicts the head, if any.
    """

    value: Mapping[str, Any]
    compared: tuple[bytes | None, bytes] | None = None
    merged: Sides | None = None

    def shown(self, blobs: BlobStore) -> dict[str, Any]:
        """All that is shown. It asks no ledger, so another thread may take its time with it."""
        if self.compared is None:
            return dict(self.value)
        return {
            **self.value,
            "diff": diff(blobs, *self.compared),
            "conflicts": [] if self.merged is None else conflicts(blobs, self.merged),
        }


def find(ledger: Ledger, prefix: str, costs: HypothesisCosts | None = None) -> Found:
    """One hypothesis or entry, found by the start of its id.

    Its `cost` is what this node's agent has spent on it, null for everybody else's.

    Raises:
        NodeError: No id, or more than one, starts with the prefix.
    """
    prefix = prefix.lower()
    if len(prefix) < _PREFIX_MIN:
        raise NodeError(f"give at least {_PREFIX_MIN} characters of an id")
    found = {item.id: item for item in ledger.hypotheses() if item.id.hex().startswith(prefix)} | {
        item.id: item for item in ledger.hypotheses() if item.entry_id.hex().startswith(prefix)
    }
    if not found and ledger.root.id.hex().startswith(prefix):
        return Found({"kind": "genesis", **lineage(ledger)[0]})
    if not found:
        raise NodeError(f"nothing here has an id that starts with {prefix}")
    if len(found) > 1:
        names = ", ".join(sorted(identity.hex()[:12] for identity in found))
        raise NodeError(f"{prefix} is not unique: {names}")
    item = next(iter(found.values()))
    value = {
        "kind": "hypothesis",
        "scorer": ledger.genesis_body.task.scorer,
        **_hypothesis(item),
        "entry": item.entry_id.hex(),
        "rationale": item.body.rationale,
        "proposer": item.body.origin.proposer,
        "category": item.body.origin.category,
        "model": item.body.origin.model,
        "cost": None if costs is None else costs.of(item.id),
        "change": item.body.origin.change,
        "source": item.body.source.hex(),
        "created_ms": item.created_ms,
        "trials": [
            _trial(ledger, record, counted=record.id in item.standing.trials)
            for record in item.trials
        ],
        "transfer": transfers_by_entry(ledger).get(item.entry_id, []),
    }
    return Found(value, compared(ledger, item), sides(ledger, item))


def show(
    ledger: Ledger, blobs: BlobStore, prefix: str, costs: HypothesisCosts | None = None
) -> dict[str, Any]:
    """Everything about one hypothesis or entry at once, for who serves nobody meanwhile.

    Raises:
        NodeError: No id, or more than one, starts with the prefix.
    """
    return find(ledger, prefix, costs).shown(blobs)


def _trial(ledger: Ledger, record: Record, *, counted: bool) -> dict[str, Any]:
    """A trial as the page has it, but with its seed as a number: only browsers round one."""
    assert isinstance(record.body, Trial)
    return {**trial_row(ledger, record, counted=counted), "seed": record.body.seed}


def compared(ledger: Ledger, item: HypothesisView) -> tuple[bytes | None, bytes]:
    """The digests of the parent's script, None while that entry is not here, and of its own."""
    entry = ledger.entries.get(item.body.parents[0])
    return None if entry is None else entry.source, item.body.source


def diff(blobs: BlobStore, parent: bytes | None, child: bytes) -> list[str]:
    """What a script changes in its parent; empty while either of them is missing."""
    before = None if parent is None else blobs.read(parent)
    after = blobs.read(child)
    if before is None or after is None:
        return []
    return unified_lines(
        source_lines(before.decode(errors="replace")), source_lines(after.decode(errors="replace"))
    )
