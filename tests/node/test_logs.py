"""The log: nothing that a peer or a full disk repeats buries the rest."""

import logging

from node.logs import RepetitionFilter


def line(at_s: float, text: str = "not stored: %s", *args: object) -> logging.LogRecord:
    record = logging.LogRecord("node.intake", logging.ERROR, "intake.py", 1, text, args, None)
    record.created = at_s
    return record


def said(lines: list[logging.LogRecord]) -> list[str]:
    gate = RepetitionFilter()
    passed = []
    for record in lines:
        answer = gate.filter(record)
        if answer:
            passed.append(answer if isinstance(answer, logging.LogRecord) else record)
    return [record.getMessage() for record in passed]


def test_what_repeats_is_said_a_few_times_and_then_counted() -> None:
    lines = [line(number / 100, "not stored: %s", number) for number in range(1_000)]
    lines.append(line(61.0, "not stored: %s", "again"))
    told = said(lines)
    assert told[:2] == ["not stored: 0", "not stored: 1"]
    assert len(told) == 11
    assert told[-1] == "not stored: again (990 more like this were left out)"


def test_other_places_are_heard_meanwhile() -> None:
    lines = [line(0.0, "not stored: %s", number) for number in range(50)]
    assert said([*lines, line(0.5, "the disk takes records again")])[-1] == (
        "the disk takes records again"
    )


def test_a_clock_that_is_set_back_silences_nothing() -> None:
    lines = [line(1_000.0, "x") for _ in range(20)] + [line(5.0, "x")]
    assert said(lines)[-1] == "x (10 more like this were left out)"


def test_memory_is_bounded_whatever_a_library_says() -> None:
    gate = RepetitionFilter()
    for number in range(5_000):
        gate.filter(line(0.0, f"peer {number} did it"))
    assert len(gate._windows) <= 1_024
