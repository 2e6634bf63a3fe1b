import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from node.agency import (
    SteadySearch,
    check_agent,
    describe_task,
    make_agency,
    open_book,
    take_api_key,
)
from node.agent.claude import ApiKey
from node.agent.offline import PLATEAU_EXPERIENCES, STAGES, OfflineProposer
from node.agent.prompt import TaskFacts
from node.agent.proposal import Proposal, Rejection, ResearchView
from node.agent_trial import try_once
from node.blobs import BlobStore
from node.cli.agent import agent
from node.config import Config, read_config
from node.errors import ConfigError, NodeError, UsageError
from node.home import Home
from tests.node.agent.api import ANSWER, failure, fake_api, message
from tests.node.agent.test_checking import proposal, view
from tests.node.scripted import GENESIS_SCRIPT as SCRIPTED
from tests.node.scripted import ScriptedSwarm
from tests.swarm.helpers import TAU, digest, key
from trainer.task import built_in_directory, built_in_task

KEY = ApiKey("sk-ant-very-secret")
FACTS = TaskFacts("", "", "", "")


def mode(tmp_path: Path, key: ApiKey | None, **config: object) -> str:
    made = make_agency(
        Config(**config),  # type: ignore[arg-type]
        Home(tmp_path), key, FACTS, tell=lambda _text: None, now_s=lambda: 0.0,
    )  # fmt: skip
    assert (made.proposer is None) == (made.mode == "none")
    return made.mode


def test_the_key_decides_who_proposes_unless_the_owner_does(tmp_path: Path) -> None:
    assert mode(tmp_path, None) == "offline"
    assert mode(tmp_path, KEY) == "claude"
    assert mode(tmp_path, KEY, agent="offline") == "offline"
    assert mode(tmp_path, KEY, agent="none") == "none"
    with pytest.raises(UsageError, match="ANTHROPIC_API_KEY"):
        mode(tmp_path, None, agent="claude")


def test_a_model_without_a_price_is_refused_at_start() -> None:
    unknown = Config(agent_model="claude-nine")
    with pytest.raises(UsageError, match="no price is known for the model 'claude-nine'"):
        check_agent(unknown, KEY)
    check_agent(unknown, None)
    check_agent(replace(unknown, agent_price_usd=(1.0, 2.0)), KEY)


def test_the_key_is_taken_out_of_the_environment() -> None:
    environment = {"ANTHROPIC_API_KEY": " k ", "PATH": "/bin"}
    key = take_api_key(environment)
    assert key is not None
    assert key.reveal() == "k"
    assert environment == {"PATH": "/bin"}
    assert take_api_key(environment) is None
    assert take_api_key({"ANTHROPIC_API_KEY": " "}) is None


def test_the_status_shows_costs_and_a_damaged_book(tmp_path: Path) -> None:
    config = Config(agent_max_usd=1.5)
    made = make_agency(
        config, Home(tmp_path), KEY, FACTS, tell=lambda _text: None, now_s=lambda: 0.0
    )
    open_book(config, Home(tmp_path)).reserve(1_000, 250_000)
    shown = made.status()
    assert (shown["usd"], shown["usd_today"], shown["max_usd"]) == (0.25, 0.25, 1.5)
    assert (shown["mode"], shown["model"], shown["tokens"]) == ("claude", "claude-opus-5-5", 1_000)
    assert KEY.reveal() not in str(shown)
    Home(tmp_path).agent_usage.write_text("{")
    assert "damaged" in made.status()["trouble"]


@pytest.mark.parametrize("agent", ["none", "offline"])
def test_what_a_model_cost_before_is_still_told_when_none_is_asked(
    tmp_path: Path, agent: str
) -> None:
    def status(config: Config) -> dict[str, Any]:
        made = make_agency(
            config, Home(tmp_path), None, FACTS, tell=lambda _text: None, now_s=lambda: 0.0
        )
        return made.status()

    config = Config(agent=agent)
    assert "usd" not in status(config), "nothing was ever spent here"
    open_book(config, Home(tmp_path)).reserve(1_000, 250_000)
    assert (status(config)["mode"], status(config)["usd"]) == (agent, 0.25)


@pytest.mark.parametrize(
    "text",
    ["agent_max_usd = -1", "agent_max_usd = true", "agent_max_usd = nan", "pause_load = '1'",
     "agent_price_usd = [1]", "agent_effort = 'hard'", "agent_max_tokens = -1", "agent = 'gpt'",
     "pause_on_battery = 1"],
)  # fmt: skip
def test_odd_settings_are_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=text.split(maxsplit=1)[0]):
        read_config(path)


