"""What the page and the API say about hypotheses, entries, agents and peers, as plain JSON values.

Pure: a ledger's views go in, dictionaries come out. Numbers are in the metric's unit. The text in
them was written by peers and is passed on as it is; whoever shows it must show it as text.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeAlias

from gossip.interface import PeerInfo
from node.activity import Work
from node.presences import Heard, silence_s
from protocol.records import Record, Trial
from swarm.hypotheses import HypothesisView
from swarm.leaderboard import merged_gains
from swarm.ledger import Ledger
from swarm.lineage import Entry

Row: TypeAlias = dict[str, Any]

POINT_COLUMNS: Final = (
    "id", "title", "author", "parent", "entry", "status", "val_bpb", "gain", "gain_low",
    "gain_high", "screened_gain", "pairs", "verifiers", "category", "proposer", "device",
    "cpu_s", "memory_gb", "created_ms", "claimed_ms", "verifying_ms", "decided_ms", "merged_ms",
    "self_verified",
)  # fmt: skip
"""What a hypothesis's row holds, in the order of the columns of `/api/v1/points`."""

_KIB_PER_GB: Final = 1e9 / 1024
_NORMAL_95: Final = 1.96
_SEEN_STEP_MS: Final = 10_000
"""When a peer was last heard of is told in steps, or every row would change all the time."""


@dataclass(frozen=True, slots=True)
class Facts:
    """One hypothesis as the board keeps it.

    Attributes:
        row: What is shown of it.
        cpu_ms: CPU time that all its trials took, both arms.
        trials: Number of its trials.
        freedom: Degrees of freedom of `squares`.
        squares: Sum of squared deviations of the child's metric over seeds, in units squared.
        verified_by: Who ran each counted pair, in hexadecimal.
    """

    row: Row
    cpu_ms: int
    trials: int
    freedom: int
    squares: float
    verified_by: tuple[str, ...]


def hypothesis_facts(item: HypothesisView, merged_ms: int | None) -> Facts:
    """Sum up one hypothesis.

    Args:
        item: The hypothesis.
        merged_ms: When it was merged; None when it was not.
    """
    verdict = item.standing
    trials = [(record, record.body) for record in item.trials if isinstance(record.body, Trial)]
    screens = [(record, body) for record, body in trials if body.purpose == "screen"]
    verifying = [body.child.metric_micro for _, body in trials if body.purpose == "verify"]
    measured = [value / 1e6 for value in verifying if value is not None]
    mean = sum(measured) / len(measured) if measured else 0.0
    screened = [
        body.child.metric_micro for _, body in screens if body.child.metric_micro is not None
    ]
    value_micro = verdict.metric_micro
    if value_micro is None and screened:
        value_micro = sum(screened) // len(screened)
    counted = set(verdict.trials)
    decided_ms = None
    if verdict.status in {"verified", "refuted"}:
        decided_ms = max(
            (record.created_ms for record, _ in trials if record.id in counted), default=None
        )
    cpu_ms = sum(arm_cpu_ms(body) for _, body in trials)
    row: Row = {
        "id": item.id.hex(),
        "title": item.body.title,
        "author": item.author.hex(),
        "parent": item.body.parents[0].hex(),
        "entry": item.entry_id.hex(),
        "status": item.status,
        "val_bpb": unit(value_micro),
        "gain": unit(verdict.gain_micro),
        "gain_low": unit(verdict.low_micro) if verdict.gains else None,
        "gain_high": unit(verdict.high_micro) if verdict.gains else None,
        "screened_gain": unit(item.screened_gain_micro),
        "pairs": verdict.pairs,
        "verifiers": len(verdict.verifiers),
        "category": item.body.origin.category,
        "proposer": item.body.origin.proposer,
        "device": next((body.device for _, body in screens), ""),
        "cpu_s": round(cpu_ms / 1000, 1),
        "memory_gb": round(_peak_kib(body for _, body in trials) / _KIB_PER_GB, 3),
        "created_ms": item.created_ms,
        "claimed_ms": max((record.created_ms for record, _ in screens), default=None),
        "verifying_ms": min(
            (record.created_ms for record, body in trials if body.purpose == "verify"), default=None
        ),
        "decided_ms": decided_ms,
        "merged_ms": merged_ms,
        "self_verified": item.self_verified,
    }
    return Facts(
        row=row,
        cpu_ms=cpu_ms,
        trials=len(trials),
        freedom=max(0, len(measured) - 1),
        squares=sum((value - mean) ** 2 for value in measured),
        verified_by=tuple(
            record.author.hex()
            for record, _ in trials
            if record.id in counted and record.author != item.author
        ),
    )


