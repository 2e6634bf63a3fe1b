"""The merge queue in a whole fake swarm: rebases, combinations, splits, conflicts, roll-backs."""

import re
from dataclasses import replace
from pathlib import Path

import trio

from node import view
from node.conflicts import conflicts, sides
from protocol.records import Hypothesis, Origin
from swarm.lineage import Entry
from tests.node.fakes import (
    BASELINE_MICRO,
    BIG,
    GENESIS_SCRIPT,
    FakeNode,
    fake_swarm,
    script,
    statuses,
    until,
)
from tests.virtual_time import virtually
from trainer.job import Outcome

SMALL = BIG // 3


def extra(name: str, gain_micro: int, base: str = GENESIS_SCRIPT) -> str:
    """A script with one constant more; different names stand at different places."""
    line = f"GAIN_{name} = {gain_micro}\n"
    places = {"A": "def build_model", "B": "def train"}
    if name in places:
        return base.replace(places[name], f"{line}\n\n{places[name]}")
    return base + f"\n\n{line}"


def gains_of(node: FakeNode, entry: Entry) -> dict[str, int]:
    """The constants that an entry's script sets."""
    text = node.materials.local_script(entry.source)
    assert text is not None
    return {name: int(value) for name, value in re.findall(r"(GAIN\w*) = (-?\d+)", text) if name}


def outcomes(gain_micro: int, pair: int = 0) -> tuple[Outcome, Outcome]:
    """What a pair gives, with a little noise."""
    noise_micro = 1_000 * (-1) ** pair
    plain = Outcome("ok", BASELINE_MICRO, train_cpu_ms=100, score_cpu_ms=10, peak_memory_kib=1000)
    return plain, replace(plain, metric_micro=BASELINE_MICRO - gain_micro + noise_micro)


async def put(author: FakeNode, title: str, source: str, gain_micro: int) -> bytes:
    """Publish a hypothesis on the genesis with a promising screening trial."""
    body = Hypothesis(
        parents=(author.intake.ledger.root.id,),
        source=author.materials.keep_script(source),
        title=title,
        rationale=f"why {title}",
        origin=Origin("offline", "", "test", title),
    )
    identity = await author.author.publish(body)
    bench = author.researcher._tools.bench
    await author.author.publish(bench.trial(identity, "screen", 0, outcomes(gain_micro)))
    return identity


async def verify(nodes: list[FakeNode], identity: bytes, gain_micro: int, pairs: int = 4) -> None:
    """Publish trials to verify by two nodes at once, before a worker gets to it."""
    for pair in range(pairs):
        for node in nodes:
            bench = node.researcher._tools.bench
            arms = outcomes(gain_micro, pair)
            await node.author.publish(bench.trial(identity, "verify", pair, arms))


async def members(nodes: list[FakeNode]) -> None:
    await until(lambda: all(len(n.intake.ledger.members) == len(nodes) for n in nodes))


def all_at(nodes: list[FakeNode], depth: int) -> bool:
    ledgers = [node.intake.ledger for node in nodes]
    return all(ledger.head.depth == depth for ledger in ledgers) and (
        len({ledger.head.id for ledger in ledgers}) == 1
    )


def test_a_promising_idea_is_rebased_onto_the_head_by_its_author(tmp_path: Path) -> None:
    async def test() -> None:
        async with fake_swarm(tmp_path, [None, None, None, None]) as nodes:
            await members(nodes)
            small = await put(nodes[1], "small", extra("A", SMALL), SMALL)
            big = await put(nodes[0], "big", extra("B", BIG), BIG)
            await verify(nodes[2:], big, BIG)
            await until(lambda: all_at(nodes, 2))
            ledger = nodes[3].intake.ledger
            head = ledger.head
            assert gains_of(nodes[3], head) == {"GAIN": 0, "GAIN_A": SMALL, "GAIN_B": BIG}
            assert head.author == nodes[1].key.public
            assert head.hypothesis is not None
            body = ledger.hypothesis(head.hypothesis).body
            assert body.origin.change == f"rebase of {small.hex()}"
            assert body.origin.proposer == "offline"
            assert body.title == "small (rebased)"
            assert "why small" in body.rationale
            # Everybody did not do the same: one rebase, and nothing comes after it.
            await trio.sleep(200)
            assert len(list(nodes[0].intake.ledger.hypotheses())) == 3
            recalled = await nodes[2].researcher._explorer.recall()
            assert [item.change for item in recalled.experiences] == ["small", "big", "small"]

    virtually(test)


