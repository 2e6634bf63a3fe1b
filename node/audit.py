"""`lineage verify`: computes the whole state of a swarm again from the stored bytes, and says so.

Nothing that the node has concluded is believed: every envelope is opened anew, every seed is
derived from its proof, the records are folded in two orders, the entries' ids are made from the
scripts' own bytes, and the head is found by a second reading of the fork-choice rule. This file
decides what a fault is. It repairs nothing and refuses to know a running node.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from node.errors import NotRunningError, StoreError
from node.founding import SWARM_SETTING
from node.home import Home
from protocol.envelope import open_envelope
from protocol.errors import SignatureError, WireError
from protocol.ids import entry_id, record_id, seed_challenge, seed_from_proof
from protocol.keys import verify
from protocol.limits import SIGNATURE_BYTES
from protocol.records import Genesis, Record, Trial, kind_of
from swarm.admission import Held, Rejected
from swarm.ledger import Ledger
from swarm.lineage import Entry
from swarm.source import SourceError, check_source

_FAULTS_SHOWN: Final = 20

Row = tuple[bytes, int, bytes]
"""A stored record: id, created_ms and envelope, as the store's columns have them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence of the report.

    Attributes:
        ok: False for a fault.
        text: What was found; text from peers in it is printable.
    """

    ok: bool
    text: str


def audit_home(home: Home) -> list[Finding]:
    """Verify everything in a home, whether its node runs or not.

    Raises:
        NotRunningError: There is no swarm in this home yet.
        StoreError: The store cannot be opened.
    """
    from node.blobs import BlobStore
    from node.store import RecordStore

    if not home.database.exists():
        raise NotRunningError(f"{home.root} belongs to no swarm")
    store = RecordStore(home.database, read_only=True)
    try:
        swarm = store.setting(SWARM_SETTING)
        rows = list(store.rows())
    finally:
        store.close()
    if swarm is None:
        raise NotRunningError(f"{home.root} has not reached its swarm yet")
    return audit(rows, swarm, BlobStore(home.blobs).read)


def audit(
    rows: Sequence[Row], swarm: bytes, read_blob: Callable[[bytes], bytes | None]
) -> list[Finding]:
    """Verify a set of stored records and the scripts of their lineage.

    Args:
        rows: Everything that the store holds, in the order of arrival.
        swarm: The swarm id that the home is bound to.
        read_blob: The bytes of a blob, None when it is missing; raises `StoreError` when they do
            not match its name.
    """
    records, findings = _open(rows, swarm)
    genesis = next((record for record in records if isinstance(record.body, Genesis)), None)
    if genesis is None or genesis.id != swarm:
        findings.append(Finding(False, f"the genesis record {swarm.hex()[:16]} is missing"))
        return findings
    findings.append(
        Finding(True, f"genesis {swarm.hex()[:16]} founded by {genesis.author.hex()[:16]}")
    )
    findings.extend(_check_seeds(records))
    ledger, faults = _fold(genesis, records)
    findings.extend(faults)
    findings.extend(_check_order(genesis, records, ledger))
    counts = Counter(item.verdict.status for item in ledger.hypotheses())
    words = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "none"
    findings.append(Finding(True, f"verdicts computed from the trials: {words}"))
    findings.extend(_check_scripts(ledger, read_blob))
    findings.extend(_check_fork_choice(ledger))
    return findings


def _open(rows: Sequence[Row], swarm: bytes) -> tuple[list[Record], list[Finding]]:
    """Open every envelope: canonical form, fields, signature, and the id that its bytes have."""
    records: list[Record] = []
    faults: list[str] = []
    for identity, created_ms, envelope in rows:
        name = f"record {identity.hex()[:16]}"
        if record_id(envelope[SIGNATURE_BYTES:]) != identity:
            faults.append(f"{name}: its bytes have another id")
            continue
        try:
            record = open_envelope(envelope, swarm=None if identity == swarm else swarm)
        except WireError as error:
            faults.append(f"{name}: {error}")
            continue
        if record.created_ms != created_ms:
            faults.append(f"{name}: the store's date is not the record's")
        records.append(record)
    kinds = Counter(kind_of(record.body) for record in records)
    words = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    text = f"{len(records)} of {len(rows)} records are canonical, signed and named by their bytes"
    return records, [Finding(True, f"{text} ({words})"), *_faults(faults)]


def _check_seeds(records: Iterable[Record]) -> list[Finding]:
    """Derive the seed of every counted pair again from its verifier's signature."""
    faults: list[str] = []
    count = 0
    for record in records:
        body = record.body
        if not isinstance(body, Trial) or body.purpose == "screen":
            continue
        count += 1
        challenge = seed_challenge(body.hypothesis, body.pair)
        try:
            verify(record.author, body.seed_proof, challenge)
        except SignatureError:
            faults.append(f"trial {record.id.hex()[:16]}: the seed proof is not its signer's")
            continue
        if seed_from_proof(body.seed_proof) != body.seed:
            faults.append(f"trial {record.id.hex()[:16]}: the seed does not follow from its proof")
    text = f"{count - len(faults)} of {count} seeds follow from their verifiers' signatures"
    return [Finding(True, text), *_faults(faults)]


