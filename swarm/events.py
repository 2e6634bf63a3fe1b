"""What a new record changed: the ledger's answer to whoever has to act on it or tell people."""

from dataclasses import dataclass
from typing import TypeAlias

from swarm.verdict import VerdictStatus


@dataclass(frozen=True, slots=True)
class HypothesisAdded:
    """A hypothesis entered."""

    hypothesis: bytes


@dataclass(frozen=True, slots=True)
class TrialAdded:
    """A trial entered."""

    hypothesis: bytes
    trial: bytes


@dataclass(frozen=True, slots=True)
class VerdictChanged:
    """The trials of a hypothesis add up to something else now."""

    hypothesis: bytes
    before: VerdictStatus
    after: VerdictStatus


@dataclass(frozen=True, slots=True)
class HeadChanged:
    """Fork choice picks another head now."""

    before: bytes
    after: bytes
    rolled_back: bool


@dataclass(frozen=True, slots=True)
class MemberAdded:
    """Evidence by this key counts from now on."""

    member: bytes


@dataclass(frozen=True, slots=True)
class TransferAdded:
    """A replay of the lineage up to an entry at another scale entered."""

    entry: bytes
    transfer: bytes


@dataclass(frozen=True, slots=True)
class AuthorVoided:
    """This key signed two different trials for one slot; its evidence is void everywhere."""

    author: bytes


Event: TypeAlias = (
    HypothesisAdded
    | TrialAdded
    | VerdictChanged
    | HeadChanged
    | MemberAdded
    | TransferAdded
    | AuthorVoided
)
