import json
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from node.agent.checking import find_proposal
from node.agent.choice import FallbackProposer
from node.agent.claude import TRIES_MAX, ApiKey, ClaudeProposer, ClaudeSettings
from node.agent.prices import PRICES, Tokens, Used, cost_microusd
from node.agent.prompt import TaskFacts
from node.agent.proposal import Proposal, RejectedError, Rejection, ResearchView
from node.agent.trouble import TroubleError, TroubleKind
from node.agent.usage import Caps, UsageBook
from tests.node.agent.api import ANSWER, FakeApi, Reply, failure, fake_api, message
from tests.node.agent.test_checking import FASTER, HEAD, proposal, view

KEY = "sk-ant-very-secret"
PRICE = PRICES["claude-opus-5-5"]
FACTS = TaskFacts("bytes", "val_bpb in bits/byte, less is better", "3 steps", "# Programme\nGo.")
RICH = Caps(microusd=100_000_000, microusd_per_day=100_000_000)
TRUE_COST = cost_microusd(PRICE, Tokens(100, 2000, 3000, 500))


class World:
    """A proposer before a fake API, with what it slept and what it spent."""

    def __init__(self, api: FakeApi, path: Path, caps: Caps, timeout_s: float) -> None:
        self.api = api
        path.mkdir(exist_ok=True)
        self.path = path / "agent-usage.json"
        self.slept_s: list[float] = []
        self.book = UsageBook(self.path, caps, lambda: 1_700_000_000_000)
        settings = ClaudeSettings("claude-opus-5-5", PRICE, "low", timeout_s, api.url)
        self.claude = ClaudeProposer(
            ApiKey(KEY), settings, self.book, FACTS, secret=b"secret", sleep=self._sleep
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        await trio.lowlevel.checkpoint()

    async def ask(self, rejection: Rejection | None = None) -> Proposal:
        found = await self.claude.propose(view(), random.Random(1), rejection)
        assert found is not None
        return found

    async def trouble(self) -> TroubleError:
        with pytest.raises(TroubleError) as caught:
            await self.ask()
        return caught.value

    @property
    def spent(self) -> int:
        return self.book.used()[0].microusd


@asynccontextmanager
async def world(
    path: Path, *replies: Reply, caps: Caps = RICH, timeout_s: float = 30.0
) -> AsyncIterator[World]:
    async with fake_api(*replies) as api:
        made = World(api, path, caps, timeout_s)
        yield made
        await made.claude.close()


async def test_an_answer_becomes_a_proposal_and_its_cost_is_booked(tmp_path: Path) -> None:
    async with world(tmp_path, message()) as w:
        found = await w.ask()
        assert (found.source, found.proposer, found.model) == (FASTER, "claude", "claude-opus-5-5")
        assert (found.kind, found.change) == ("rate", "edit: rate 2")
        assert json.loads(found.answer) == ANSWER
        assert w.spent == TRUE_COST == 4 * 100 + 5 * 2000 + 1200 + 20 * 500
        request = w.api.requests[0]
        assert request["model"] == "claude-opus-5-5"
        assert request["stream"] is True
        assert found.cost == Used(1, 5600, TRUE_COST)
        assert request["output_config"]["effort"] == "low"
        assert request["output_config"]["format"]["type"] == "json_schema"
        assert "temperature" not in request
        # Rules, and task with script, are kept by the service; the memory is not.
        assert request["system"][0]["cache_control"] == {"type": "ephemeral"}
        fixed, changing = request["messages"][0]["content"]
        assert fixed["cache_control"] == {"type": "ephemeral"}
        assert HEAD.rstrip() in fixed["text"]
        assert "# Programme" in fixed["text"]
        assert "cache_control" not in changing
        await w.ask(Rejection("it does not parse", 1, "my answer"))
        assert w.api.requests[1]["messages"][0]["content"][0] == fixed
        again = w.api.requests[1]["messages"][0]["content"][1]["text"]
        assert "it does not parse" in again
        assert "my answer" in again


OUTCOMES: list[tuple[Reply, TroubleKind, int]] = [
    (failure(401, "authentication_error"), "bad_key", 1),
    (failure(403, "permission_error"), "bad_key", 1),
    (failure(402, "billing_error"), "no_credit", 1),
    (failure(400, "invalid_request_error", "Your credit balance is too low"), "no_credit", 1),
    (failure(400, "invalid_request_error", "max_tokens: too many"), "bad_request", 1),
    (failure(404, "not_found_error", "model: claude-nine"), "bad_request", 1),
    (failure(429, "rate_limit_error"), "rate_limited", TRIES_MAX),
    (failure(529, "overloaded_error"), "overloaded", TRIES_MAX),
    (failure(500, "api_error"), "unreachable", TRIES_MAX),
]


@pytest.mark.parametrize(("reply", "kind", "tries"), OUTCOMES)
async def test_every_refusal_of_the_service_has_a_name_and_costs_nothing(
    tmp_path: Path, reply: Reply, kind: TroubleKind, tries: int
) -> None:
    async with world(tmp_path, reply) as w:
        assert (await w.trouble()).kind == kind
        assert len(w.api.requests) == tries
        assert w.spent == 0
        assert len(w.slept_s) == tries - 1
        assert w.slept_s == sorted(w.slept_s)
        assert w.book.used()[0].calls == tries


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (message("", "refusal", content=[]), "refused"),
        (message('{"title": "a la', "max_tokens"), "truncated"),
        (message("", "tool_use"), "malformed"),
    ],
)
async def test_an_answer_without_a_proposal_is_an_outcome_and_is_paid(
    tmp_path: Path, reply: Reply, kind: TroubleKind
) -> None:
    async with world(tmp_path, reply) as w:
        assert (await w.trouble()).kind == kind
        assert w.spent == TRUE_COST


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"7", b"{}", b"<html>", {"type": "message", "usage": {"input_tokens": "many"}}],
)
async def test_nonsense_from_the_service_is_an_outcome_and_stays_booked(
    tmp_path: Path, body: object
) -> None:
    async with world(tmp_path, Reply(body=body)) as w:
        assert (await w.trouble()).kind == "malformed"
        # It may have been charged: the worst case remains.
        assert w.spent > 300_000


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no JSON", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "edits must be"),
        (json.dumps({**ANSWER, "edits": [1]}), "must be an object"),
        (json.dumps({**ANSWER, "edits": [{"search": "RATE", "replace": 1}]}), "replace must be"),
        (json.dumps({**ANSWER, "title": " \u202e"}), "must not be empty"),
        (
            json.dumps({**ANSWER, "edits": [{"search": "    pass", "replace": ""}]}),
            "more than once",
        ),
    ],
)
async def test_an_answer_that_fits_nowhere_is_rejected_with_the_reason(
    tmp_path: Path, text: str, reason: str
) -> None:
    async with world(tmp_path, message(text)) as w:
        with pytest.raises(RejectedError, match=reason) as caught:
            await w.ask()
        assert caught.value.answer == text


