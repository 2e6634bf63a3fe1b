"""Fork choice: which chain of entries everybody builds on.

From the root, follow the child whose subtree holds the heaviest path; ties go to the lowest id.
An entry weighs the lower confidence bound of its gain in whole units of tau, and nothing when the
bound is below one tau. Cutting one gain into many entries therefore earns nothing: each slice loses
its own margin of confidence and its own remainder.

This file knows ids, a tree and weights.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet


def entry_weight(low_micro: int, tau_micro: int) -> int:
    """Weight of an entry from the lower bound of its gain."""
    return max(0, low_micro // tau_micro)


def heaviest_path(
    root: bytes,
    children: Mapping[bytes, Sequence[bytes]],
    weights: Mapping[bytes, int],
    unconfirmed: AbstractSet[bytes] = frozenset(),
) -> list[bytes]:
    """The chosen path from the root to the head, both included.

    What others have not confirmed weighs apart: it only decides between paths that confirmed
    entries leave equal, and a confirmed entry comes before any number of unconfirmed ones.

    Args:
        root: Id of the root entry.
        children: Ids of an entry's children by its id; the tree must be finite and acyclic.
        weights: Weight of every entry but the root.
        unconfirmed: Entries that are only self-verified, and all that is built on them.
    """
    order = [root]
    for entry in order:  # The list grows while it is read: breadth first, without recursion.
        order.extend(children.get(entry, ()))
    best: dict[bytes, bytes] = {}
    heaviest: dict[bytes, tuple[int, bool, int]] = {}
    for entry in reversed(order):
        weight = weights.get(entry, 0)
        confirmed = entry not in unconfirmed
        heaviest[entry] = (weight, True, 0) if confirmed else (0, False, weight)
        if candidates := sorted(children.get(entry, ())):
            best[entry] = max(candidates, key=lambda child: heaviest[child])
            below = heaviest[best[entry]]
            mine = heaviest[entry]
            heaviest[entry] = (mine[0] + below[0], confirmed, mine[2] + below[2])
    path = [root]
    while path[-1] in best:
        path.append(best[path[-1]])
    return path