def test_promising_ideas_come_over_together(tmp_path: Path) -> None:
    async def test() -> None:
        async with fake_swarm(tmp_path, [None, None, None, None]) as nodes:
            await three_ideas(nodes)
            await until(lambda: all_at(nodes, 2))
            ledger = nodes[3].intake.ledger
            expected = {"GAIN": 0, "GAIN_A": SMALL, "GAIN_B": BIG, "GAIN_C": SMALL // 2}
            assert gains_of(nodes[3], ledger.head) == expected
            assert ledger.head.title == "Together: small + other"
            await trio.sleep(200)
            assert len(list(nodes[0].intake.ledger.hypotheses())) == 4

    virtually(test)


def test_a_bundle_that_does_not_add_up_is_split(tmp_path: Path) -> None:
    async def test() -> None:
        async with fake_swarm(tmp_path, [None, None, None, None]) as nodes:
            for node in nodes:
                node.runner.clash = ("GAIN_A", "GAIN_C")
            await three_ideas(nodes)
            await until(lambda: all_at(nodes, 2))
            found = statuses(nodes[1])
            assert found["Together: small + other"] == "screened_out"
            assert found["small (rebased)"] == "merged"

    virtually(test)


async def three_ideas(nodes: list[FakeNode]) -> None:
    """Two promising changes beside a verified one that becomes the head."""
    await members(nodes)
    for node in nodes:
        node.researcher.rest("test", "not yet")
    await until(lambda: all(node.activity.workers[0].state == "paused" for node in nodes))
    await put(nodes[1], "small", extra("A", SMALL), SMALL)
    await put(nodes[1], "other", extra("C", SMALL // 2), SMALL // 2)
    big = await put(nodes[0], "big", extra("B", BIG), BIG)
    await verify(nodes[2:], big, BIG)
    await until(lambda: all_at(nodes, 1))
    for node in nodes:
        node.researcher.rest("test", "")


def test_somebody_else_does_it_when_the_author_is_gone(tmp_path: Path) -> None:
    async def test() -> None:
        async with fake_swarm(tmp_path, [None, None, None, None]) as nodes:
            await members(nodes)
            await put(nodes[1], "small", extra("A", SMALL), SMALL)
            await trio.sleep(1)
            nodes[1].online = False
            nodes[1].researcher.finish()
            big = await put(nodes[0], "big", extra("B", BIG), BIG)
            await verify(nodes[2:], big, BIG)
            others = [nodes[0], *nodes[2:]]
            await until(lambda: all_at(others, 2))
            head = nodes[0].intake.ledger.head
            assert gains_of(nodes[0], head)["GAIN_A"] == SMALL
            assert head.author in {node.key.public for node in others}

    virtually(test)


async def two_siblings(nodes: list[FakeNode]) -> None:
    """Two verified changes beside a verified one that becomes the head."""
    await members(nodes)
    # Nobody works until all is known, as if it had come in one bundle.
    for node in nodes:
        node.researcher.rest("test", "not yet")
    await until(lambda: all(node.activity.workers[0].state == "paused" for node in nodes))
    ideas = [("big", "B", BIG), ("small", "A", SMALL), ("other", "C", SMALL // 2)]
    identities = [
        await put(nodes[0], title, extra(name, gain), gain) for title, name, gain in ideas
    ]
    for identity, (_, _, gain) in zip(identities, ideas, strict=True):
        await verify(nodes[2:4], identity, gain)
    await until(lambda: all(len(node.intake.ledger.entries) == 4 for node in nodes))
    for node in nodes:
        node.researcher.rest("test", "")


def test_verified_siblings_are_tested_together_and_merged_as_one(tmp_path: Path) -> None:
    async def test() -> None:
        async with fake_swarm(tmp_path, [None, None, None, None]) as nodes:
            await two_siblings(nodes)
            await until(lambda: all_at(nodes, 2))
            ledger = nodes[1].intake.ledger
            head = ledger.head
            assert gains_of(nodes[1], head) == {
                "GAIN": 0, "GAIN_A": SMALL, "GAIN_B": BIG, "GAIN_C": SMALL // 2,
            }  # fmt: skip
            assert [ledger.entries[parent].title for parent in head.parents] == [
                "big", "small", "other",
            ]  # fmt: skip
            # Its gain was measured against the head, not added up.
            assert head.gain_micro is not None
            assert abs(head.gain_micro - SMALL - SMALL // 2) < 20_000
            await trio.sleep(200)
            assert len(list(nodes[0].intake.ledger.hypotheses())) == 4

    virtually(test)


def test_a_combination_that_does_not_add_up_is_split(tmp_path: Path) -> None:
    async def test() -> None:
        async with fake_swarm(tmp_path, [None, None, None, None]) as nodes:
            for node in nodes:
                node.runner.clash = ("GAIN_A", "GAIN_C")
            await two_siblings(nodes)
            await until(lambda: all_at(nodes, 2))
            ledger = nodes[1].intake.ledger
            found = statuses(nodes[1])
            assert found.pop("Combine “small + other” with “big”") == "screened_out"
            head = ledger.head
            assert [ledger.entries[parent].title for parent in head.parents] == ["big", "small"]
            # What is left is tried again on the new head, where it clashes again, and rests.
            await trio.sleep(300)
            assert all_at(nodes, 2)
            assert statuses(nodes[1])["Combine “other” with “Combine “small” with “big””"] == (
                "screened_out"
            )

    virtually(test)


def test_a_conflict_is_shown_with_both_sides_and_offered_to_agents(tmp_path: Path) -> None:
    async def test() -> None:
        async with fake_swarm(tmp_path, [None, None, None, None]) as nodes:
            await members(nodes)
            small = await put(nodes[1], "small", script(SMALL), SMALL)
            big = await put(nodes[0], "big", script(BIG), BIG)
            await verify(nodes[2:], big, BIG)
            await until(lambda: all_at(nodes, 1))
            await trio.sleep(100)
            recalled = await nodes[2].researcher._explorer.recall()
            (conflict,) = [item for item in recalled.experiences if item.status == "conflict"]
            assert (conflict.change, conflict.on_head) == ("small", True)
            feed = [item.text for item in nodes[2].activity.feed]
            assert sum("contradicts the head" in text for text in feed) == 1
            ledger = nodes[2].intake.ledger
            merged = sides(ledger, ledger.hypothesis(small))
            assert merged is not None
            assert conflicts(nodes[2].blobs, merged) == [
                {"where": "GAIN", "head": str(BIG), "hypothesis": str(SMALL)}
            ]
            assert sides(ledger, ledger.hypothesis(big)) is None, "it is the head"
            assert len(list(ledger.hypotheses())) == 2

    virtually(test)


def test_what_was_rejected_on_one_head_comes_up_on_the_next(tmp_path: Path) -> None:
    async def test() -> None:
        async with fake_swarm(tmp_path, [None, None, None, None]) as nodes:
            for node in nodes:
                node.runner.clash = ("GAIN_A", "GAIN_B")
            await members(nodes)
            await put(nodes[1], "small", extra("A", SMALL), SMALL)
            big = await put(nodes[0], "big", extra("B", BIG), BIG)
            await verify(nodes[2:], big, BIG)
            await until(lambda: statuses(nodes[3]).get("small (rebased)") == "screened_out")
            for node in nodes:
                node.runner.clash = ()
            better = extra("B", BIG, script(BIG))
            await nodes[3].researcher.suggest(better, "next", "")
            await until(lambda: all_at(nodes, 3))
            gains = gains_of(nodes[0], nodes[0].intake.ledger.head)
            assert gains == {"GAIN": BIG, "GAIN_A": SMALL, "GAIN_B": BIG}

    virtually(test)


def test_a_head_that_later_evidence_refutes_is_rolled_back_everywhere(tmp_path: Path) -> None:
    async def test() -> None:
        async with fake_swarm(tmp_path, [None, None, None, None]) as nodes:
            await members(nodes)
            big = await put(nodes[0], "big", extra("B", BIG), BIG)
            await verify(nodes[1:3], big, BIG)
            await until(lambda: all_at(nodes, 1))
            crashed = (outcomes(BIG)[0], Outcome("crashed", train_cpu_ms=10))
            bench = nodes[3].researcher._tools.bench
            await nodes[3].author.publish(bench.trial(big, "verify", 0, crashed))
            await until(lambda: all_at(nodes, 0))
            for node in nodes:
                assert statuses(node) == {"big": "refuted"}
                feed = [item.text for item in node.activity.feed]
                (line,) = [text for text in feed if text.startswith("rolled back")]
                assert "“big” is refuted now" in line
                assert "crash" in line
                (fallen,) = view.rolled_back(node.intake.ledger)
                assert (fallen["title"], fallen["status"]) == ("big", "refuted")
                assert "crash" in fallen["reason"]

    virtually(test)
