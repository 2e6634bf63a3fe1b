"""The search never repeats itself, never stalls, and finds what is worth finding."""

import concurrent.futures
import dataclasses
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.agent.beliefs import Beliefs, effect_units
from node.agent.catalogue import Script, apply_edits, find_edits
from node.agent.offline import PLATEAU_EXPERIENCES, OfflineProposer
from node.agent.proposal import (
    CHANGE_CHARS_MAX,
    RATIONALE_CHARS_MAX,
    TITLE_CHARS_MAX,
    Experience,
    Proposal,
    ResearchView,
    one_line,
)
from protocol import limits
from swarm.source import check_source, source_digest
from tests.node.agent.objective import MEASURED, TAU_MICRO, Gains, Swarm, random_change, worth
from tests.node.agent.scripts import SOURCE

WARM = OfflineProposer()
"""One for all calls of a test with many: what it keeps of a head does not depend on the calls."""

LARGE = 0.05 * 3.6
"""A gain of five per cent of the first script's metric."""


def experience(change: str, gain: float | None, *, on_head: bool, kind: str = "") -> Experience:
    edits = find_edits(change)
    return Experience(
        kind=kind or (edits[0].kind if len(edits) == 1 else "bundle"),
        change=change,
        parent=b"\1" * 32,
        on_head=on_head,
        status="screened_out" if gain is None or gain < 0 else "verified",
        gain_micro=None if gain is None else round(gain * 1e6),
        tau_micro=TAU_MICRO,
    )


def view_of(source: str, experiences: list[Experience]) -> ResearchView:
    return ResearchView(b"\0" * 32, source, frozenset(), frozenset(), experiences)


def ask(proposer: OfflineProposer, view: ResearchView, rng: random.Random) -> Proposal:
    proposal = proposer.search(view, rng)
    assert proposal is not None
    return proposal


def test_three_hundred_proposals_on_one_head_are_all_different() -> None:
    swarm = Swarm({}, merging=False)
    proposer, rng = OfflineProposer(), random.Random(1)
    kinds, changes = set(), set()
    for _ in range(300):
        proposal = ask(proposer, swarm.view(), rng)
        kinds.add(proposal.kind)
        changes.add(proposal.change)
        assert 0 < len(proposal.title) <= TITLE_CHARS_MAX
        assert 0 < len(proposal.rationale) <= RATIONALE_CHARS_MAX
        assert len(proposal.change) <= CHANGE_CHARS_MAX
        assert len(proposal.title.encode()) <= limits.TITLE_BYTES_MAX
        assert len(proposal.rationale.encode()) <= limits.RATIONALE_BYTES_MAX
        for text in (proposal.title, proposal.rationale, proposal.expected_effect, proposal.change):
            assert text.isprintable()
        swarm.test(proposal, rng)
    assert len(swarm.tried) == len(changes) == 300
    assert len(kinds) >= 12


def test_a_proposal_can_be_made_again_from_its_change() -> None:
    swarm = Swarm({}, merging=False)
    proposer, rng = OfflineProposer(), random.Random(2)
    for _ in range(25):
        proposal = ask(proposer, swarm.view(), rng)
        check_source(proposal.source, SOURCE)
        again = apply_edits(Script.parse(SOURCE), find_edits(proposal.change)).code
        assert again == proposal.source
        swarm.test(proposal, rng)


def test_the_same_seed_proposes_the_same_and_other_seeds_spread() -> None:
    view = view_of(SOURCE, [])
    one, other = OfflineProposer(), OfflineProposer()
    first = [ask(one, view, random.Random(seed)).change for seed in range(12)]
    again = [ask(other, view, random.Random(seed)).change for seed in reversed(range(12))][::-1]
    assert first == again
    assert len(set(first)) >= 7


