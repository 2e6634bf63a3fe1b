"""What the lineage has left behind, and in which order it is brought onto the head.

Several changes may be verified on one parent, and only one of them becomes the head. The others
are not lost and not simply added: two gains measured apart are never assumed to add up. They are
combined with the head (`node.merge3`) and the combination is a hypothesis like any other, screened
and verified before it counts.

Two kinds of work, in this order:

1. *Groups* of verified siblings: merged entries that hang on the head's ancestry and are not part
   of it. All are tried at once; a group that fails is split into halves, down to single siblings.
2. *Rebases*: other hypotheses whose parent is not the head, verified ones first, then those whose
   screening was promising and that nobody decided while their parent was the head. They come over
   together as well, as a *bundle*, since verifying five changes at once costs what verifying one
   does; a bundle that fails is split in the same way. What is promising on the head itself, and too
   small to be verified at once, goes into the bundle too, if there are several (`swarm.patience`).
3. On a head that has been researched for a while, those that were parked on an older head, or that
   failed when they were brought over, one by one: gains are not additive, and what gave nothing on
   one head may on another.

This file decides what and in which order, from the ledger alone. It refuses to know scripts, how
they are merged and whether the result was tried: the caller says so (`Outcome`). What was rejected
on an older head is planned again on a new one, because the plan is about the present head.
"""

import re
from collections import deque
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from protocol import limits
from protocol.ids import rendezvous
from protocol.schema import printable
from swarm.hypotheses import HypothesisView
from swarm.ledger import Ledger
from swarm.lineage import Entry
from swarm.memory import ExperienceStatus
from swarm.patience import Research

Group: TypeAlias = tuple[bytes, ...]
"""Entry ids of siblings that are combined with the head, or hypotheses that come over together."""

Outcome: TypeAlias = Literal["open", "waiting", "failed"]
"""`open`: may be tried now. `waiting`: somebody is at it, or will be. `failed`: the texts
contradict each other, or the combination was measured and did not help."""

REBASES_MAX: Final = 16
"""Rebases that are considered on one head: the most promising ones."""

BUNDLE_MAX: Final = 8
"""Hypotheses that come over together: as many as a change can name."""

_FAILED: Final = frozenset({"refuted", "screened_out", "crashed"})
_NO_USE: Final = _FAILED | {"parked"}
_REBASE: Final = "rebase of "
_REBASE_PATTERN: Final = re.compile(r"rebase of ([0-9a-f]{64})")
_BUNDLE: Final = "bundle of "
_BUNDLE_PATTERN: Final = re.compile(r"bundle of ([0-9a-f]{16}(?: [0-9a-f]{16})*)")
_TOGETHER: Final = "Together: "
_PREFIX_CHARS: Final = 16
"""Characters by which a bundle names a hypothesis."""
_CHAIN_MAX: Final = 64
"""Rebases of rebases that are followed back."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What could be brought onto the present head.

    Attributes:
        siblings: Verified entries beside the head's ancestry, the largest gain first.
        rebases: Hypotheses to bring over together, the best first.
        doubted: Those to bring over one by one, and last.
    """

    siblings: Group
    rebases: tuple[HypothesisView, ...]
    doubted: tuple[HypothesisView, ...]


