"""What each hypothesis of this node has cost to think of: kept beside the node, never published.

One line of JSON a hypothesis, appended once it is published. The book of the language model
(`node.agent.usage`) decides what may be spent; this file only remembers what it was spent on, so a
damaged line is passed over, and one that cannot be written is told of and forgotten.
"""

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from node.agent.prices import Used

_KEPT_MAX: Final = 10_000
_SHOWN: Final = 10
_FILE_BYTES_MAX: Final = 8 << 20

_log = logging.getLogger(__name__)


class HypothesisCosts:
    """The costs of one home, by hypothesis.

    Args:
        path: Their file; None to keep them in memory alone.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._costs: dict[bytes, Used] = {} if path is None else _read(path)

    def keep(self, hypothesis: bytes, cost: Used) -> None:
        """Remember what a hypothesis has cost, if anything was asked for it."""
        if not cost.calls:
            return
        self._costs[hypothesis] = cost
        while len(self._costs) > _KEPT_MAX:
            del self._costs[next(iter(self._costs))]
        if self._path is None:
            return
        try:
            with self._path.open("a") as file:
                file.write(json.dumps({"hypothesis": hypothesis.hex()} | asdict(cost)) + "\n")
        except OSError as error:
            _log.warning("cannot write %s: %s", self._path, error.strerror)

    def of(self, hypothesis: bytes) -> dict[str, Any] | None:
        """What `show` prints of a hypothesis's cost; None if none is known."""
        cost = self._costs.get(hypothesis)
        return None if cost is None else shown(cost)

    def status(self) -> dict[str, Any]:
        """What the status shows: the mean, and the latest hypotheses."""
        if not self._costs:
            return {"hypotheses": 0, "usd_per_hypothesis": None, "latest": []}
        total = sum(cost.microusd for cost in self._costs.values())
        return {
            "hypotheses": len(self._costs),
            "usd_per_hypothesis": total / 1e6 / len(self._costs),
            "latest": [
                {"id": identity.hex()} | shown(cost)
                for identity, cost in list(self._costs.items())[: -_SHOWN - 1 : -1]
            ],
        }


def shown(cost: Used) -> dict[str, Any]:
    """A cost as it is printed: calls, tokens and dollars."""
    return {"calls": cost.calls, "tokens": cost.tokens, "usd": cost.microusd / 1e6}


def _read(path: Path) -> dict[bytes, Used]:
    costs: dict[bytes, Used] = {}
    try:
        with path.open("rb") as file:
            # The end is what counts; a cut first line is passed over like any damaged one.
            file.seek(max(0, path.stat().st_size - _FILE_BYTES_MAX))
            lines = file.read(_FILE_BYTES_MAX).splitlines()
    except FileNotFoundError:
        return costs
    except OSError as error:
        _log.warning("cannot read %s: %s", path, error.strerror)
        return costs
    for line in lines[-_KEPT_MAX:]:
        try:
            value = json.loads(line)
            numbers = [value[name] for name in ("calls", "tokens", "microusd")]
            if all(type(number) is int and number >= 0 for number in numbers):
                costs[bytes.fromhex(value["hypothesis"])] = Used(*numbers)
        except (ValueError, KeyError, TypeError, RecursionError):
            _log.warning("%s has a damaged line", path)
    return costs
