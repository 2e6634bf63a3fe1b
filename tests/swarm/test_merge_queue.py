from dataclasses import replace

import pytest

from protocol.records import Hypothesis, Origin, Record
from swarm.ledger import Ledger
from swarm.merge_queue import (
    BUNDLE_MAX,
    Group,
    Outcome,
    bundle_change,
    bundle_title,
    combination_change,
    combination_title,
    is_carried,
    next_group,
    original_of,
    plan,
    rebase_change,
    responsible,
)
from tests.swarm.helpers import TAU, Swarm, digest, entry_of, key, steady

VERIFIERS = [key(2), key(3)]
A, B, C, D = (bytes([number]) * 32 for number in range(4))


def titles(ledger: Ledger) -> tuple[list[str], list[str]]:
    made = plan(ledger)
    return (
        [ledger.entries[identity].title for identity in made.siblings],
        [item.body.title for item in made.rebases],
    )


def labelled(swarm: Swarm, name: str, change: str, parents: tuple[bytes, ...]) -> Record:
    body = Hypothesis(
        parents=parents,
        source=digest(f"script {name}"),
        title=name,
        rationale="",
        origin=Origin("offline", "", "test", change),
    )
    return swarm.record(body, key(1))


def test_verified_siblings_of_the_head_are_a_group_and_the_best_comes_first() -> None:
    swarm = Swarm()
    records = swarm.members(4)
    for name, gain in (("good", 6 * TAU), ("better", 9 * TAU), ("best", 12 * TAU)):
        records += swarm.merged(name, key(1), VERIFIERS, steady(gain, 8))
    assert titles(swarm.ledger(*records)) == (["better", "good"], [])
    # The same, whatever the order of arrival.
    assert titles(swarm.ledger(*reversed(records))) == (["better", "good"], [])


def test_what_a_combination_contains_is_no_sibling_any_more() -> None:
    swarm = Swarm()
    records = swarm.members(4)
    best = swarm.merged("best", key(1), VERIFIERS, steady(12 * TAU, 8))
    good = swarm.merged("good", key(1), VERIFIERS, steady(6 * TAU, 8))
    child = swarm.merged(
        "on good", key(1), VERIFIERS, steady(2 * TAU, 8), parents=(entry_of(good[0]),)
    )
    records += best + good + child
    # What hangs on a sibling comes over by itself, and as a sibling once that one is in.
    assert titles(swarm.ledger(*records)) == (["good"], ["on good"])
    pair = (entry_of(best[0]), entry_of(good[0]))
    both = swarm.merged(
        "both",
        key(1),
        VERIFIERS,
        steady(5 * TAU, 8),
        parents=pair,
    )
    ledger = swarm.ledger(*records, *both)
    assert ledger.head.title == "both"
    assert titles(ledger) == (["on good"], [])


def test_promising_ideas_on_an_older_entry_are_rebased_and_others_are_not() -> None:
    swarm = Swarm()
    records = swarm.members(4)
    screened = {"small": 2 * TAU, "large": 5 * TAU, "none": 0}
    for name, gain in screened.items():
        hypothesis = swarm.hypothesis(name, key(1))
        records += [hypothesis, swarm.trial(hypothesis, key(1), 0, gain, purpose="screen")]
    refuted = swarm.hypothesis("refuted", key(1))
    records += [refuted, swarm.trial(refuted, key(1), 0, 3 * TAU, purpose="screen")]
    records += swarm.trials(refuted, VERIFIERS, steady(-5 * TAU, 8))
    verified = swarm.hypothesis("verified", key(1))
    records += [verified, *swarm.trials(verified, VERIFIERS, steady(TAU * 3, 8))]
    assert titles(swarm.ledger(*records)) == ([], [])
    records += swarm.merged("head", key(4), VERIFIERS, steady(12 * TAU, 8))
    assert titles(swarm.ledger(*records)) == ([], ["verified", "large", "small"])


def test_a_change_that_came_over_is_not_brought_again() -> None:
    swarm = Swarm()
    records = swarm.members(4)
    first = swarm.hypothesis("first", key(1))
    records += [first, swarm.trial(first, key(1), 0, 5 * TAU, purpose="screen")]
    head = swarm.merged("head", key(4), VERIFIERS, steady(12 * TAU, 8))
    records += head
    again = labelled(swarm, "again", rebase_change(first.id), (entry_of(head[0]),))
    records += [again, swarm.trial(again, key(1), 0, 5 * TAU, purpose="screen")]
    # While it is being looked at, the caller knows; the plan still has it.
    assert titles(swarm.ledger(*records)) == ([], ["first"])
    trials = swarm.trials(again, VERIFIERS, steady(6 * TAU, 8))
    records += [*trials, swarm.merge(again, key(1), trials)]
    ledger = swarm.ledger(*records)
    assert ledger.head.title == "again"
    assert titles(ledger) == ([], [])
    assert original_of(ledger, ledger.hypothesis(again.id)).id == first.id


def test_rejected_on_one_head_is_eligible_on_the_next() -> None:
    swarm = Swarm()
    records = swarm.members(4)
    first = swarm.hypothesis("first", key(1))
    records += [first, swarm.trial(first, key(1), 0, 5 * TAU, purpose="screen")]
    head = swarm.merged("head", key(4), VERIFIERS, steady(12 * TAU, 8))
    again = labelled(swarm, "again", rebase_change(first.id), (entry_of(head[0]),))
    records += [*head, again, swarm.trial(again, key(1), 0, -TAU, purpose="screen")]
    records += swarm.merged(
        "next", key(4), VERIFIERS, steady(3 * TAU, 8), parents=(entry_of(head[0]),)
    )
    ledger = swarm.ledger(*records)
    assert titles(ledger) == ([], [])
    assert [item.body.title for item in plan(ledger).doubted] == ["first"]


