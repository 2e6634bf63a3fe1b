from pathlib import Path

import pytest

from node.resting import (
    BEGIN_S,
    END_S,
    LOAD_END_SHARE,
    Readings,
    Rest,
    RestRules,
    decide_rest,
    on_battery,
    read_machine,
)

RULES = RestRules(on_battery=True, load=0.5)
MAINS = Readings(on_battery=False, load=0.0)
BATTERY = Readings(on_battery=True, load=0.0)


def after(*steps: tuple[float, Readings], rules: RestRules = RULES) -> list[bool]:
    rest = Rest()
    resting = []
    for now_s, readings in steps:
        rest = decide_rest(rest, readings, rules, now_s)
        resting.append(bool(rest.reason))
    return resting


def test_a_reason_must_hold_before_the_node_rests_and_be_gone_before_it_goes_on() -> None:
    assert after(
        (0, MAINS), (10, BATTERY), (10 + BEGIN_S - 1, BATTERY), (10 + BEGIN_S, BATTERY),
        (100, MAINS), (100 + END_S - 1, MAINS), (100 + END_S, MAINS),
    ) == [False, False, False, True, True, True, False]  # fmt: skip


def test_a_reading_that_flutters_changes_nothing() -> None:
    flutter = [(float(t), BATTERY if t % 20 else MAINS) for t in range(0, 200, 10)]
    assert not any(after(*flutter))
    begun = [(0.0, BATTERY), (BEGIN_S, BATTERY)]
    back = [(BEGIN_S + t, MAINS if t % 20 else BATTERY) for t in range(10, 400, 10)]
    assert all(after(*begun, *back)[1:])


def test_a_rest_for_load_ends_lower_than_it_began() -> None:
    high, middle = Readings(False, 0.5), Readings(False, 0.5 * LOAD_END_SHARE)
    low = Readings(False, 0.5 * LOAD_END_SHARE - 0.01)
    assert after((0, middle), (BEGIN_S, middle)) == [False, False]
    assert after((0, high), (BEGIN_S, high), (200, middle), (400, middle), (401, low),
                 (401 + END_S, low)) == [False, True, True, True, True, False]  # fmt: skip


@pytest.mark.parametrize("readings", [BATTERY, Readings(False, 99.0)])
def test_what_is_switched_off_is_no_reason(readings: Readings) -> None:
    assert after((0, readings), (1_000, readings), rules=RestRules(False, 0.0)) == [False, False]


def supply(power: Path, name: str, **values: str) -> None:
    (power / name).mkdir(parents=True)
    for key, value in values.items():
        (power / name / key).write_text(value + "\n")


def test_power_supplies_are_read_as_linux_lists_them(tmp_path: Path) -> None:
    assert not on_battery(tmp_path / "none")
    supply(tmp_path, "BAT0", type="Battery", status="Discharging")
    assert on_battery(tmp_path)
    supply(tmp_path, "AC", type="Mains", online="1")
    assert not on_battery(tmp_path)
    (tmp_path / "AC" / "online").write_text("0\n")
    assert read_machine(10_000, tmp_path) == Readings(on_battery=True, load=0.0)
    (tmp_path / "BAT0" / "status").write_text("Charging\n")
    supply(tmp_path, "mouse", type="Battery", status="Discharging", scope="Device")
    (tmp_path / "strange").mkdir()
    assert not on_battery(tmp_path)