def plan(ledger: Ledger) -> Plan:
    """What there is to bring onto the head."""
    ancestry = _ancestry(ledger)
    items = list(ledger.hypotheses())
    merged = {entry.hypothesis for entry in ledger.entries.values() if entry.id in ancestry}
    named = {item.id.hex()[:_PREFIX_CHARS]: item for item in items}
    # A change that has become part of the head by way of its rebase is there under another id.
    spent = {origin for item in items if item.id in merged for origin in _origins(item, named)}
    siblings = [
        entry
        for entry in ledger.entries.values()
        if entry.id not in ancestry
        and entry.parents[0] in ancestry
        and entry.hypothesis not in spent
    ]
    siblings.sort(key=lambda entry: (-(entry.gain_micro or 0), entry.id))
    beside = {entry.id for entry in siblings}
    rebases = [
        item
        for item in items
        if item.body.parents[0] != ledger.head.id
        and item.entry_id not in ancestry
        and item.entry_id not in beside
        and item.id not in spent
        and not spent.intersection(_origins(item, named))
        and _is_worth_bringing(item)
    ]
    rebases += Research.on_head(ledger).together()
    rebases.sort(key=_promise)
    considered = rebases[:REBASES_MAX]
    failed = {rebased_from(item) for item in items if item.status in _NO_USE}
    doubted = [item for item in considered if item.status == "parked" or item.id in failed]
    return Plan(
        siblings=tuple(entry.id for entry in siblings[: limits.PARENTS_MAX - 1]),
        rebases=tuple(item for item in considered if item not in doubted),
        doubted=tuple(doubted),
    )


def _ancestry(ledger: Ledger) -> set[bytes]:
    """The head and everything that it descends from, by any parent."""
    found: set[bytes] = set()
    queue = [ledger.head.id]
    while queue:
        identity = queue.pop()
        if identity not in found:
            found.add(identity)
            queue.extend(ledger.entries[identity].parents)
    return found


def _is_worth_bringing(item: HypothesisView) -> bool:
    return item.holds or (item.status in {"stale", "parked"} and item.screening.promising)


def _promise(item: HypothesisView) -> tuple[int, int, bytes]:
    """Verified first, then by gain; what others' pairs spoke against comes last."""
    gain_micro = item.standing.gain_micro if item.holds else item.screened_gain_micro
    return 2 * (item.status == "parked") + (not item.holds), -(gain_micro or 0), item.id


def next_group(siblings: Group, outcomes: Mapping[Group, Outcome]) -> Group | None:
    """The next group of siblings whose outcome the caller has to find out, or may try.

    All together first; a group that failed is replaced by its halves.

    Args:
        siblings: The plan's.
        outcomes: What is known of groups so far.

    Returns:
        A group that is not in `outcomes`, else the first that is `open`, else None.
    """
    queue = deque([siblings] if siblings else [])
    opened: Group | None = None
    while queue:
        group = queue.popleft()
        outcome = outcomes.get(group)
        if outcome is None:
            return group
        if outcome == "open" and opened is None:
            opened = group
        if outcome == "failed" and len(group) > 1:
            middle = (len(group) + 1) // 2
            queue.extend((group[:middle], group[middle:]))
    return opened


def outcome_of(
    change: bytes | None,
    *,
    head: bytes,
    tried: Mapping[bytes, ExperienceStatus],
    claimed: Container[bytes],
    mine: bool,
) -> Outcome:
    """What is known of a script that was merged from the head and some changes.

    Args:
        change: Its normalised digest; None where the texts contradict each other.
        head: The head's.
        tried: What came of every script that was tried on the head, by normalised digest.
        claimed: Scripts that somebody runs on the head now, by normalised digest.
        mine: Whether it is this node's turn.
    """
    if change is None or change == head:
        return "failed"
    if change in tried:
        return "failed" if tried[change] in _FAILED else "waiting"
    return "open" if mine and change not in claimed else "waiting"


def is_turn_of(
    me: bytes, ledger: Ledger, item: HypothesisView, alive: Iterable[bytes], *, waited_s: float
) -> bool:
    """Whether a member is the one to bring a hypothesis onto the head.

    Args:
        me: The member, who need not be among the living.
        ledger: The state.
        item: The hypothesis.
        alive: Keys that were heard of lately.
        waited_s: How long the head has been the head.
    """
    if not ledger.is_member(me):
        return False
    members = {key for key in alive if ledger.is_member(key)} | {me}
    overdue = waited_s > ledger.policy.lease_s
    return responsible(item.id, item.author, members, overdue=overdue) == me