def test_what_came_over_in_a_bundle_is_not_brought_again() -> None:
    swarm = Swarm()
    records = swarm.members(4)
    parts = [swarm.hypothesis(name, key(1)) for name in ("one", "two", "three")]
    for number, part in enumerate(parts):
        gain = (9 - number) * TAU
        records += [part, swarm.trial(part, key(1), 0, gain, purpose="screen")]
    head = swarm.merged("head", key(4), VERIFIERS, steady(12 * TAU, 8))
    records += head
    assert titles(swarm.ledger(*records)) == ([], ["one", "two", "three"])
    change = bundle_change([part.id for part in parts[:2]])
    both = labelled(swarm, "both", change, (entry_of(head[0]),))
    trials = swarm.trials(both, VERIFIERS, steady(15 * TAU, 8))
    records += [both, swarm.trial(both, key(1), 0, 15 * TAU, purpose="screen"), *trials]
    ledger = swarm.ledger(*records, swarm.merge(both, key(1), trials))
    assert ledger.head.title == "both"
    assert titles(ledger) == ([], ["three"])
    assert is_carried(ledger.hypothesis(both.id))
    assert not is_carried(ledger.hypothesis(parts[0].id))


def test_what_is_small_on_the_head_goes_into_the_bundle_when_it_is_time() -> None:
    swarm = Swarm()
    gains = {"four": 4 * TAU, "large": 20 * TAU, "five": 5 * TAU}

    def ledger(*names: str, begun: str = "") -> Ledger:
        records = swarm.members(4)
        for name in names:
            hypothesis = swarm.hypothesis(name, key(1))
            gain = gains.get(name, -TAU)
            records += [hypothesis, swarm.trial(hypothesis, key(1), 0, gain, purpose="screen")]
            if name == begun:
                records += swarm.trials(hypothesis, VERIFIERS, [gain] * 3)
        return swarm.ledger(*records)

    # Nine tau in sum wait for five hypotheses; what is large goes alone.
    failed = ("a", "b")
    assert titles(ledger("four", "five", *failed)) == ([], [])
    assert titles(ledger("four", "five", *failed, "large")) == ([], ["five", "four"])
    assert titles(ledger("four", "five", *failed, "large", begun="five")) == ([], [])
    assert titles(ledger("five", *failed, "large", "d", "e")) == ([], [])


def test_labels_that_name_each_other_end_nothing() -> None:
    swarm = Swarm()
    unknown = labelled(swarm, "unknown", rebase_change(b"\x07" * 32), (swarm.root,))
    broken = labelled(swarm, "broken", "rebase of nothing", (swarm.root,))
    ledger = swarm.ledger(unknown, broken)
    for record in (unknown, broken):
        view = ledger.hypothesis(record.id)
        assert original_of(ledger, view).id == record.id


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ({}, (A, B, C)),
        ({(A, B, C): "open"}, (A, B, C)),
        ({(A, B, C): "waiting"}, None),
        ({(A, B, C): "failed"}, (A, B)),
        ({(A, B, C): "failed", (A, B): "waiting"}, (C,)),
        ({(A, B, C): "failed", (A, B): "open", (C,): "failed"}, (A, B)),
        ({(A, B, C): "failed", (A, B): "failed", (C,): "failed"}, (A,)),
        ({(A, B, C): "failed", (A, B): "failed", (C,): "failed", (A,): "failed"}, (B,)),
        (
            dict.fromkeys([(A, B, C), (A, B), (A,), (B,), (C,)], "failed"),
            None,
        ),
    ],
)
def test_a_group_that_fails_is_split(
    outcomes: dict[Group, Outcome], expected: Group | None
) -> None:
    assert next_group((A, B, C), outcomes) == expected


def test_without_siblings_there_is_no_group() -> None:
    assert next_group((), {}) is None


def test_the_author_brings_its_own_over_and_then_somebody_else() -> None:
    assert responsible(D, A, [A, B, C], overdue=False) == A
    chosen = responsible(D, A, [B, C], overdue=False)
    assert chosen in {B, C}
    assert responsible(D, A, [C, B], overdue=False) == chosen
    assert responsible(D, A, [A, B, C], overdue=True) == chosen
    assert responsible(D, A, [A], overdue=True) == A
    assert responsible(D, A, [], overdue=False) is None
    # Different hypotheses are spread over the members.
    spread = {responsible(bytes([n]) * 32, A, [B, C], overdue=False) for n in range(20)}
    assert spread == {B, C}


def test_names_fit_the_wire() -> None:
    swarm = Swarm()
    records = swarm.members(4)
    records += swarm.merged("é" * 90, key(1), VERIFIERS, steady(12 * TAU, 8))
    head = swarm.ledger(*records).head
    many = [replace(head, title="ü" * 90)] * 7
    assert len(combination_title(head, many).encode()) <= 200
    assert len(combination_change([A] * 7).encode()) <= 400
    assert len(rebase_change(A)) == 74
    assert len(bundle_change([A] * BUNDLE_MAX)) <= 200
    titles = [bundle_title(["ü" * 90] * BUNDLE_MAX), bundle_title(["a", "b"])]
    assert len(titles[0].encode()) <= 200
    assert bundle_title([titles[1], "b (rebased)", "c"]) == "Together: a + b + c"