def _fold(genesis: Record, records: Sequence[Record]) -> tuple[Ledger, list[Finding]]:
    """Pass every record through the gate; what does not enter is a fault."""
    ledger = Ledger(genesis)
    faults: list[str] = []
    held: dict[bytes, bytes] = {}
    for record in records:
        if record.id == genesis.id:
            continue
        match ledger.add(record):
            case Rejected(reason=reason):
                faults.append(f"record {record.id.hex()[:16]}: {reason}")
            case Held(missing=missing):
                held[record.id] = missing
            case _:
                pass
    faults.extend(
        f"record {identity.hex()[:16]} refers to {missing.hex()[:16]}, which is missing"
        for identity, missing in held.items()
        if identity not in ledger
    )
    text = f"{len(ledger)} records pass the gate"
    return ledger, [Finding(True, text), *_faults(faults)]


def _check_order(genesis: Record, records: Sequence[Record], ledger: Ledger) -> list[Finding]:
    """Fold once more, in another order: the state is a function of the set alone."""
    other = Ledger(genesis)
    for record in sorted(records, key=lambda item: item.id):
        other.add(record)
    same = (
        other.digest == ledger.digest
        and dict(other.entries) == dict(ledger.entries)
        and other.lineage() == ledger.lineage()
        and _statuses(other) == _statuses(ledger)
    )
    if same:
        return [Finding(True, "folded in another order, the records give the same lineage")]
    return [Finding(False, "the records give another lineage when folded in another order")]


def _statuses(ledger: Ledger) -> Mapping[bytes, str]:
    return {item.id: item.status for item in ledger.hypotheses()}


def _check_scripts(ledger: Ledger, read_blob: Callable[[bytes], bytes | None]) -> list[Finding]:
    """Make the ids of the lineage's entries again from the bytes of their scripts."""
    findings: list[Finding] = []
    before: str | None = None
    for entry in ledger.lineage():
        name = f"entry {entry.depth} {entry.id.hex()[:16]} “{entry.title}”"
        try:
            data = read_blob(entry.source)
        except StoreError as error:
            findings.append(Finding(False, f"{name}: {error}"))
            before = None
            continue
        if data is None:
            findings.append(
                Finding(False, f"{name}: its script {entry.source.hex()[:16]} is missing here")
            )
            before = None
            continue
        parents = entry.parents or (ledger.swarm,)
        if entry_id(parents, hashlib.sha256(data).digest()) != entry.id:
            findings.append(Finding(False, f"{name}: its script and parents give another id"))
        try:
            text = data.decode()
            check_source(text, before)
        except (SourceError, UnicodeDecodeError) as error:
            findings.append(Finding(False, f"{name}: its script breaks the limits: {error}"))
            before = None
            continue
        before = text
        findings.append(Finding(True, f"{name}: {_evidence(entry)}{_since(entry, ledger)}"))
    return findings


def _evidence(entry: Entry) -> str:
    if entry.gain_micro is None or entry.low_micro is None or entry.high_micro is None:
        return "the start of the lineage"
    return (
        f"gain {entry.gain_micro / 1e6:+.4f} [{entry.low_micro / 1e6:+.4f},"
        f" {entry.high_micro / 1e6:+.4f}] over {entry.trials} pairs"
        f" by {_by_whom(entry)}; weight {entry.weight}"
    )


def _since(entry: Entry, ledger: Ledger) -> str:
    """What came later, where that leaves open what was merged."""
    if entry.hypothesis is None or ledger.hypothesis(entry.hypothesis).proof is None:
        return ""
    return "; more of its verifiers signed it than may lie, and all trials leave it undecided"


def _by_whom(entry: Entry) -> str:
    if entry.self_verified:
        return "its author alone: self-verified"
    resting = "" if entry.confirmed else ", on what others have not confirmed"
    return f"{len(entry.verifiers)} verifiers{resting}"


def _check_fork_choice(ledger: Ledger) -> list[Finding]:
    """Read the rule a second time: at each fork the heaviest path, then the lowest id.

    What others have not confirmed only decides where confirmed weight leaves a choice.
    """
    entries = ledger.entries
    path = [entry.id for entry in ledger.lineage()]
    # Confirmed weight first, then whether anything confirmed is there, then what is not confirmed.
    weights: dict[bytes, tuple[int, bool, int]] = {}
    for entry in sorted(entries.values(), key=lambda item: -item.depth):
        below = [weights[item.id] for item in entries.values() if entry.id in item.parents[:1]]
        confirmed, _, unconfirmed = max(below, default=(0, False, 0))
        weights[entry.id] = (
            confirmed + entry.weight * entry.confirmed,
            entry.confirmed,
            unconfirmed + entry.weight * (not entry.confirmed),
        )
    here = ledger.root.id
    found = [here]
    forks = 0
    while children := [item for item in entries.values() if here in item.parents[:1]]:
        forks += len(children) > 1
        heaviest = max(weights[item.id] for item in children)
        here = min(item.id for item in children if weights[item.id] == heaviest)
        found.append(here)
    if found != path:
        return [Finding(False, f"fork choice picks {here.hex()[:16]}, not {path[-1].hex()[:16]}")]
    return [
        Finding(
            True,
            f"fork choice over {len(entries)} entries and {forks} forks picks the head"
            f" {here.hex()[:16]} at depth {len(path) - 1}",
        )
    ]


def _faults(texts: Sequence[str]) -> list[Finding]:
    shown = [Finding(False, text) for text in texts[:_FAULTS_SHOWN]]
    if len(texts) > _FAULTS_SHOWN:
        shown.append(Finding(False, f"and {len(texts) - _FAULTS_SHOWN} more of this kind"))
    return shown