async def test_a_busy_service_is_asked_again_when_it_says(tmp_path: Path) -> None:
    busy = failure(429, "rate_limit_error", retry_after="7")
    async with world(tmp_path, busy, failure(529, "overloaded_error"), message()) as w:
        assert (await w.ask()).title == ANSWER["title"]
        assert w.slept_s[0] == 7.0
        assert 3.0 <= w.slept_s[1] <= 5.0
        assert w.spent == TRUE_COST


async def test_a_service_that_wants_to_be_left_alone_for_long_is(tmp_path: Path) -> None:
    async with world(tmp_path, failure(429, "rate_limit_error", retry_after="900")) as w:
        error = await w.trouble()
        assert (error.retry_after_s, w.slept_s) == (900.0, [])


async def test_a_service_that_hangs_is_given_up_and_stays_booked(tmp_path: Path) -> None:
    async with world(tmp_path, Reply(hang=True), timeout_s=0.2) as w:
        assert (await w.trouble()).kind == "timeout"
        assert w.spent > 300_000


async def test_a_question_can_be_cancelled_and_stays_booked(tmp_path: Path) -> None:
    async with world(tmp_path, Reply(hang=True)) as w, trio.open_nursery() as nursery:
        nursery.start_soon(w.ask)
        await w.api.asked.wait()
        nursery.cancel_scope.cancel()
    assert w.spent > 300_000


async def test_an_answer_that_breaks_off_is_an_outcome_and_stays_booked(tmp_path: Path) -> None:
    for count in range(1, 9):
        async with world(tmp_path / str(count), replace(message(), events=count)) as w:
            error = await w.trouble()
            assert error.kind in {"unreachable", "malformed"}
            assert w.spent == error.cost.microusd > 300_000 * len(w.api.requests)


async def test_a_service_that_falls_silent_within_an_answer_is_given_up(tmp_path: Path) -> None:
    async with world(tmp_path, replace(message(), events=4, then="hang"), timeout_s=0.3) as w:
        assert (await w.trouble()).kind == "timeout"
        assert w.spent > 300_000
        # It is told so, and need not go on writing.
        await w.api.left.wait()