def arm_cpu_ms(trial: Trial) -> int:
    """CPU time of both arms of a trial, training and scoring."""
    return sum(arm.train_cpu_ms + arm.score_cpu_ms for arm in (trial.parent, trial.child))


def _peak_kib(trials: Iterable[Trial]) -> int:
    return max((trial.child.peak_memory_kib for trial in trials), default=0)


def entry_row(entry: Entry, *, on_path: bool, transfer: Sequence[Row] = ()) -> Row:
    """One entry of the lineage, as `lineage --json` names its parts."""
    return {
        "id": entry.id.hex(),
        "parents": [parent.hex() for parent in entry.parents] if entry.hypothesis else [],
        "hypothesis": None if entry.hypothesis is None else entry.hypothesis.hex(),
        "title": entry.title,
        "depth": entry.depth,
        "on_path": on_path,
        "val_bpb": unit(entry.metric_micro),
        "gain": unit(entry.gain_micro),
        "gain_low": unit(entry.low_micro),
        "gain_high": unit(entry.high_micro),
        "author": entry.author.hex(),
        "merged_ms": entry.merged_ms,
        "trials": entry.trials,
        "verifiers": [verifier.hex() for verifier in entry.verifiers],
        "self_verified": entry.self_verified,
        "source": entry.source.hex(),
        "transfer": list(transfer),
    }


def agent_rows(ledger: Ledger, facts: Iterable[Facts]) -> list[Row]:
    """What every agent gave to the swarm, the largest merged gain first."""
    proposed: Counter[str] = Counter()
    refuted: Counter[str] = Counter()
    verified: Counter[str] = Counter()
    for item in facts:
        proposed[item.row["author"]] += 1
        refuted[item.row["author"]] += item.row["status"] == "refuted"
        verified.update(item.verified_by)
    gains = {author.hex(): gain_micro for author, gain_micro in merged_gains(ledger).items()}
    spread = _merged_half_widths(ledger)
    entries = Counter(entry.author.hex() for entry in ledger.lineage() if entry.hypothesis)
    rows: list[Row] = [
        {
            "id": author,
            "member": ledger.is_member(bytes.fromhex(author)),
            "merged_gain": unit(gains.get(author, 0)),
            "merged_half_width": spread.get(author),
            "entries": entries[author],
            "hypotheses": proposed[author],
            "refuted": refuted[author],
            "pairs_verified": verified[author],
        }
        for author in proposed.keys() | verified.keys()
    ]
    return sorted(rows, key=lambda row: (-row["merged_gain"], -row["pairs_verified"], row["id"]))


def _merged_half_widths(ledger: Ledger) -> dict[str, float]:
    """Half of the interval of what each author gained, by its key in hexadecimal.

    Entries are measured on seeds of their own, so their intervals add in quadrature.
    """
    squares: dict[str, float] = {}
    for entry in ledger.lineage():
        if entry.hypothesis is None or entry.low_micro is None or entry.high_micro is None:
            continue
        credited = {entry.author} | {ledger.entries[parent].author for parent in entry.parents[1:]}
        half = (entry.high_micro - entry.low_micro) / 2e6 / len(credited)
        for author in credited:
            squares[author.hex()] = squares.get(author.hex(), 0.0) + half * half
    return {author: math.sqrt(square) for author, square in squares.items()}


def cost_row(agent: Mapping[str, Any]) -> Row | None:
    """What this node's language model has cost, from its agent's status; None when that is unknown.

    No record carries money, so of other nodes nothing is known.
    """
    if "usd" not in agent:
        return None
    return {"usd": agent["usd"], "usd_today": agent["usd_today"], "model": agent["model"]}


def swarm_row(ledger: Ledger) -> Row:
    """What the genesis fixed: name, task, metric and policy."""
    genesis = ledger.genesis_body
    return {
        "id": ledger.swarm.hex(),
        "name": genesis.name,
        "task": genesis.task.name,
        "tier": genesis.tier,
        "scorer": genesis.task.scorer,
        "metric": asdict(genesis.metric),
        "policy": {**asdict(genesis.policy), "tau": unit(genesis.policy.tau_micro)},
    }