def test_workers_may_ask_one_proposer_from_their_threads() -> None:
    other = apply_edits(Script.parse(SOURCE), find_edits("optimizer:muon")).code
    proposer = OfflineProposer()

    def work(seed: int) -> tuple[Proposal, str]:
        source = (SOURCE, other)[seed % 2]
        return ask(proposer, view_of(source, []), random.Random(seed)), source

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        for proposal, source in threads.map(work, range(8)):
            again = apply_edits(Script.parse(source), find_edits(proposal.change)).code
            assert proposal.source == again


def test_claims_of_others_are_left_to_them() -> None:
    proposer = OfflineProposer()
    claims: set[bytes] = set()
    for _ in range(12):
        view = dataclasses.replace(view_of(SOURCE, []), claims=frozenset(claims))
        # The same chance every time would give the same answer but for the claims.
        proposal = ask(proposer, view, random.Random(3))
        assert source_digest(proposal.source) not in claims
        claims.add(source_digest(proposal.source))


def test_what_was_tried_in_another_spelling_is_not_tried_again() -> None:
    # A peer's own program made the same script; only the digest can know.
    proposer = OfflineProposer()
    proposal = ask(proposer, view_of(SOURCE, []), random.Random(4))
    respelled = "# another file\n" + proposal.source.replace("    ", "  ")
    view = dataclasses.replace(view_of(SOURCE, []), tried=frozenset({source_digest(respelled)}))
    assert ask(proposer, view, random.Random(4)).change != proposal.change


def screenings_until_large(gains: Gains, seed: int) -> int:
    """Returns how many screenings three nodes need until one gains five per cent."""
    swarm = Swarm(gains, merging=False)
    rngs = [random.Random(1000 * seed + node) for node in range(3)]
    for count in range(1, 61):
        rng = rngs[count % 3]
        if swarm.test(ask(WARM, swarm.view(), rng), rng) > LARGE:
            return count
    return 99


def test_a_fresh_swarm_finds_a_large_effect_early() -> None:
    counts = [screenings_until_large(MEASURED, seed) for seed in range(16)]
    assert statistics.median(counts) <= 8, counts
    assert sum(count <= 15 for count in counts) >= 14, counts


def test_no_order_of_answers_is_built_in() -> None:
    # The same search finds what matters when other things matter than on the built-in task.
    elsewhere: Gains = {
        "nn.RMSNorm": 0.3,
        "self.head.weight = self.tokens.weight": 0.4,
        'name == "head.weight"': 0.3,
        "warm * (1.0 - progress)": 0.3,
        "Muon(matrices)": -0.4,
        "rotate(q)": -0.3,
        "shift(": -0.3,
    }
    counts = [screenings_until_large(elsewhere, seed) for seed in range(8)]
    assert statistics.median(counts) <= 20, counts
    assert max(counts) <= 60


def climb(seed: int, tests: int) -> Swarm:
    swarm = Swarm(MEASURED)
    proposer, rngs = OfflineProposer(), [random.Random(100 * seed + node) for node in range(3)]
    for count in range(tests):
        rng = rngs[count % 3]
        swarm.test(ask(proposer, swarm.view(), rng), rng)
    return swarm


def climb_blindly(seed: int, tests: int) -> Swarm:
    """Climbs by uniform choice from the same catalogue, merging by the same rule."""
    swarm, rng = Swarm(MEASURED), random.Random(seed)
    for _ in range(tests):
        source = random_change(swarm.source)(rng)
        gain = worth(source, MEASURED) - worth(swarm.source, MEASURED) + rng.gauss(0.0, 0.006)
        if gain * 1e6 > TAU_MICRO:
            swarm.source = source
    return swarm


def test_the_search_climbs_much_faster_than_blind_choice() -> None:
    start = worth(SOURCE, MEASURED)
    searched = [worth(climb(s, 20).source, MEASURED) - start for s in range(4)]
    blind = [worth(climb_blindly(s, 20).source, MEASURED) - start for s in range(4)]
    assert statistics.mean(searched) > 1.6 * statistics.mean(blind), (searched, blind)
    assert min(searched) > 0.5, searched


