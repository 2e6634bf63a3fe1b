"""What agents remember and what the leaderboard shows, from the same ledger."""

from swarm.leaderboard import author_rows
from swarm.memory import experiences
from tests.swarm.helpers import TAU, Swarm, arm, digest, entry_of, key, steady

ALICE, BOB, CAROL = key(1), key(2), key(3)


def test_every_outcome_is_remembered_failures_too() -> None:
    swarm = Swarm()
    merged = swarm.merged("merged", ALICE, [BOB, CAROL], steady(9 * TAU, 6))
    refuted = swarm.hypothesis("refuted", BOB)
    parked = swarm.hypothesis("parked", BOB)
    weak = swarm.hypothesis("weak", CAROL)
    crashed = swarm.hypothesis("crashed", CAROL)
    claim = swarm.hypothesis("claim", ALICE, parents=(entry_of(merged[0]),))
    untried = swarm.hypothesis("untried", ALICE)
    broken = arm(None, "crashed")
    records = [
        *merged,
        refuted,
        *swarm.trials(refuted, [ALICE, CAROL], steady(-9 * TAU, 6)),
        parked,
        *swarm.trials(parked, [ALICE, CAROL], [-TAU, TAU // 2, -TAU, -TAU]),
        weak,
        swarm.trial(weak, CAROL, 0, 50, purpose="screen"),
        crashed,
        swarm.trial(crashed, CAROL, 0, 0, purpose="screen", child=broken),
        claim,
        swarm.trial(claim, ALICE, 0, 3 * TAU, purpose="screen"),
        untried,
    ]
    ledger = swarm.ledger(*swarm.members(3), *records)
    remembered = experiences(ledger)
    assert [(item.title, item.status) for item in remembered] == [
        ("merged", "verified"),
        ("refuted", "refuted"),
        ("parked", "refuted"),
        ("weak", "screened_out"),
        ("crashed", "crashed"),
        ("claim", "undecided"),
    ]
    by_title = {item.title: item for item in remembered}
    assert by_title["weak"].gain_micro == 50
    assert by_title["crashed"].gain_micro is None
    assert by_title["claim"].parent == entry_of(merged[0])
    assert by_title["claim"].source == digest("script claim")
    assert by_title["claim"].change == "claim"
    gain_micro = by_title["refuted"].gain_micro
    assert gain_micro is not None
    assert abs(gain_micro + 9 * TAU) < TAU


def test_rows_of_the_lineage_and_of_its_authors() -> None:
    swarm = Swarm()
    first = swarm.merged("first", ALICE, [BOB, CAROL], steady(9 * TAU, 6))
    sibling = swarm.merged("sibling", BOB, [ALICE, CAROL], steady(6 * TAU, 6))
    both = swarm.merged(
        "both",
        CAROL,
        [ALICE, BOB],
        steady(8 * TAU, 6),
        parents=(entry_of(first[0]), entry_of(sibling[0])),
    )
    lost = swarm.hypothesis("lost", BOB)
    records = [*first, *sibling, *both, lost]
    records += swarm.trials(lost, [ALICE, CAROL], steady(-9 * TAU, 6))
    ledger = swarm.ledger(*swarm.members(3), *records)
    assert [entry.title for entry in ledger.lineage()] == ["genesis", "first", "both"]
    rows = {row.author: row for row in author_rows(ledger)}
    gains = {entry.title: entry.gain_micro or 0 for entry in ledger.entries.values()}
    assert rows[ALICE.public].gain_micro == gains["first"]
    assert rows[CAROL.public].gain_micro == gains["both"] // 2
    assert rows[BOB.public].gain_micro == gains["both"] // 2, "siblings' authors share the credit"
    assert (rows[BOB.public].hypotheses, rows[BOB.public].refuted) == (2, 1)
    assert rows[BOB.public].entries == 0
    verified = {key: row.pairs_verified for key, row in rows.items()}
    counted = sum(view.verdict.decided_at for view in ledger.hypotheses())
    assert sum(verified.values()) == counted
    assert [row.gain_micro for row in author_rows(ledger)] == sorted(
        (row.gain_micro for row in rows.values()), reverse=True
    )