async def test_a_question_cancelled_within_its_answer_ends_the_answer(tmp_path: Path) -> None:
    reply = replace(message(), events=4, then="hang")
    async with world(tmp_path, reply) as w:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(w.ask)
            await w.api.begun.wait()
            nursery.cancel_scope.cancel()
        await w.api.left.wait()
    assert w.spent > 300_000


async def test_an_overload_within_an_answer_is_tried_again_and_both_are_booked(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, replace(message(), events=4, then="error"), message()) as w:
        found = await w.ask()
        assert len(w.slept_s) == 1
        assert w.spent > 300_000 + TRUE_COST
        assert found.cost == w.book.used()[0]


async def test_what_answers_cost_that_did_not_do_belongs_to_the_proposal(tmp_path: Path) -> None:
    news: list[str] = []

    async def smoke(_proposal: Proposal) -> str | None:
        return None

    async def cost_of(*replies: Reply) -> Used:
        async with world(tmp_path / str(len(news)), *replies) as w:
            both = FallbackProposer(w.claude, Always(), news.append, lambda: 0.0)
            found = await find_proposal(both, view(), random.Random(1), smoke, news.append)
            assert found is not None
            news.append(found.proposal.title)
            assert found.proposal.cost == w.book.used()[0]
            return found.proposal.cost

    assert await cost_of(message("nonsense"), message()) == Used(2, 11_200, 2 * TRUE_COST)
    assert news[-1] == ANSWER["title"]
    assert await cost_of(message("", "refusal", content=[])) == Used(1, 5600, TRUE_COST)
    assert news[-1] == "offline"
    assert await cost_of(failure(401, "authentication_error")) == Used(1)


async def test_nobody_at_home_is_an_outcome(tmp_path: Path) -> None:
    async with fake_api(message()) as api:
        pass
    w = World(api, tmp_path, RICH, 30.0)
    assert (await w.trouble()).kind == "unreachable"
    await w.claude.close()


async def test_no_request_is_made_that_could_pass_the_budget(tmp_path: Path) -> None:
    caps = Caps(microusd=450_000, microusd_per_day=100_000_000)
    async with world(tmp_path, message(), caps=caps) as w:

        async def spend_all() -> None:
            for _ in range(20):
                await w.ask()
                assert w.spent <= caps.microusd

        with pytest.raises(TroubleError, match="agent_max_usd") as caught:
            await spend_all()
        assert caught.value.kind == "budget"
        assert w.spent == len(w.api.requests) * TRUE_COST > 0
        assert len(w.api.requests) < 10
        # The book is on disk: a restarted node does not begin anew.
        again = World(w.api, tmp_path, caps, 30.0)
        assert (await again.trouble()).kind == "budget"
        await again.claude.close()


async def test_the_key_is_in_one_header_and_nowhere_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = failure(401, "authentication_error", f"invalid x-api-key {KEY}")
    async with world(tmp_path, message(), echo) as w:
        found = await w.ask()
        error = await w.trouble()
        assert [name for name, value in w.api.headers[0].items() if KEY in value] == [
            "authorization"
        ]
        told = [repr(found), str(error), repr(w.claude.last), repr(w.claude.__dict__), caplog.text]
        told += [json.dumps(request) for request in w.api.requests]
        told += [path.read_text() for path in tmp_path.iterdir()]
        assert not [text for text in told if KEY in text]


class Always:
    """Always has a proposal."""

    async def propose(
        self, view: ResearchView, rng: random.Random, rejection: Rejection | None = None
    ) -> Proposal | None:
        return proposal(proposer="offline", title="offline")


async def test_the_offline_agent_takes_over_and_gives_back(tmp_path: Path) -> None:
    now_s = [0.0]
    news: list[str] = []
    replies = (failure(402, "billing_error"), failure(402, "billing_error"), message())
    async with world(tmp_path, *replies) as w:
        both = FallbackProposer(w.claude, Always(), news.append, lambda: now_s[0])

        async def title(rejection: Rejection | None = None) -> str:
            found = await both.propose(view(), random.Random(1), rejection)
            assert found is not None
            return found.title

        assert [await title(), await title()] == ["offline", "offline"]
        assert len(w.api.requests) == 1
        now_s[0] = 1801.0
        assert await title() == "offline"
        now_s[0] = 1801.0 + 3599.0
        assert await title() == "offline"
        assert len(w.api.requests) == 2
        now_s[0] += 2.0
        assert await title() == ANSWER["title"]
        assert both.trouble is None, "an answer ends the trouble"
        assert ["no credit" in news[0], news[1]] == [True, "Claude answers again"]
        assert len(news) == 2
        # A model that was told why not, and failed again, does not hold up the node.
        assert await title(Rejection("crashed", 1)) == ANSWER["title"]
        assert await title(Rejection("crashed", 2)) == "offline"