def test_what_did_well_on_an_older_head_comes_first() -> None:
    past = [experience("activation:relu2", 0.2, on_head=False)]
    past += [experience("positions:none", -0.2, on_head=False)]
    proposer = OfflineProposer()
    changes = [ask(proposer, view_of(SOURCE, past), random.Random(s)).change for s in range(20)]
    assert changes.count("activation:relu2") >= 12
    assert "positions:none" not in changes
    due = next(
        proposal
        for seed in range(20)
        if (proposal := ask(proposer, view_of(SOURCE, past), random.Random(seed))).change
        == "activation:relu2"
    )
    assert "On older heads it helped in 1 of 1 trials." in due.rationale


def test_what_is_due_is_not_tried_twice_on_a_head_and_not_when_it_is_in_it() -> None:
    past = [experience("activation:relu2", 0.2, on_head=False)]
    here = [*past, experience("activation:relu2", -0.1, on_head=True)]
    head = apply_edits(Script.parse(SOURCE), find_edits("activation:relu2")).code
    for view in (view_of(SOURCE, here), view_of(head, past)):
        proposer = OfflineProposer()
        for seed in range(20):
            assert ask(proposer, view, random.Random(seed)).change != "activation:relu2"


def test_what_failed_on_an_older_head_is_tried_again_in_time() -> None:
    swarm = Swarm({}, merging=False)
    swarm.experiences = [experience("schedule:linear", -0.1, on_head=False)]
    proposer, rng = OfflineProposer(), random.Random(6)
    seen = set()
    for _ in range(130):
        proposal = ask(proposer, swarm.view(), rng)
        seen.add(proposal.change)
        swarm.test(proposal, rng)
    assert "schedule:linear" in seen


def test_kinds_that_pay_get_more_of_the_time() -> None:
    bad = [experience(c, -0.2, on_head=True) for c in ("optimizer:sgd", "optimizer:lion")]
    bad += [experience("optimizer:rmsprop", -0.2, on_head=True)]
    good = [experience(c, 0.3, on_head=True) for c in ("optimizer:sgd", "optimizer:lion")]
    good += [experience("optimizer:rmsprop", 0.3, on_head=True)]

    def share(past: list[Experience]) -> float:
        proposer, view = OfflineProposer(), view_of(SOURCE, past)
        kinds = [ask(proposer, view, random.Random(seed)).kind for seed in range(60)]
        return kinds.count("optimizer") / len(kinds)

    assert share(good) > 0.2
    assert share(good) > 3 * share(bad)


def test_values_near_a_good_one_are_believed_in() -> None:
    past = [experience("LEARNING_RATE=0.004", 0.1, on_head=True)]
    past += [experience("LEARNING_RATE=0.0005", -0.1, on_head=True)]
    beliefs = Beliefs(past, frozenset())
    near = beliefs.change("rate", "LEARNING_RATE=0.003")
    far = beliefs.change("rate", "LEARNING_RATE=0.0004")
    unknown = beliefs.change("rate", "MUON_RATE=0.02")
    assert near.mean > unknown.mean > far.mean
    assert near.spread < unknown.spread
    older = Beliefs([dataclasses.replace(e, on_head=False) for e in past], frozenset())
    assert unknown.mean < older.change("rate", "LEARNING_RATE=0.003").mean < near.mean


def test_a_step_that_paid_speaks_for_going_on_and_against_turning_back() -> None:
    def believed(gain: float, value: float, *, before: float | None = 0.001) -> float:
        step = experience("LEARNING_RATE=0.002", gain, on_head=False)
        past = [dataclasses.replace(step, before=before)]
        head = {"LEARNING_RATE": 0.002 if gain > 0 else 0.001}
        beliefs = Beliefs(past, frozenset({"LEARNING_RATE=0.002"}), head)
        return beliefs.change("rate", f"LEARNING_RATE={value}").mean

    untried = Beliefs([], frozenset(), {"LEARNING_RATE": 0.002}).change("rate", "LEARNING_RATE=0.1")
    assert believed(0.2, 0.004) > untried.mean > believed(0.2, 0.001)
    assert believed(-0.2, 0.0005) > untried.mean > believed(-0.2, 0.004)


