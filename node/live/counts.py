"""Who got which variant, who said yes, and what that says: Thompson sampling over one SQLite file.

Theory of operation. Each visit gets one arm and keeps it. With a small probability the arm is
drawn evenly, so that no arm is ever without fresh visits; else one rate is drawn for each arm from
what is believed of it, Beta(1 + yes, 1 + no), and the largest wins. A visit counts, with its answer
or without one, only after a while: before, the person may still be reading, and counting those who
are quick would count the willing.

Rates of different hours do not compare, and sampling shifts visits from arm to arm as hours pass.
The report is therefore paired: visits are cut into blocks in the order of their coming, an arm and
the baseline are compared within each block, and the differences are weighted by what each says.

This file refuses to know HTTP and pages. Clock and chance are arguments.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw

from node.errors import NodeError, UsageError

TOKEN_BYTES: Final = 16
EVEN_SHARE: Final = 0.1
"""Share of visits that are given out evenly, whatever is believed."""

BLOCK_VISITS: Final = 100
"""Visits compared with each other: few enough to be of one hour on a quiet page."""

PATIENCE_MS: Final = 30 * 60 * 1000
"""How old a visit must be to count: by then who says yes has mostly done so."""

VISITS_MAX: Final = 200_000
"""A test that large has been decided, and all of it can still be counted anew every second."""

_COUNTED_ANEW_MS: Final = 1_000

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS arm (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, digest BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS visit (
    sequence INTEGER PRIMARY KEY, token BLOB NOT NULL UNIQUE, arm INTEGER NOT NULL,
    created_ms INTEGER NOT NULL, answered_ms INTEGER
);
"""


@dataclass(frozen=True, slots=True)
class ArmReport:
    """What came of one arm.

    Attributes:
        name: Its name.
        visits: Visits that are old enough to count.
        waiting: Visits that may still answer.
        responses: Positive responses of those that count.
        rate: Responses per visit; None without a visit.
        gain: Paired difference to the baseline; None for the baseline itself, or without a block.
        error: Its standard error.
        blocks: Blocks that compare both.
    """

    name: str
    visits: int
    waiting: int
    responses: int
    rate: float | None
    gain: float | None = None
    error: float | None = None
    blocks: int = 0


