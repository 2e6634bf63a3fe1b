"""Fork choice: the heaviest path, its ties, and why slicing a gain earns nothing."""

import random

from hypothesis import given
from hypothesis import strategies as st

from swarm.fork_choice import entry_weight, heaviest_path
from tests.swarm.helpers import TAU

ROOT = b"root"


def test_an_empty_tree_is_its_root() -> None:
    assert heaviest_path(ROOT, {}, {}) == [ROOT]


def test_the_heaviest_path_wins_over_the_heaviest_child() -> None:
    children = {ROOT: [b"a", b"b"], b"b": [b"c"]}
    assert heaviest_path(ROOT, children, {b"a": 5, b"b": 2, b"c": 4}) == [ROOT, b"b", b"c"]
    assert heaviest_path(ROOT, children, {b"a": 7, b"b": 2, b"c": 4}) == [ROOT, b"a"]


def test_two_light_branches_do_not_add_up() -> None:
    children = {ROOT: [b"a", b"b"], b"b": [b"c", b"d"]}
    assert heaviest_path(ROOT, children, {b"a": 5, b"b": 1, b"c": 3, b"d": 3}) == [ROOT, b"a"]


def test_ties_go_to_the_lowest_id_and_weightless_entries_still_lead_on() -> None:
    children = {ROOT: [b"b", b"a"], b"a": [b"d", b"c"]}
    assert heaviest_path(ROOT, children, {}) == [ROOT, b"a", b"c"]


def test_a_deep_lineage_needs_no_recursion() -> None:
    count = 20_000
    names = [ROOT, *(b"%06d" % number for number in range(count))]
    children = {names[number]: [names[number + 1]] for number in range(count)}
    assert heaviest_path(ROOT, children, {}) == names


@given(st.integers(0, 2**32), st.integers(1, 40))
def test_it_finds_what_trying_every_path_finds(seed: int, count: int) -> None:
    rng = random.Random(seed)
    ids = [b"%03d" % number for number in range(count)]
    rng.shuffle(ids)
    children: dict[bytes, list[bytes]] = {}
    parents: dict[bytes, bytes] = {}
    placed = [ROOT]
    for identity in ids:
        parents[identity] = rng.choice(placed)
        children.setdefault(parents[identity], []).append(identity)
        placed.append(identity)
    weights = {identity: rng.randrange(4) for identity in ids}

    def weight_of_path_to(identity: bytes) -> int:
        total = 0
        while identity != ROOT:
            total += weights[identity]
            identity = parents[identity]
        return total

    path = heaviest_path(ROOT, children, weights)
    leaves = [identity for identity in placed if identity not in children]
    assert path[-1] in leaves
    assert weight_of_path_to(path[-1]) == max(weight_of_path_to(leaf) for leaf in leaves)
    shuffled = {parent: rng.sample(items, len(items)) for parent, items in children.items()}
    assert heaviest_path(ROOT, shuffled, weights) == path


@given(st.lists(st.integers(-(10**7), 10**7), min_size=1, max_size=12))
def test_slices_never_weigh_more_than_the_whole(bounds_micro: list[int]) -> None:
    whole = entry_weight(sum(max(0, bound) for bound in bounds_micro), TAU)
    assert sum(entry_weight(bound, TAU) for bound in bounds_micro) <= whole
    assert entry_weight(-1, TAU) == 0


def test_unconfirmed_weight_decides_only_what_confirmed_weight_leaves_open() -> None:
    children = {ROOT: [b"a", b"b"], b"a": [b"c", b"d"], b"b": [b"e"]}
    weights = {b"a": 1, b"b": 50, b"c": 0, b"d": 9, b"e": 50}
    unconfirmed = {b"b", b"d", b"e"}
    # `c` is confirmed and weighs nothing, and still comes before any weight that is not confirmed.
    assert heaviest_path(ROOT, children, weights, unconfirmed) == [ROOT, b"a", b"c"]
    assert heaviest_path(ROOT, children, weights, unconfirmed | {b"c"}) == [ROOT, b"a", b"d"]
    assert heaviest_path(ROOT, children, weights, unconfirmed | {b"a", b"c"}) == [ROOT, b"b", b"e"]
