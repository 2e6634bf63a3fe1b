"""What the ledger's events mean to a person, in one line each."""

from typing import assert_never

from node.words import verdict_word
from protocol.records import Transfer
from protocol.schema import printable
from swarm.events import (
    AuthorVoided,
    Event,
    HeadChanged,
    HypothesisAdded,
    MemberAdded,
    TransferAdded,
    TrialAdded,
    VerdictChanged,
)
from swarm.ledger import Ledger
from swarm.rollback import why_rolled_back
from swarm.transfer import Judge, report

_TITLE_BYTES = 120


def describe(event: Event, ledger: Ledger) -> tuple[str, bytes | None] | None:
    """A line of news and the hypothesis that it is about; None for what needs no line."""
    match event:
        case HypothesisAdded(hypothesis=identity):
            item = ledger.hypothesis(identity)
            return f"{item.author.hex()[:8]} tried {_title(ledger, identity)}", identity
        case TrialAdded():
            return None
        case VerdictChanged(hypothesis=identity, after=after):
            verdict = ledger.hypothesis(identity).verdict
            gain = "" if verdict.gain_micro is None else f", gain {verdict.gain_micro / 1e6:+.4f}"
            return (
                f"{verdict_word(after, ledger.genesis_body.task.scorer)}"
                f" {_title(ledger, identity)} after {verdict.pairs} pairs{gain}:"
                f" {verdict.reason}",
                identity,
            )
        case HeadChanged(before=before, after=after, rolled_back=rolled_back):
            entry = ledger.entries[after]
            name = f"head {after.hex()[:8]} “{entry.title}”"
            if not rolled_back:
                return f"merged: {name}", entry.hypothesis
            return f"rolled back to {name}: {_why(ledger, before)}", entry.hypothesis
        case MemberAdded(member=member):
            return f"{member.hex()[:8]} is a member now", None
        case TransferAdded(transfer=transfer):
            return _transfer(transfer, ledger), None
        case AuthorVoided(author=author):
            return f"{author.hex()[:8]} contradicted itself; its evidence is void", None
        case _:
            assert_never(event)


def _transfer(identity: bytes, ledger: Ledger) -> str:
    """What a replay at another scale found; its scale is a peer's text."""
    record = ledger.record(identity)
    assert isinstance(record.body, Transfer)
    found = report(record.body, Judge(ledger.metric, ledger.policy.tau_micro))
    scale = printable(record.body.scale, _TITLE_BYTES)
    return (
        f"{record.author.hex()[:8]} replayed the lineage at “{scale}”:"
        f" {found.carried} of {len(found.steps)} improvements carry over"
    )


def _why(ledger: Ledger, before: bytes) -> str:
    """Why the former head is left."""
    cause = why_rolled_back(ledger, before)
    if cause is None:
        return "another branch of the lineage weighs more"
    item = cause.item
    return f"{_title(ledger, item.id)} is {item.status} now: {cause.reason}"


def _title(ledger: Ledger, identity: bytes) -> str:
    return f"“{printable(ledger.hypothesis(identity).body.title, _TITLE_BYTES)}”"
