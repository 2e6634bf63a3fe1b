"""The log: nothing that a peer or a full disk repeats buries the rest."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.logs import RepetitionFilter, set_up_logging


class Clock(logging.Filter):
    """Dates the lines that are logged."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        record.created = self.now_s
        return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(tmp_path: Path, clock: Clock) -> Iterator[logging.Logger]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level, logging.raiseExceptions)
    set_up_logging(tmp_path / "node.log")
    logger = logging.getLogger("node.tested")
    logger.addFilter(clock)
    yield logger
    logger.removeFilter(clock)
    for handler in root.handlers:
        handler.close()
    root.handlers[:], root.level, logging.raiseExceptions = before
    logging.captureWarnings(False)


def lines(tmp_path: Path) -> list[str]:
    text = (tmp_path / "node.log").read_text(encoding="utf-8")
    return [line.partition("node.tested: ")[2] for line in text.splitlines()]


def test_what_repeats_is_said_a_few_times_and_then_counted(
    tmp_path: Path, log: logging.Logger, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(1_000):
        log.error("not stored: %s", number)
    log.error("another place")
    clock.now_s = 61.0
    log.error("not stored: %s", "again")
    told = lines(tmp_path)
    assert told[:2] == ["not stored: 0", "not stored: 1"]
    assert told[10:] == [
        "another place",
        "not stored: again (990 more like this were left out)",
    ]


def test_a_clock_that_is_set_back_silences_nothing(
    tmp_path: Path, log: logging.Logger, clock: Clock
) -> None:
    clock.now_s = 1_000.0
    for _ in range(20):
        log.error("x")
    clock.now_s = 5.0
    log.error("x")
    assert lines(tmp_path)[-1] == "x (10 more like this were left out)"


def test_memory_is_bounded_whatever_a_library_says() -> None:
    gate = RepetitionFilter()
    for number in range(5_000):
        gate.filter(logging.LogRecord("x", 20, "x.py", 1, f"peer {number} did it", (), None))
    assert len(gate._windows) <= 1_024
