"""Domain-tagged hashes: every digest and every signature says what it is about.

A tag ends in a zero byte and no tag is a prefix of another, so bytes hashed or signed for one
purpose can never be taken for another.
"""

import hashlib
from typing import Final

RECORD_TAG: Final = b"swarm-node/record/1\0"
RECORD_SIGNATURE_TAG: Final = b"swarm-node/record-signature/1\0"
NOTICE_SIGNATURE_TAG: Final = b"swarm-node/notice-signature/1\0"
ENTRY_TAG: Final = b"swarm-node/entry/1\0"
SEED_CHALLENGE_TAG: Final = b"swarm-node/seed-challenge/1\0"
SEED_TAG: Final = b"swarm-node/seed/1\0"
TRANSFER_CHALLENGE_TAG: Final = b"swarm-node/transfer-challenge/1\0"
TRANSFER_SEED_TAG: Final = b"swarm-node/transfer-seed/1\0"
RENDEZVOUS_TAG: Final = b"swarm-node/rendezvous/1\0"
RECORDS_DIGEST_TAG: Final = b"swarm-node/records-digest/1\0"


def blob_digest(data: bytes) -> bytes:
    """Name of a blob: the plain SHA-256 of its bytes, so that stock tools can check it."""
    return hashlib.sha256(data).digest()


def record_id(body_bytes: bytes) -> bytes:
    """Id of a record, from the canonical bytes that its author signed."""
    return hashlib.sha256(RECORD_TAG + body_bytes).digest()


def entry_id(parents: tuple[bytes, ...], source: bytes) -> bytes:
    """Id of a lineage entry: the same change to the same parents is the same entry.

    Args:
        parents: Ids of the parent entries in order, 32 bytes each; for the genesis entry the
            swarm id alone.
        source: Digest of the entry's file, 32 bytes.
    """
    assert parents
    return hashlib.sha256(ENTRY_TAG + b"".join(parents) + source).digest()


def seed_challenge(hypothesis: bytes, pair: int) -> bytes:
    """Bytes that a verifier signs to obtain the seed of one pair."""
    return SEED_CHALLENGE_TAG + hypothesis + pair.to_bytes(4, "big")


def seed_from_proof(seed_proof: bytes) -> int:
    """The 63-bit seed that follows from a verifier's signature over the challenge."""
    return seed_from(SEED_TAG + seed_proof)


def transfer_challenge(entry: bytes, scale: str) -> bytes:
    """Bytes that a member signs to obtain the seeds of a replay up to an entry at a scale."""
    return TRANSFER_CHALLENGE_TAG + entry + scale.encode()


def transfer_seed(seed_proof: bytes, number: int) -> int:
    """The 63-bit seed of that number which follows from the signature over the challenge."""
    return seed_from(TRANSFER_SEED_TAG + seed_proof + number.to_bytes(4, "big"))


def seed_from(material: bytes) -> int:
    """A seed of 63 bits from bytes that begin with a tag of their own."""
    return int.from_bytes(hashlib.sha256(material).digest()[:8], "big") >> 1


def rendezvous(hypothesis: bytes, member: bytes) -> bytes:
    """Sort key of a member for a hypothesis (highest random weight, Thaler & Ravishankar 1998).

    It chooses who verifies, and orders trials of the same pair number; nobody can choose it
    without choosing the hypothesis's bytes or a key.
    """
    return hashlib.sha256(RENDEZVOUS_TAG + hypothesis + member).digest()


def records_digest(ids: list[bytes]) -> bytes:
    """Digest of a set of records, for people and tests that compare two nodes."""
    return hashlib.sha256(RECORDS_DIGEST_TAG + b"".join(sorted(ids))).digest()
