"""The leaderboard as text for other programs: autoresearch's table, and Prometheus.

Pure. Peers' text is flattened so that it cannot forge a column, a line or a label.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from node.web.rows import Row
from trainer.job import printable_line

TSV_COLUMNS: Final = ("commit", "val_bpb", "memory_gb", "status", "description")

_TSV_STATUS: Final = {"merged": "keep", "verified": "keep", "crashed": "crash"}
"""autoresearch knows `keep`, `discard` and `crash`; what is not decided yet is no row of it."""

_DISCARDED: Final = frozenset({"refuted", "screened_out", "parked", "stale"})
_COMMIT_DIGITS: Final = 7


def results_tsv(rows: Iterable[Row]) -> str:
    """The `results.tsv` of autoresearch: one line a finished hypothesis, oldest first.

    Args:
        rows: Hypotheses in the order wanted.
    """
    lines = ["\t".join(TSV_COLUMNS)]
    for row in rows:
        status = "discard" if row["status"] in _DISCARDED else _TSV_STATUS.get(row["status"])
        if status is None:
            continue
        crashed = status == "crash"
        value = 0.0 if crashed or row["val_bpb"] is None else row["val_bpb"]
        memory = 0.0 if crashed else row["memory_gb"]
        lines.append(
            "\t".join(
                (
                    row["entry"][:_COMMIT_DIGITS],
                    f"{value:.6f}",
                    f"{memory:.1f}",
                    status,
                    printable_line(row["title"]),
                )
            )
        )
    return "\n".join(lines) + "\n"


def prometheus(state: Mapping[str, Any]) -> str:
    """The state as Prometheus' text exposition, version 0.0.4."""
    lines: list[str] = []

    def metric(name: str, kind: str, help_text: str, *samples: tuple[str, float | None]) -> None:
        known = [(labels, value) for labels, value in samples if value is not None]
        if not known:
            return
        lines.append(f"# HELP swarm_{name} {help_text}")
        lines.append(f"# TYPE swarm_{name} {kind}")
        lines.extend(f"swarm_{name}{labels} {value}" for labels, value in known)

    head, counts = state["head"], state["counts"]
    swarm = state["swarm"]
    labels = (
        f'{{swarm="{swarm["id"]}",task="{_label(swarm["task"])}",tier="{_label(swarm["tier"])}"}}'
    )
    metric("info", "gauge", "The swarm that this node belongs to.", (labels, 1))
    metric("head_val_bpb", "gauge", "Metric of the lineage's head.", ("", head["val_bpb"]))
    metric("baseline_val_bpb", "gauge", "Metric of the genesis.", ("", state["baseline_val_bpb"]))
    metric("head_depth", "gauge", "Entries between genesis and head.", ("", head["depth"]))
    by_status = [
        (f'{{status="{status}"}}', count)
        for status, count in counts.items()
        if status != "proposed"
    ]
    metric("hypotheses", "gauge", "Hypotheses by where they stand.", *by_status)
    metric("hypotheses_proposed", "gauge", "All hypotheses.", ("", counts["proposed"]))
    metric("records", "gauge", "Records held.", ("", state["records"]))
    metric("members", "gauge", "Members whose evidence counts.", ("", state["members"]))
    alive = sum(peer["alive"] for peer in state["peers"])
    connected = sum(peer["connected"] for peer in state["peers"])
    metric("peers_alive", "gauge", "Peers heard of lately.", ("", alive))
    metric("peers_connected", "gauge", "Peers connected to this node.", ("", connected))
    metric(
        "trial_cpu_seconds",
        "gauge",
        "CPU time of all trials known.",
        ("", state["compute"]["cpu_s"]),
    )
    cost = state["cost"]
    metric(
        "agent_cost_usd",
        "counter",
        "What this node's language model has cost, in US dollars.",
        ("", None if cost is None else cost["usd"]),
    )
    metric("trials", "gauge", "Trials known.", ("", state["compute"]["trials"]))
    return "\n".join(lines) + "\n"


def _label(text: str) -> str:
    return printable_line(text).replace("\\", "\\\\").replace('"', '\\"')
