"""The gate: may a record enter, must it wait, or does it prove a fault of its author?

The record's bytes, swarm and signature have been checked (`protocol.envelope`). The rules that
follow, in this order:

1. known: the same id is here already;
2. genesis: only the swarm's own, which is here from the start;
3. references: what the record refers to must be here, else it is *held* until it comes;
4. kind rules, which only the record's own bytes and its references decide:
   - admit: the grant was given to the signer, allows admitting, and its chain is short enough;
   - trial: screening is the author's; any other trial's seed follows from a proof that its signer
     made for this hypothesis and this pair;
   - merge: every cited trial is a trial of the hypothesis;
   - absence: it is about a hypothesis of somebody else's;
   - transfer: its runs are a path from the genesis, and the proof of its seeds is the signer's.

Membership is no rule here: it may arrive later, so the ledger asks for it when it counts. The wall
clock is no rule either.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, assert_never

from protocol.errors import SignatureError
from protocol.ids import seed_challenge, seed_from_proof, transfer_challenge
from protocol.keys import verify
from protocol.records import Absence, Admit, Genesis, Hypothesis, Merge, Record, Transfer, Trial
from swarm.events import Event

if TYPE_CHECKING:
    from swarm.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Admitted:
    """The record entered, and with it records that had waited for it.

    Attributes:
        records: All that entered, in an order in which each follows what it refers to.
        events: What changed.
    """

    records: tuple[Record, ...]
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """The record waits; `missing` is the first id that it waits for."""

    missing: bytes


@dataclass(frozen=True, slots=True)
class Rejected:
    """The record's own bytes prove that its author broke a rule."""

    reason: str


@dataclass(frozen=True, slots=True)
class Known:
    """The record is here already."""


Outcome: TypeAlias = Admitted | Held | Rejected | Known


def judge(record: Record, ledger: "Ledger") -> Held | Rejected | Known | None:
    """Apply the rules; None lets the record in."""
    if record.id in ledger:
        return Known()
    body = record.body
    match body:
        case Genesis():
            return Rejected("a swarm has one genesis")
        case Admit():
            if body.grant != ledger.swarm and body.grant not in ledger:
                return Held(body.grant)
            grant = ledger.membership.grant_for(record, body)
            return Rejected(grant) if isinstance(grant, str) else None
        case Hypothesis():
            missing = next((item for item in body.parents if not ledger.has_entry(item)), None)
            return None if missing is None else Held(missing)
        case Trial():
            return _judge_trial(record, body, ledger)
        case Merge():
            return _judge_merge(body, ledger)
        case Absence():
            return _judge_absence(record, body, ledger)
        case Transfer():
            return _judge_transfer(record, body, ledger)
        case _:
            assert_never(body)


def _judge_trial(record: Record, body: Trial, ledger: "Ledger") -> Held | Rejected | None:
    if body.hypothesis not in ledger:
        return Held(body.hypothesis)
    if not ledger.is_hypothesis(body.hypothesis):
        return Rejected("a trial of something that is no hypothesis")
    if body.purpose == "screen":
        if record.author != ledger.author_of(body.hypothesis):
            return Rejected("only the author of a hypothesis screens it")
        return None
    if body.seed != seed_from_proof(body.seed_proof):
        return Rejected("the seed does not follow from its proof")
    try:
        verify(record.author, body.seed_proof, seed_challenge(body.hypothesis, body.pair))
    except SignatureError:
        return Rejected("the seed proof is not the signer's for this pair")
    return None


def _judge_merge(body: Merge, ledger: "Ledger") -> Held | Rejected | None:
    for item in (body.hypothesis, *body.trials):
        if item not in ledger:
            return Held(item)
    if not ledger.is_hypothesis(body.hypothesis):
        return Rejected("a merge of something that is no hypothesis")
    if any(ledger.trial_subject(item) != body.hypothesis for item in body.trials):
        return Rejected("a merge cites a trial of something else")
    return None


def _judge_absence(record: Record, body: Absence, ledger: "Ledger") -> Held | Rejected | None:
    if body.hypothesis not in ledger:
        return Held(body.hypothesis)
    if not ledger.is_hypothesis(body.hypothesis):
        return Rejected("an absence of something that is no hypothesis")
    if record.author == ledger.author_of(body.hypothesis):
        return Rejected("the author of a hypothesis has its script")
    return None


def _judge_transfer(record: Record, body: Transfer, ledger: "Ledger") -> Held | Rejected | None:
    path = [run.entry for run in body.runs]
    missing = next((item for item in path if not ledger.has_entry(item)), None)
    if missing is not None:
        return Held(missing)
    if not ledger.is_path(path):
        return Rejected("the runs of a transfer are no path from the genesis")
    try:
        verify(record.author, body.seed_proof, transfer_challenge(body.entry, body.scale))
    except SignatureError:
        return Rejected("the proof of a transfer's seeds is not the signer's")
    return None