class Counts:
    """One file of visits, which outlives the process.

    Args:
        path: The file; made when missing.
        arms: Digests of what is handed out by the arms' names; the first is the baseline. Empty to
            take the arms that the file has, as a report does.
        patience_ms: How old a visit must be to count.

    Raises:
        UsageError: The file belongs to a test of other arms.
        NodeError: It cannot be used.
    """

    def __init__(
        self, path: Path, arms: Mapping[str, bytes] = {}, *, patience_ms: int = PATIENCE_MS
    ) -> None:
        self._patience_ms = patience_ms
        self._counted: tuple[int, list[tuple[int, int, int]]] | None = None
        try:
            self._database = apsw.Connection(str(path))
            self._database.set_busy_timeout(5_000)
            self._database.execute("PRAGMA journal_mode=WAL").get  # noqa: B018
            # A power cut may cost the last visits, of all arms alike; a crash costs none.
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.execute(_SCHEMA)
            held = list(self._database.execute("SELECT name, digest FROM arm ORDER BY id"))
            if not held and arms:
                with self._database:
                    self._database.executemany(
                        "INSERT INTO arm (name, digest) VALUES (?, ?)", list(arms.items())
                    )
                held = list(arms.items())
        except apsw.Error as error:
            raise NodeError(f"cannot use {path}: {error}") from error
        if arms and [tuple(row) for row in held] != list(arms.items()):
            raise UsageError(f"{path} counts other variants; name another file for a new test")
        self.arms: tuple[str, ...] = tuple(str(name) for name, _ in held)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def begin(self, token: bytes, now_ms: int, rng: random.Random) -> str | None:
        """Give a new visit an arm; None when no more visits are counted.

        Args:
            token: Names the visit; nobody can guess it.
            now_ms: The time.
            rng: Chance.
        """
        with self._database:
            if self._number("SELECT coalesce(max(sequence), 0) FROM visit") >= VISITS_MAX:
                return None
            arm = self._draw(now_ms, rng)
            self._database.execute(
                "INSERT INTO visit (token, arm, created_ms) VALUES (?, ?, ?)",
                (token, arm + 1, now_ms),
            )
        return self.arms[arm]

    def arm_of(self, token: bytes) -> str | None:
        """The arm of a visit; None when there is no such visit."""
        row = self._database.execute("SELECT arm FROM visit WHERE token = ?", (token,)).get
        return None if row is None else self.arms[int(row) - 1]

    def answer(self, token: bytes, now_ms: int) -> bool:
        """Count a positive response, once a visit; False when there is no such visit."""
        with self._database:
            self._database.execute(
                "UPDATE visit SET answered_ms = ? WHERE token = ? AND answered_ms IS NULL",
                (now_ms, token),
            )
        return self.arm_of(token) is not None

    def report(self, now_ms: int) -> list[ArmReport]:
        """What came of every arm, the baseline first."""
        totals = self._totals(now_ms)
        reports = []
        for number, name in enumerate(self.arms):
            visits, waiting, responses = totals[number]
            rate = responses / visits if visits else None
            paired = self._paired(number, now_ms) if number else (None, None, 0)
            reports.append(ArmReport(name, visits, waiting, responses, rate, *paired))
        return reports

    def _draw(self, now_ms: int, rng: random.Random) -> int:
        if rng.random() < EVEN_SHARE:
            return rng.randrange(len(self.arms))
        drawn = [
            rng.betavariate(1 + responses, 1 + visits - responses)
            for visits, _, responses in self._recent_totals(now_ms)
        ]
        return max(range(len(drawn)), key=drawn.__getitem__)

    def _recent_totals(self, now_ms: int) -> list[tuple[int, int, int]]:
        """Totals that are at most a moment old."""
        if self._counted is None or not 0 <= now_ms - self._counted[0] < _COUNTED_ANEW_MS:
            self._counted = (now_ms, self._totals(now_ms))
        return self._counted[1]

    def _totals(self, now_ms: int) -> list[tuple[int, int, int]]:
        """Visits that count, waiting ones, and responses of every arm."""
        totals = [(0, 0, 0)] * len(self.arms)
        old_ms = now_ms - self._patience_ms
        rows = self._database.execute(
            "SELECT arm, sum(created_ms <= ?), sum(created_ms > ?),"
            " sum(created_ms <= ? AND answered_ms IS NOT NULL) FROM visit GROUP BY arm",
            (old_ms, old_ms, old_ms),
        )
        for arm, visits, waiting, responses in rows:
            totals[int(arm) - 1] = (int(visits), int(waiting), int(responses))
        return totals

    def _paired(self, arm: int, now_ms: int) -> tuple[float | None, float | None, int]:
        """The weighted difference within blocks, its standard error, and the number of blocks."""
        rows = self._database.execute(
            "SELECT (sequence - 1) / ?, arm, count(*), count(answered_ms) FROM visit"
            " WHERE arm IN (1, ?) AND created_ms <= ? GROUP BY 1, 2 ORDER BY 1, 2",
            (BLOCK_VISITS, arm + 1, now_ms - self._patience_ms),
        )
        blocks: dict[int, list[tuple[int, int]]] = {}
        for block, _, visits, responses in rows:
            blocks.setdefault(int(block), []).append((int(visits), int(responses)))
        return paired_difference([cells for cells in blocks.values() if len(cells) == 2])

    def _number(self, query: str) -> int:
        return int(str(self._database.execute(query).get))


def paired_difference(
    blocks: Sequence[Sequence[tuple[int, int]]],
) -> tuple[float | None, float | None, int]:
    """The difference of two rates over blocks, as Mantel and Haenszel weight them.

    Args:
        blocks: For each block (visits, responses) of the baseline and of the arm.

    Returns:
        The difference, its standard error from the pooled rates with one response added on each
        side, and the number of blocks; no difference where there is no block.
    """
    if not blocks:
        return None, None, 0
    total = summed = variance = 0.0
    rates = []
    for side in (0, 1):
        visits = sum(block[side][0] for block in blocks)
        responses = sum(block[side][1] for block in blocks)
        rates.append((responses + 1) / (visits + 2))
    for (visits, yes), (others, other_yes) in blocks:
        weight = visits * others / (visits + others)
        total += weight
        summed += weight * (other_yes / others - yes / visits)
        spread = rates[0] * (1 - rates[0]) / visits + rates[1] * (1 - rates[1]) / others
        variance += weight**2 * spread
    return summed / total, variance**0.5 / total, len(blocks)
