"""What a person or the machine asks of a node's workers: finish, rest, go on."""

import random
from pathlib import Path

import pytest
import trio

from node.agent.proposal import Proposal, Rejection, ResearchView
from node.errors import NodeError
from node.resting import Readings, RestRules
from node.steering import Steering
from tests.node.fakes import ListedProposer, fake_swarm, statuses, until
from tests.virtual_time import virtually


def test_a_node_that_is_finishing_drops_what_it_does(tmp_path: Path) -> None:
    async def test() -> None:
        many: list[int | str] = list(range(100))
        async with fake_swarm(tmp_path, [ListedProposer(many)]) as nodes:
            await until(lambda: nodes[0].runner.runs == 4)
            known = len(statuses(nodes[0]))
            nodes[0].researcher.finish()
            await until(lambda: nodes[0].activity.workers[0].state == "finished")
            assert len(statuses(nodes[0])) == known
            await trio.sleep(100)
            assert nodes[0].runner.runs == 4

    virtually(test)


class Thinking:
    """Never comes to an answer."""

    def __init__(self) -> None:
        self.asked = 0
        self.left = 0

    async def propose(
        self, view: ResearchView, rng: random.Random, rejection: Rejection | None = None
    ) -> Proposal | None:
        del view, rng, rejection
        self.asked += 1
        try:
            await trio.sleep_forever()
        finally:
            self.left += 1
        raise AssertionError


def test_a_node_that_is_finishing_waits_for_no_answer(tmp_path: Path) -> None:
    async def test() -> None:
        proposer = Thinking()
        async with fake_swarm(tmp_path, [proposer]) as nodes:
            await until(lambda: proposer.asked == 1)
            # An idea that is still thought of is no run that may end.
            nodes[0].researcher.finish(drop=False)
            await until(lambda: nodes[0].activity.workers[0].state == "finished")
            assert (proposer.asked, proposer.left) == (1, 1)

    virtually(test)


def test_a_resting_node_ends_what_it_runs_and_begins_nothing_until_both_reasons_are_gone(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        many: list[int | str] = list(range(100))
        async with fake_swarm(tmp_path, [ListedProposer(many)]) as nodes:
            researcher, runner = nodes[0].researcher, nodes[0].runner
            await until(lambda: nodes[0].runner.runs == 4)
            known = len(statuses(nodes[0]))
            researcher.rest("person", "paused by hand")
            researcher.rest("machine", "the machine runs on battery")
            await trio.sleep(30)
            # What ran was not lost.
            assert len(statuses(nodes[0])) == known + 1
            runs = runner.runs
            worker = nodes[0].activity.workers[0]
            assert worker.state == "paused"
            assert worker.title == "paused by hand; the machine runs on battery"
            researcher.rest("person", "")
            await trio.sleep(100)
            assert runner.runs == runs
            researcher.rest("machine", "")
            await trio.sleep(30)
            assert runner.runs > runs
            lines = [item.text for item in nodes[0].activity.feed]
            assert lines.count("going on") == 1

    virtually(test)


def test_a_node_may_finish_after_what_it_runs(tmp_path: Path) -> None:
    async def test() -> None:
        many: list[int | str] = list(range(100))
        async with fake_swarm(tmp_path, [ListedProposer(many)]) as nodes:
            await until(lambda: nodes[0].runner.runs == 4)
            known = len(statuses(nodes[0]))
            nodes[0].researcher.finish(drop=False)
            await until(lambda: nodes[0].activity.workers[0].state == "finished")
            assert len(statuses(nodes[0])) == known + 1

    virtually(test)


def test_wishes_that_come_early_are_kept_and_the_machine_has_its_own_say(tmp_path: Path) -> None:
    async def test() -> None:
        readings = [Readings(on_battery=True, load=0.0)]
        async with fake_swarm(tmp_path, [ListedProposer([])]) as nodes:
            node = nodes[0]
            rules = RestRules(on_battery=True, load=0.0)
            steering = Steering(node.activity, rules, lambda: readings[0])
            methods = steering.methods()
            assert await methods["pause"]({}) == {"resting": "paused by hand"}
            steering.take(node.researcher)
            assert node.researcher.resting == "paused by hand"
            async with trio.open_nursery() as nursery:
                nursery.start_soon(steering.watch_machine)
                await trio.sleep(60)
                battery = {"resting": "the machine runs on battery"}
                assert await methods["resume"]({}) == battery
                readings[0] = Readings(on_battery=False, load=0.0)
                await trio.sleep(120)
                assert node.researcher.resting == ""
                nursery.cancel_scope.cancel()
            assert await methods["finish"]({"leave": True}) == {"finishing": True, "leaving": True}
            assert steering.leaving
            with pytest.raises(NodeError, match="finishing"):
                await methods["pause"]({})

    virtually(test)
