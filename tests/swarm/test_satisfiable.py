"""Policies under which something, or nothing, can be verified."""

from dataclasses import replace

import pytest

from protocol.policy import DEMO, LAB, POLICIES, Policy
from swarm.satisfiable import pairs_for_a_clear_gain, why_unsatisfiable


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_named_policies_can_verify(name: str) -> None:
    assert why_unsatisfiable(POLICIES[name]) == ""


def test_how_many_pairs_a_clear_gain_needs() -> None:
    assert pairs_for_a_clear_gain(DEMO) == 5
    # With two of seven verifiers left out, at least five pairs must remain.
    needed = pairs_for_a_clear_gain(LAB)
    assert needed is not None
    assert 7 <= needed <= 14
    assert pairs_for_a_clear_gain(replace(DEMO, cap_pairs=5)) == 5


@pytest.mark.parametrize(
    ("policy", "word"),
    [
        (replace(DEMO, cap_pairs=4), "cap_pairs"),
        (replace(DEMO, alpha_ppm=1, cap_pairs=6), "alpha = 1 ppm"),
        (replace(LAB, cap_pairs=6, park_pairs=6), "2 liars"),
        (replace(DEMO, verify_share_permille=0), "verify_share_permille"),
    ],
)
def test_what_can_never_verify_is_said_in_words(policy: Policy, word: str) -> None:
    assert word in why_unsatisfiable(policy)