def responsible(
    identity: bytes, author: bytes, alive: Iterable[bytes], *, overdue: bool
) -> bytes | None:
    """Who brings a hypothesis onto the head, so that not everybody does the same.

    Args:
        identity: The hypothesis.
        author: Its author, who does it while it is alive.
        alive: Members that were heard of lately, this node included.
        overdue: Whether the author has had its time.
    """
    members = set(alive)
    if author in members and not overdue:
        return author
    others = members - {author} or members
    return min(others, key=lambda key: rendezvous(identity, key), default=None)


# -- names of what is brought over --------------------------------------------------------------


def rebase_change(identity: bytes) -> str:
    """What the origin of a rebase says as its change."""
    return f"{_REBASE}{identity.hex()}"


def names_rebase(change: str) -> bool:
    """Whether an origin's change is that of a rebase."""
    return _REBASE_PATTERN.fullmatch(change) is not None


def rebased_from(item: HypothesisView) -> bytes | None:
    """The hypothesis that this one says to be a rebase of."""
    found = _REBASE_PATTERN.fullmatch(item.body.origin.change)
    return None if found is None else bytes.fromhex(found[1])


def original_of(ledger: Ledger, item: HypothesisView) -> HypothesisView:
    """The hypothesis at the start of a chain of rebases; itself when it is none."""
    seen: set[bytes] = set()
    while len(seen) < _CHAIN_MAX:
        before = rebased_from(item)
        if before is None or before in seen or not ledger.is_hypothesis(before):
            break
        seen.add(before)
        item = ledger.hypothesis(before)
    return item


def bundle_change(identities: Iterable[bytes]) -> str:
    """What the origin of several hypotheses that come over together says as its change."""
    return _BUNDLE + " ".join(identity.hex()[:_PREFIX_CHARS] for identity in identities)


def bundle_title(titles: Iterable[str]) -> str:
    """The title of several hypotheses that come over together."""
    names = dict.fromkeys(name for title in titles for name in _titles(title))
    return printable(_TOGETHER + " + ".join(names), limits.TITLE_BYTES_MAX)


def _titles(title: str) -> list[str]:
    return title.removeprefix(_TOGETHER).removesuffix(" (rebased)").split(" + ")


def is_carried(item: HypothesisView) -> bool:
    """Whether a hypothesis says that it brings others onto another head."""
    change = item.body.origin.change
    return names_rebase(change) or _BUNDLE_PATTERN.fullmatch(change) is not None


def _origins(item: HypothesisView, named: Mapping[str, HypothesisView]) -> set[bytes]:
    """The hypotheses that this one says to be a rebase or a bundle of, and theirs in turn.

    Args:
        item: The hypothesis.
        named: Every hypothesis, by the beginning of its id.
    """
    found: set[bytes] = set()
    queue = [item]
    while queue and len(found) < _CHAIN_MAX:
        for name in _names(queue.pop().body.origin.change):
            before = named.get(name)
            if before is not None and before.id not in found:
                found.add(before.id)
                queue.append(before)
    return found


def _names(change: str) -> list[str]:
    """Beginnings of the ids that an origin's change names."""
    if names_rebase(change):
        return [change.removeprefix(_REBASE)[:_PREFIX_CHARS]]
    bundle = _BUNDLE_PATTERN.fullmatch(change)
    return [] if bundle is None else bundle[1].split(" ")


def combination_title(head: Entry, siblings: Iterable[Entry]) -> str:
    """The title of a combination of the head with siblings."""
    names = " + ".join(entry.title for entry in siblings)
    return printable(f"Combine “{names}” with “{head.title}”", limits.TITLE_BYTES_MAX)


def combination_change(siblings: Iterable[bytes]) -> str:
    """What the origin of a combination says as its change; the parents say it exactly."""
    return "combination with " + " ".join(identity.hex()[:16] for identity in siblings)
