"""What was merged and signed by its verifiers stands, whatever liars report afterwards."""

import random
from dataclasses import replace

import pytest

from protocol.policy import DEMO, LAB
from protocol.records import Record
from swarm.admission import Held
from swarm.hypotheses import HypothesisView
from swarm.ledger import Ledger
from swarm.rollback import fallen
from tests.swarm.helpers import TAU, Swarm, admitted, arm, entry_of, key, steady

WARY = replace(
    LAB, alpha_ppm=20_000, min_verifiers=2, max_verifiers=5, liars=1, cap_pairs=16, park_pairs=12
)
"""One of five verifiers may lie."""
AUTHOR, LIAR, STRANGER = key(1), key(5), key(6)
HONEST = [key(2), key(3), key(4)]
BARELY = [13_200, 11_900, 19_400, 16_300, 16_900, 10_800, 15_200, 16_200]
"""Gains that suffice for three verifiers, and do not with the liar's among them."""
LIKE_A_NULL = [-TAU, 0, TAU, -TAU]


class Story:
    """A gain that three verifiers saw, and a fourth who waits.

    Attributes:
        signed: What the verifiers sign when they see it verified.
    """

    def __init__(self) -> None:
        self.swarm = Swarm(policy=WARY)
        self.ledger = self.swarm.ledger(*self.swarm.members(6))
        self.hypothesis = self.swarm.hypothesis("gain", AUTHOR)
        self.trials = self.swarm.trials(self.hypothesis, HONEST, BARELY)
        self.add(self.hypothesis, *self.trials)
        assert self.view.verdict.status == "verified"
        self.signed = [self.swarm.merge(self.hypothesis, one, self.trials) for one in HONEST]

    def add(self, *records: Record) -> None:
        for record in records:
            admitted(self.ledger, record)

    def late(self, gains_micro: list[int] | None = None) -> None:
        """The liar reports."""
        gains = LIKE_A_NULL if gains_micro is None else gains_micro
        self.add(*self.swarm.trials(self.hypothesis, [LIAR], gains))

    @property
    def view(self) -> HypothesisView:
        return self.ledger.hypothesis(self.hypothesis.id)

    def stands(self) -> bool:
        return self.ledger.head.id == entry_of(self.hypothesis)


@pytest.fixture
def story() -> Story:
    return Story()


def test_late_trials_do_not_take_back_what_its_verifiers_signed(story: Story) -> None:
    story.add(*story.signed)
    before = story.ledger.head
    story.late()
    assert story.view.verdict.status == "undecided"
    assert story.view.status == "merged"
    assert "signed" in story.view.standing.reason
    after = story.ledger.head
    assert (after.id, after.gain_micro, after.low_micro, after.weight, after.verifiers) == (
        before.id, before.gain_micro, before.low_micro, before.weight, before.verifiers
    )  # fmt: skip
    assert after.confirmed


def test_as_many_signatures_as_there_may_be_liars_are_not_enough(story: Story) -> None:
    story.add(story.signed[0])
    story.late()
    assert not story.stands()
    assert [cause.item.id for cause in fallen(story.ledger)] == [story.hypothesis.id]
    story.add(story.signed[1])
    assert story.stands()


def test_a_liar_adds_nothing_by_a_citation_that_does_not_verify(story: Story) -> None:
    story.add(story.signed[0])
    story.late()
    lies = [record for record in story.view.trials if record.author == LIAR.public]
    story.add(story.swarm.merge(story.hypothesis, LIAR, [*story.trials, *lies]))
    assert not story.stands()


@pytest.mark.parametrize("signer", [AUTHOR, STRANGER, LIAR])
def test_only_who_ran_some_of_the_cited_pairs_signs_for_them(story: Story, signer: object) -> None:
    story.add(story.signed[0])
    story.late()
    story.add(story.swarm.merge(story.hypothesis, signer, story.trials))  # type: ignore[arg-type]
    assert not story.stands()


