"""What a replay has measured so far: one line a run, on disk before the next run begins.

A replay takes long, is interrupted, and goes on where it was. The file belongs to one entry at one
scale on one machine and its software; under anything else it starts over. A line that is torn or
damaged ends what is believed: everything from there on is measured again.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from node.errors import NodeError, StoreFullError
from protocol.limits import COUNT_MAX, METRIC_MICRO_MAX, TRANSFER_SEEDS_MAX
from protocol.records import STATUSES, Status

_VERSION: Final = 1
_FILE_BYTES_MAX: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run gave.

    Attributes:
        status: How it ended.
        metric_micro: The metric, exactly when it ended well.
        cpu_ms: CPU time of training and scoring.
    """

    status: Status
    metric_micro: int | None
    cpu_ms: int


@dataclass(frozen=True, slots=True)
class Heading:
    """What a journal is about; a journal under another heading is not used.

    Attributes:
        swarm: The swarm id.
        entry: The entry whose lineage is replayed.
        scale: At which scale.
        device: The hardware, in words.
        runtime: The software that decides a run's numbers.
    """

    swarm: bytes
    entry: bytes
    scale: str
    device: str
    runtime: str

    def line(self) -> dict[str, Any]:
        """The first line of the file."""
        return {
            "v": _VERSION,
            "swarm": self.swarm.hex(),
            "entry": self.entry.hex(),
            "scale": self.scale,
            "device": self.device,
            "runtime": self.runtime,
        }


class Journal:
    """The runs of one replay.

    Attributes:
        path: The file.
        runs: What was measured, by entry and number of the seed.

    Args:
        directory: Where journals are; made when missing.
        heading: What this one is about.

    Raises:
        NodeError: The file cannot be read or made.
    """

    def __init__(self, directory: Path, heading: Heading) -> None:
        name = f"{heading.entry.hex()[:16]}-{heading.scale.replace('=', '-')}.jsonl"
        self.path = directory / name
        self.runs: dict[tuple[bytes, int], Measured] = {}
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            data = b""
            if self.path.exists():
                with self.path.open("rb") as file:
                    data = file.read(_FILE_BYTES_MAX)
            good = self._read(data, heading)
            if good != data or not data:
                partial = self.path.with_suffix(".partial")
                partial.write_bytes(good or _line(heading.line()))
                partial.replace(self.path)
        except OSError as error:
            raise NodeError(f"cannot use {self.path}: {error.strerror}") from error

    def _read(self, data: bytes, heading: Heading) -> bytes:
        """Take in what is believed of a file; returns those bytes."""
        lines = data.splitlines(keepends=True)
        if not lines or lines[0] != _line(heading.line()):
            return b""
        believed = 1
        for line in lines[1:]:
            run = _run(line)
            if run is None or (key := (run[0], run[1])) in self.runs:
                break
            self.runs[key] = run[2]
            believed += 1
        return b"".join(lines[:believed])

    def add(self, entry: bytes, seed: int, measured: Measured) -> None:
        """Keep a run; it survives whatever happens next.

        Raises:
            StoreFullError: It cannot be written.
        """
        line = _line(
            {
                "entry": entry.hex(),
                "seed": seed,
                "status": measured.status,
                "metric_micro": measured.metric_micro,
                "cpu_ms": measured.cpu_ms,
            }
        )
        try:
            with self.path.open("ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreFullError(f"cannot write {self.path}: {error.strerror}") from error
        self.runs[entry, seed] = measured


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _run(line: bytes) -> tuple[bytes, int, Measured] | None:
    """A run from its line; None when it is not one."""
    if not line.endswith(b"\n"):
        return None
    try:
        value = json.loads(line)
        entry = bytes.fromhex(value["entry"])
        seed, status = value["seed"], value["status"]
        metric_micro, cpu_ms = value["metric_micro"], value["cpu_ms"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if status not in STATUSES or (type(metric_micro) is int) != (status == "ok"):
        return None
    if metric_micro is not None and not _is_within(abs(metric_micro), METRIC_MICRO_MAX):
        return None
    if not _is_within(seed, TRANSFER_SEEDS_MAX - 1) or not _is_within(cpu_ms, COUNT_MAX):
        return None
    return entry, seed, Measured(cast("Status", status), metric_micro, cpu_ms)


def _is_within(value: object, most: int) -> bool:
    return type(value) is int and 0 <= value <= most
