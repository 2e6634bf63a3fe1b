import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from node.agent.prices import PRICES, Price, Tokens, Used, cost_microusd
from node.agent.usage import BudgetError, Caps, UsageBook, UsageFileError

DAY_MS = 86_400_000
RICH = Caps(microusd=10**12, microusd_per_day=10**12)


def book(path: Path, caps: Caps = RICH, now_ms: int = 1_700_000_000_000) -> UsageBook:
    return UsageBook(path / "usage.json", caps, lambda: now_ms)


def test_money_is_rounded_up_and_caching_has_its_price() -> None:
    assert cost_microusd(Price(4.0, 20.0), Tokens(fresh=1_000_000)) == 4_000_000
    assert cost_microusd(Price(4.0, 20.0), Tokens(cache_write=1_000_000)) == 5_000_000
    assert cost_microusd(Price(4.0, 20.0), Tokens(cache_read=1_000_000)) == 400_000
    assert cost_microusd(Price(4.0, 20.0), Tokens(output=1_000_000)) == 20_000_000
    assert cost_microusd(Price(0.5, 2.5), Tokens(fresh=1)) == 1
    assert all(0 < price.input_usd < price.output_usd for price in PRICES.values())


def test_a_reservation_counts_until_it_is_settled_and_survives_a_crash(tmp_path: Path) -> None:
    first = book(tmp_path)
    reservation = first.reserve(1_000, 500)
    # Another process, after a crash of the first, sees the worst case.
    assert book(tmp_path).used() == (Used(1, 1_000, 500), Used(1, 1_000, 500))
    first.settle(reservation, 100, 50)
    assert book(tmp_path).used() == (Used(1, 100, 50), Used(1, 100, 50))
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("caps", "name"),
    [
        (Caps(100, 10**9), "agent_max_usd:"),
        (Caps(10**9, 100), "agent_max_usd_per_day"),
        (Caps(10**9, 10**9, 100), "agent_max_tokens:"),
        (Caps(10**9, 10**9, None, 100), "agent_max_tokens_per_day"),
    ],
)
def test_every_limit_stops_before_it_is_passed(tmp_path: Path, caps: Caps, name: str) -> None:
    used = book(tmp_path, caps)
    used.reserve(60, 60)
    with pytest.raises(BudgetError, match=name):
        used.reserve(41, 41)
    used.reserve(40, 40)
    assert used.used()[0] == Used(2, 100, 100)


def test_a_new_day_has_its_own_allowance_and_old_settlements_go_where_they_belong(
    tmp_path: Path,
) -> None:
    caps = Caps(10**9, 100)
    late = book(tmp_path, caps).reserve(10, 100)
    tomorrow = book(tmp_path, caps, 1_700_000_000_000 + DAY_MS)
    tomorrow.reserve(10, 100)
    tomorrow.settle(late, 1, 1)
    assert tomorrow.used() == (Used(2, 11, 101), Used(1, 10, 100))


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b"[" * 100_000, b'{"version": 2}',
     b'{"version": 1, "days": {}, "total": {"calls": 0, "tokens": 0, "microusd": -5}}',
     b'{"version": 1, "days": {}, "total": {"calls": true, "tokens": 0, "microusd": 0}}'],
)  # fmt: skip
def test_a_damaged_book_is_not_begun_anew(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "usage.json").write_bytes(damage)
    with pytest.raises(UsageFileError, match="damaged"):
        book(tmp_path).reserve(1, 1)
    with pytest.raises(UsageFileError, match="damaged"):
        book(tmp_path).used()
    assert (tmp_path / "usage.json").read_bytes() == damage


def test_a_book_that_cannot_be_written_allows_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageFileError, match="cannot write"):
        book(tmp_path / "missing").reserve(1, 1)


def test_many_at_once_never_pass_a_limit(tmp_path: Path) -> None:
    caps = Caps(1_000, 1_000)

    def reserve(_number: int) -> bool:
        try:
            book(tmp_path, caps).reserve(1, 90)
        except BudgetError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(reserve, range(40))) == 11
    assert json.loads((tmp_path / "usage.json").read_text())["total"]["microusd"] == 990