def test_of_a_verifiers_merges_only_the_lowest_counts(story: Story) -> None:
    story.late()
    short = [story.swarm.merge(story.hypothesis, HONEST[0], story.trials[:n]) for n in range(6)]
    lowest = min([*short, story.signed[0]], key=lambda record: record.id)
    assert lowest != story.signed[0]
    story.add(*story.signed[:2])
    assert story.stands()
    story.add(lowest)
    assert not story.stands()
    story.add(story.signed[2])
    assert story.stands()


def test_what_all_trials_refute_falls(story: Story) -> None:
    story.add(*story.signed)
    crashes = [
        story.swarm.trial(story.hypothesis, one, 0, 0, child=arm(None, "crashed"))
        for one in (LIAR, STRANGER)
    ]
    story.add(crashes[0])
    assert story.stands()
    story.add(crashes[1])
    assert story.view.verdict.status == "refuted"
    assert not story.stands()
    assert "crashed" in fallen(story.ledger)[0].reason


def test_who_contradicts_itself_afterwards_takes_nothing_back(story: Story) -> None:
    story.add(*story.signed)
    story.add(story.swarm.trial(story.hypothesis, HONEST[0], 0, 99 * TAU))
    assert story.ledger.is_voided(HONEST[0].public)
    assert story.stands()
    assert HONEST[0].public not in story.view.standing.verifiers


def test_who_contradicts_itself_signs_nothing(story: Story) -> None:
    story.add(story.signed[0], story.signed[1])
    story.late()
    assert story.stands()
    for one in HONEST[:2]:
        story.add(story.swarm.trial(story.hypothesis, one, 0, 99 * TAU))
    assert not story.stands()


def test_figures_are_no_better_than_an_honest_verifier_saw_them(story: Story) -> None:
    praise = story.swarm.trial(story.hypothesis, HONEST[2], 2, 30_000)
    everything = [*story.trials, praise]
    story.add(praise, *story.signed[:2], story.swarm.merge(story.hypothesis, HONEST[2], everything))
    story.late()
    proof = story.view.proof
    assert proof is not None
    assert proof.gain_micro == sum(BARELY) // len(BARELY)


def test_every_order_gives_the_same_state(story: Story) -> None:
    story.add(*story.signed[:2])
    story.late()
    story.add(story.swarm.merge(story.hypothesis, LIAR, story.trials[:3]))
    records = [record for record in story.ledger.records() if record.id != story.swarm.id]
    for seed in range(8):
        left = records.copy()
        random.Random(seed).shuffle(left)
        fresh = Ledger(story.swarm.genesis)
        while left:
            left = [record for record in left if isinstance(fresh.add(record), Held)]
            left = [record for record in left if record.id not in fresh]
        assert fresh.head == story.ledger.head
        assert fresh.digest == story.ledger.digest
        assert fresh.hypothesis(story.hypothesis.id).proof == story.view.proof


def test_verifiers_sign_what_they_saw_until_they_have(story: Story) -> None:
    for signer, merge in zip(HONEST, story.signed, strict=True):
        assert [view.id for view in story.ledger.unsigned_merges(signer.public)] == [
            story.hypothesis.id
        ]
        story.add(merge)
        assert story.ledger.unsigned_merges(signer.public) == []
    assert story.ledger.unsigned_merges(AUTHOR.public) == []
    assert story.ledger.unsigned_merges(LIAR.public) == []


def test_where_nobody_lies_one_merge_is_enough() -> None:
    swarm = Swarm(policy=DEMO)
    ledger = swarm.ledger(*swarm.members(3))
    hypothesis = swarm.hypothesis("gain", AUTHOR)
    for record in (hypothesis, *swarm.trials(hypothesis, HONEST[:2], steady(8 * TAU, 6))):
        admitted(ledger, record)
    assert ledger.hypothesis(hypothesis.id).verdict.status == "verified"
    assert ledger.unsigned_merges(HONEST[0].public) == []