def test_a_small_step_promises_less_than_a_large_one() -> None:
    beliefs = Beliefs([], frozenset(), {"LEARNING_RATE": 0.002, "GRAD_CLIP": 0.0})
    spreads = [
        beliefs.change("rate", f"LEARNING_RATE={value}").spread for value in (0.0022, 0.004, 0.008)
    ]
    assert spreads == sorted(spreads)
    assert beliefs.change("regularisation", "GRAD_CLIP=1.0").spread > 0.3, "zero is far from all"


def test_a_plateau_widens_the_search_before_it_is_at_its_end() -> None:
    swarm = Swarm({}, merging=False)
    proposer, rng = OfflineProposer(), random.Random(3)
    stages, bundles = [], []
    for _ in range(2 * PLATEAU_EXPERIENCES + 30):
        proposal = ask(proposer, swarm.view(), rng)
        stages.append(proposer.stage)
        bundles.append(proposal.kind == "bundle")
        swarm.test(proposal, rng)
        swarm.experiences[-1] = dataclasses.replace(
            swarm.experiences[-1], gain_micro=0, status="screened_out"
        )
    wide = 2 * PLATEAU_EXPERIENCES
    assert (min(stages[:10]), min(stages[PLATEAU_EXPERIENCES:wide]), min(stages[wide:])) == (
        0,
        1,
        2,
    )
    assert sum(bundles[wide:]) > sum(bundles[:30])
    assert proposer.dry == wide + 29
    # A gain ends it.
    swarm.experiences[-1] = dataclasses.replace(
        swarm.experiences[-1], gain_micro=2 * TAU_MICRO, status="verified"
    )
    ask(proposer, swarm.view(), rng)
    assert (proposer.dry, proposer.stage) == (0, 0)


def test_effects_are_bounded_and_duplicates_say_nothing() -> None:
    base = experience("norm:rmsnorm", 0.1, on_head=True)
    assert effect_units(dataclasses.replace(base, status="duplicate")) is None
    assert effect_units(dataclasses.replace(base, status="crashed", gain_micro=None)) == -1.0
    assert effect_units(dataclasses.replace(base, gain_micro=None, status="undecided")) is None
    huge = effect_units(dataclasses.replace(base, gain_micro=2**62, tau_micro=0))
    assert huge is not None
    assert huge < 8.0


@settings(max_examples=25)
@given(
    st.lists(
        st.builds(
            Experience,
            kind=st.text(max_size=30) | st.sampled_from(["optimizer", "bundle"]),
            change=st.text(max_size=60)
            | st.sampled_from(["norm:rmsnorm", "LEARNING_RATE=1e300", "a + b", "BETA1=1.0"]),
            parent=st.binary(max_size=32),
            on_head=st.booleans(),
            status=st.sampled_from(
                ["verified", "refuted", "screened_out", "crashed", "undecided", "duplicate"]
            ),
            gain_micro=st.none() | st.integers(-(2**63), 2**63),
            tau_micro=st.integers(-5, 2**63),
        ),
        max_size=12,
    )
)
def test_whatever_peers_report_the_agent_goes_on(past: list[Experience]) -> None:
    proposal = ask(WARM, view_of(SOURCE, past), random.Random(7))
    check_source(proposal.source, SOURCE)
    assert find_edits(proposal.change)


@pytest.mark.parametrize(
    "source",
    ["", "x = (", "\0", "def build_model(r): pass\ndef train(r, m): pass\n", "-" * 40_000 + "1"],
)
def test_a_head_that_cannot_be_edited_gives_no_proposal(source: str) -> None:
    assert OfflineProposer().search(view_of(source, []), random.Random(8)) is None


def test_titles_are_cut_to_one_printable_line() -> None:
    assert one_line("a\n\x1b[31m b\0", 50) == "a [31m b"
    assert one_line("x" * 300, 120) == "x" * 119 + "…"