def peer_rows(
    connected: Sequence[PeerInfo], heard: Mapping[bytes, Heard], now_s: float, now_ms: int
) -> list[Row]:
    """Everybody who is connected or was heard of, the present ones first."""
    links = {peer.node_id: peer for peer in connected}
    alive_s = silence_s(now_s - item.at_s for item in heard.values())
    rows = []
    for identity in links.keys() | heard.keys():
        link, said = links.get(identity), heard.get(identity)
        row, seconds = _peer_row(identity, link, said, now_s, now_ms)
        rows.append({**row, "alive": link is not None or seconds <= alive_s})
    return sorted(rows, key=lambda row: (not row["alive"], row["id"]))


def _peer_row(
    identity: bytes, link: PeerInfo | None, heard: Heard | None, now_s: float, now_ms: int
) -> tuple[Row, float]:
    """A peer's row without whether it is alive, and how long it has been silent."""
    silent_s = [] if heard is None else [now_s - heard.at_s]
    row: Row = {
        "id": identity.hex(),
        "connected": link is not None,
        "rtt_ms": None if link is None or link.rtt_ms is None else round(link.rtt_ms, 1),
        "addresses": [] if link is None else list(link.addresses),
        "role": "" if link is None or link.hello is None else link.hello.role,
        "version": "" if link is None or link.hello is None else link.hello.version,
        "head": None,
        "depth": None,
        "records": None if link is None or link.hello is None else link.hello.records,
        "device": "",
        "sandbox": "",
        "state": "",
        "hypothesis": None,
        "progress": 0.0,
    }
    if link is not None:
        silent_s.append(link.last_seen_s)
        if link.hello is not None and link.hello.head is not None:
            row["head"] = link.hello.head.hex()
    if heard is not None:
        said = heard.presence
        row |= {
            "role": said.role,
            "version": said.version,
            "head": said.head.hex() or None,
            "depth": said.depth,
            "records": said.records,
            "device": said.device,
            "sandbox": said.sandbox,
            "state": said.state,
            "hypothesis": said.hypothesis.hex() or None,
            "progress": said.progress_permille / 1000,
        }
    seconds = min(silent_s)
    seen_ms = now_ms - round(1000 * seconds)
    said_row = {**row, "seen_ms": seen_ms - seen_ms % _SEEN_STEP_MS}
    return said_row, seconds


def work_row(work: Work) -> Row:
    """What one of this node's own workers does."""
    return {
        "state": work.state,
        "hypothesis": None if work.hypothesis is None else work.hypothesis.hex(),
        "title": work.title,
        "pair": work.pair,
        "arm": work.arm,
        "progress": round(work.progress, 3),
    }


def seed_deviation(facts: Iterable[Facts]) -> float | None:
    """Standard deviation of the metric over seeds, pooled over all verified pairs; None without."""
    freedom, squares = 0, 0.0
    for item in facts:
        freedom += item.freedom
        squares += item.squares
    return math.sqrt(squares / freedom) if freedom else None


def half_width(deviation: float | None, pairs: int) -> float | None:
    """Half of the 95 % interval of a mean over `pairs` seeds."""
    if deviation is None or pairs == 0:
        return None
    return _NORMAL_95 * deviation / math.sqrt(pairs)


def trial_row(ledger: Ledger, record: Record, *, counted: bool) -> Row:
    """One trial of a hypothesis."""
    trial = record.body
    assert isinstance(trial, Trial)
    before, after = trial.parent.metric_micro, trial.child.metric_micro
    gain = None
    if before is not None and after is not None:
        gain = unit(ledger.metric.gain_micro(before, after))
    return {
        "id": record.id.hex(),
        "author": record.author.hex(),
        "purpose": trial.purpose,
        "counted": counted,
        "pair": trial.pair,
        "seed": str(trial.seed),
        "parent": {"status": trial.parent.status, "val_bpb": unit(before)},
        "child": {"status": trial.child.status, "val_bpb": unit(after)},
        "gain": gain,
        "cpu_s": round(arm_cpu_ms(trial) / 1000, 2),
        "device": trial.device,
        "created_ms": record.created_ms,
    }


def unit(micro: int | None) -> float | None:
    """Millionths of the metric's unit, in the unit."""
    return None if micro is None else micro / 1e6