def test_settings_of_the_agent_are_read(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("agent_max_usd = 3\nagent_price_usd = [1, 2.5]\nagent_effort = 'low'\n")
    assert read_config(path) == {
        "agent_max_usd": 3.0, "agent_price_usd": (1.0, 2.5), "agent_effort": "low",
    }  # fmt: skip


def test_the_programme_is_the_tasks_until_the_owner_writes_one(tmp_path: Path) -> None:
    task = built_in_task()
    facts = describe_task(task, "smoke", Home(tmp_path))
    assert "val_bpb" in facts.program
    assert facts.metric == "val_bpb in bits/byte, less is better"
    assert "flops (tier smoke)" in facts.budget
    (tmp_path / "program.md").write_text("Only normalisation.")
    assert describe_task(task, "smoke", Home(tmp_path)).program == "Only normalisation."
    (tmp_path / "program.md").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="cannot read"):
        describe_task(task, "smoke", Home(tmp_path))


class Search(OfflineProposer):
    """A search that answers from a list of stages; None for nothing, or an error.

    Stage 2 is a plateau here.
    """

    def __init__(self, *answers: int | Exception | None) -> None:
        super().__init__()
        self.answers = list(answers)

    async def propose(
        self, view: ResearchView, rng: random.Random, rejection: Rejection | None = None
    ) -> Proposal | None:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        self.stage = answer or 0
        self.dry = PLATEAU_EXPERIENCES if answer == 2 else 0
        return None if answer is None else proposal(proposer="offline")


async def test_the_search_says_once_that_it_widens_and_survives_its_own_defects() -> None:
    news: list[str] = []
    answers = (0, 1, 1, STAGES, None, None, ValueError("bug"), 0, 1, 2, 2)
    steady = SteadySearch(Search(*answers), news.append)
    found = [await steady.propose(view(), random.Random(1)) is not None for _ in range(11)]
    assert found == [True, True, True, True, False, False, False, True, True, True, True]
    assert steady.said.startswith("a plateau")
    assert [line.split(":")[0][:40] for line in news] == [
        "the catalogue is exhausted on this head",
        "every step is tried on this head",
        "the offline agent has nothing left for t",
        "the offline agent failed (ValueError); i",
        "the catalogue is exhausted on this head",
        "a plateau",
    ]


async def test_one_question_can_be_tried_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = built_in_directory("bytes-gpt")
    edit = {"search": "LEARNING_RATE = 1e-3", "replace": "LEARNING_RATE = 2e-3"}
    reply = message(json.dumps({**ANSWER, "edits": [edit]}))
    async with fake_api(reply, failure(402, "billing_error")) as api:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", api.url)
        home = Home(tmp_path)
        trial = await try_once(home, Config(), KEY, task, "smoke")
        assert trial.accepted
        for part in ("You are a researcher", "LEARNING_RATE = 1e-3", "2e-3", "accepted", "$0.0216"):
            assert part in trial.text
        assert KEY.reveal() not in trial.text
        with pytest.raises(NodeError, match="no credit"):
            await try_once(home, Config(), KEY, task, "smoke")
        assert open_book(Config(), home).used()[0].microusd == 21_600


async def test_what_the_home_remembers_is_shown_and_not_accepted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swarm = ScriptedSwarm()
    swarm.scripts = {"wider": SCRIPTED.replace("64", "96")}
    swarm.members(2)
    idea = swarm.hypothesis("wider", key(1))
    swarm.trial(idea, key(1), 0, -TAU, purpose="screen")
    home = swarm.write(tmp_path / "home")
    # The swarm of the tests names this for its task.
    assert BlobStore(home.blobs).put(b"task") == digest("task")
    task = built_in_task()
    monkeypatch.setattr("node.agent_trial.open_bundle", lambda _raw: task)
    edit = {"search": "64", "replace": "96"}
    async with fake_api(message(json.dumps({**ANSWER, "edits": [edit]}))) as api:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", api.url)
        trial = await try_once(home, Config(), KEY, built_in_directory(), "smoke")
    assert not trial.accepted
    assert "has been tried on this head already" in trial.text
    assert '"outcome": "screened_out"' in trial.text


def test_trying_without_a_key_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    result = CliRunner().invoke(agent, ["try", "--home", str(tmp_path)])
    assert isinstance(result.exception, UsageError)
    assert "ANTHROPIC_API_KEY" in str(result.exception)
