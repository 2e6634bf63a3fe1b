"""Who is a member: keys that a chain of admissions, starting at the founder, lets in.

Evidence counts only from members. Membership is a fact about a set of admit records, so it may
arrive after the evidence does; nothing here is a date. This file refuses to know why somebody was
admitted: that is the policy of the founder's node.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from protocol.policy import Policy
from protocol.records import Admit, Record


@dataclass(frozen=True, slots=True)
class Grant:
    """What one valid admit record gives.

    Attributes:
        member: The admitted key.
        can_admit: Whether it may admit others.
        depth: Links from the founder, whose own admissions have depth 1.
        expires_depth: Lineage depth from which it no longer counts, the earliest of the chain's;
            None is never.
    """

    member: bytes
    can_admit: bool
    depth: int
    expires_depth: int | None


class Membership:
    """The members so far. Grows only: an admit record cannot be taken back here.

    Attributes:
        policy: The swarm's policy.
    """

    def __init__(self, founder: bytes, swarm: bytes, policy: Policy) -> None:
        self.policy = policy
        self._swarm = swarm
        self._depth_max = policy.admit_depth_max
        self._root = Grant(member=founder, can_admit=True, depth=0, expires_depth=None)
        self._grants: dict[bytes, Grant] = {}
        self._last_depth: dict[bytes, int | None] = {founder: None}

    @property
    def members(self) -> Mapping[bytes, int | None]:
        """Every key that was ever admitted, with the lineage depth at which it expires."""
        return self._last_depth

    def grant_for(self, record: Record, body: Admit) -> Grant | str:
        """What a new admit record would give, or why it gives nothing.

        The admit record that it builds on must have been added before.
        """
        if body.grant == self._swarm:
            parent = self._root
        elif body.grant in self._grants:
            parent = self._grants[body.grant]
        else:
            return "the grant is not an admission"
        if parent.member != record.author:
            return "the grant was given to another key"
        if not parent.can_admit:
            return "the grant does not allow admitting others"
        if parent.depth >= self._depth_max:
            return "the chain of admissions is too long"
        limits = [depth for depth in (parent.expires_depth, body.expires_depth or None) if depth]
        return Grant(
            member=body.member,
            can_admit=body.can_admit,
            depth=parent.depth + 1,
            expires_depth=min(limits, default=None),
        )

    def add(self, record_id: bytes, grant: Grant) -> bool:
        """Take in a grant; tells whether anybody's membership changed."""
        self._grants[record_id] = grant
        if grant.member not in self._last_depth:
            self._last_depth[grant.member] = grant.expires_depth
            return True
        before = self._last_depth[grant.member]
        if before is None or (grant.expires_depth is not None and grant.expires_depth <= before):
            return False
        self._last_depth[grant.member] = grant.expires_depth
        return True

    def is_member(self, key: bytes, depth: int = 0) -> bool:
        """Whether evidence by this key counts for a hypothesis on an entry of this depth."""
        if key not in self._last_depth:
            return False
        expires_depth = self._last_depth[key]
        return expires_depth is None or depth < expires_depth

    def admit_grant(self, key: bytes) -> bytes | None:
        """The id under which this key may admit others, the shortest chain first; else None."""
        if key == self._root.member:
            return self._swarm
        usable = [
            (grant.depth, record_id)
            for record_id, grant in self._grants.items()
            if grant.member == key and grant.can_admit and grant.depth < self._depth_max
        ]
        return min(usable)[1] if usable else None
