"""Leaderboard rows: the lineage, and what each author gave to it. Pure."""

from collections import Counter
from dataclasses import dataclass

from swarm.ledger import Ledger
from swarm.verification import verifiers_of


@dataclass(frozen=True, slots=True)
class AuthorRow:
    """One author's work.

    Attributes:
        author: Its key.
        gain_micro: Its share of the gains on the path to the head. An entry that combines verified
            siblings shares its gain equally among its own author and theirs.
        entries: Its entries on that path.
        hypotheses: What it proposed.
        refuted: How many of those were refuted.
        pairs_verified: Counted pairs that it ran for others.
    """

    author: bytes
    gain_micro: int
    entries: int
    hypotheses: int
    refuted: int
    pairs_verified: int


def author_rows(ledger: Ledger) -> list[AuthorRow]:
    """Every author and verifier, the largest merged gain first."""
    items = list(ledger.hypotheses())
    work = verifiers_of(items)
    path = [entry for entry in ledger.lineage() if entry.hypothesis is not None]
    shares = merged_gains(ledger)
    authors = {item.author for item in items} | work.keys()
    entries = Counter(entry.author for entry in path)
    proposed = Counter(item.author for item in items)
    refuted = Counter(item.author for item in items if item.status == "refuted")
    rows = [
        AuthorRow(
            author=author,
            gain_micro=shares.get(author, 0),
            entries=entries[author],
            hypotheses=proposed[author],
            refuted=refuted[author],
            pairs_verified=work.get(author, 0),
        )
        for author in authors
    ]
    return sorted(rows, key=lambda row: (-row.gain_micro, -row.pairs_verified, row.author))


def merged_gains(ledger: Ledger) -> dict[bytes, int]:
    """Each author's share of the gains on the path to the head, in millionths."""
    shares: dict[bytes, int] = {}
    for entry in ledger.lineage():
        if entry.hypothesis is None:
            continue
        combined = {ledger.entries[parent].author for parent in entry.parents[1:]}
        credited = {entry.author} | combined
        for author in credited:
            shares[author] = shares.get(author, 0) + (entry.gain_micro or 0) // len(credited)
    return shares
