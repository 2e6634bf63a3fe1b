from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from protocol import ids, limits
from protocol.envelope import open_envelope, peek_id, seal
from protocol.errors import FieldError, SignatureError, WireError
from protocol.notices import open_notice, seal_notice
from protocol.records import Genesis
from protocol.schema import to_map
from protocol.signed import seal_statement
from tests.protocol.resign import nothing, remove_field, resigned, set_field
from tests.protocol.samples import (
    ADMIT,
    ALICE,
    BOB,
    CLAIM,
    GENESIS,
    GENESIS_OTHER,
    NOTICES,
    RECORDS,
    SWARM,
    NoticeSample,
    RecordSample,
)

TAGS = [value for name, value in vars(ids).items() if name.endswith("_TAG")]


# --- ids and signatures ---


def test_id_is_the_hash_of_the_signed_bytes_alone() -> None:
    envelope = ADMIT.envelope
    assert ids.record_id(envelope[64:]) == peek_id(envelope)
    assert peek_id(bytes(64) + envelope[64:]) == peek_id(envelope)
    assert open_envelope(envelope, swarm=SWARM).id == peek_id(envelope)


@pytest.mark.parametrize("size", [0, 1, limits.SIGNATURE_BYTES, limits.ENVELOPE_BYTES_MAX + 1])
def test_impossible_sizes_are_refused_before_hashing(size: int) -> None:
    with pytest.raises(WireError, match="cannot have"):
        peek_id(bytes(size))
    with pytest.raises(WireError, match="cannot have"):
        open_envelope(bytes(size), swarm=SWARM)
    with pytest.raises(WireError, match="cannot have"):
        open_notice(bytes(size), swarm=SWARM)


def test_a_notice_is_bounded_more_tightly_than_a_record() -> None:
    with pytest.raises(WireError, match="cannot have"):
        open_notice(bytes(limits.NOTICE_BYTES_MAX + 1), swarm=SWARM)


def test_no_tag_is_a_prefix_of_another() -> None:
    assert len(TAGS) == len(set(TAGS)) == 10
    for tag in TAGS:
        assert tag.endswith(b"\0")
        assert tag.count(b"\0") == 1
        assert sum(other.startswith(tag) for other in TAGS) == 1


def test_a_signature_by_another_key_is_refused() -> None:
    with pytest.raises(SignatureError):
        open_envelope(resigned(ADMIT, nothing, key=ALICE), swarm=SWARM)


def test_an_author_cannot_be_replaced() -> None:
    def claim_it(value: dict[str, Any]) -> None:
        value["author"] = ALICE.public

    with pytest.raises(SignatureError):
        open_envelope(resigned(ADMIT, claim_it), swarm=SWARM)


# --- one purpose per signature ---


@pytest.mark.parametrize("tag", [tag for tag in TAGS if tag != ids.RECORD_SIGNATURE_TAG] + [b""])
def test_a_record_signed_under_another_tag_is_refused(tag: bytes) -> None:
    with pytest.raises(SignatureError):
        open_envelope(resigned(ADMIT, nothing, tag=tag), swarm=SWARM)


@pytest.mark.parametrize("tag", [tag for tag in TAGS if tag != ids.NOTICE_SIGNATURE_TAG] + [b""])
def test_a_notice_signed_under_another_tag_is_refused(tag: bytes) -> None:
    with pytest.raises(SignatureError):
        open_notice(resigned(CLAIM, nothing, tag=tag), swarm=SWARM)


@pytest.mark.parametrize("sample", NOTICES, ids=lambda sample: sample.name)
def test_a_notice_is_not_a_record(sample: NoticeSample) -> None:
    with pytest.raises(WireError):
        open_envelope(sample.envelope, swarm=SWARM)
    with pytest.raises(WireError, match="unknown kind of record"):
        open_envelope(resigned(sample, nothing), swarm=SWARM)


@pytest.mark.parametrize("sample", RECORDS, ids=lambda sample: sample.name)
def test_a_record_is_not_a_notice(sample: RecordSample) -> None:
    with pytest.raises(WireError):
        open_notice(sample.envelope, swarm=sample.swarm or bytes(32))
    with pytest.raises(WireError, match="unknown kind of notice"):
        open_notice(
            resigned(sample, nothing, tag=ids.NOTICE_SIGNATURE_TAG),
            swarm=sample.swarm or bytes(32),
        )


def test_a_seed_proof_signs_nothing_else() -> None:
    signed = ADMIT.envelope[64:]
    proof = ADMIT.key.prove_seed(bytes(32), 0)
    with pytest.raises(SignatureError):
        open_envelope(proof + signed, swarm=SWARM)
    challenge = ids.seed_challenge(bytes(32), 0)
    with pytest.raises(WireError):
        open_envelope(ADMIT.key.sign(challenge) + challenge, swarm=SWARM)


# --- swarms ---


@pytest.mark.parametrize("sample", RECORDS, ids=lambda sample: sample.name)
def test_a_record_of_another_swarm_is_refused(sample: RecordSample) -> None:
    with pytest.raises(WireError, match="another swarm"):
        open_envelope(sample.envelope, swarm=bytes([9]) * 32)


@pytest.mark.parametrize("sample", NOTICES, ids=lambda sample: sample.name)
def test_a_notice_of_another_swarm_is_refused(sample: NoticeSample) -> None:
    with pytest.raises(WireError, match="another swarm"):
        open_notice(sample.envelope, swarm=bytes([9]) * 32)


def test_without_a_swarm_only_a_genesis_is_accepted() -> None:
    assert open_envelope(GENESIS_OTHER.envelope, swarm=None).swarm == GENESIS_OTHER.id
    with pytest.raises(WireError, match="another swarm"):
        open_envelope(ADMIT.envelope, swarm=None)


def test_a_genesis_opens_in_its_own_swarm_only() -> None:
    record = open_envelope(GENESIS.envelope, swarm=SWARM)
    assert record.swarm == record.id == SWARM
    with pytest.raises(WireError, match="another swarm"):
        open_envelope(GENESIS_OTHER.envelope, swarm=SWARM)


@pytest.mark.parametrize("swarm", [SWARM, bytes([1]) * 32])
def test_a_genesis_that_names_a_swarm_is_refused(swarm: bytes) -> None:
    def name_it(value: dict[str, Any]) -> None:
        value["swarm"] = swarm

    for opened_for in (None, swarm):
        with pytest.raises(WireError, match="names no swarm"):
            open_envelope(resigned(GENESIS, name_it), swarm=opened_for)


def test_only_a_genesis_is_sealed_without_a_swarm() -> None:
    with pytest.raises(AssertionError):
        seal(ADMIT.body, key=ADMIT.key, swarm=None, created_ms=0)
    with pytest.raises(AssertionError):
        seal(GENESIS.body, key=GENESIS.key, swarm=SWARM, created_ms=0)


def test_two_swarms_differ_by_their_nonce() -> None:
    assert isinstance(GENESIS.body, Genesis)
    twin = replace(GENESIS.body, nonce=bytes([255]) * 16)
    envelope = seal(twin, key=GENESIS.key, swarm=None, created_ms=GENESIS.created_ms)
    assert peek_id(envelope) != SWARM


# --- header ---


HEADER_FAULTS = {
    "version 0": (set_field("v", 0), "v: "),
    "version 2": (set_field("v", 2), "v: "),
    "version true": (set_field("v", True), "v: "),
    "version as text": (set_field("v", "1"), "v: "),
    "kind unknown": (set_field("kind", "gift"), "unknown kind"),
    "kind empty": (set_field("kind", ""), "kind: "),
    "kind in capitals": (set_field("kind", "Admit"), "unknown kind"),
    "kind as bytes": (set_field("kind", b"admit"), "kind: "),
    "kind too long": (set_field("kind", "x" * 65), "kind: "),
    "swarm too short": (set_field("swarm", bytes(31)), "swarm: "),
    "swarm missing": (remove_field("swarm"), "header"),
    "swarm nothing": (set_field("swarm", None), "swarm: "),
    "author too long": (set_field("author", bytes(33)), "author: "),
    "author as text": (set_field("author", "x" * 32), "author: "),
    "author no point": (set_field("author", b"\x02" + bytes(31)), "bad signature"),
    "time negative": (set_field("created_ms", -1), "created_ms: "),
    "time too late": (set_field("created_ms", limits.TIME_MS_MAX + 1), "created_ms: "),
    "time true": (set_field("created_ms", True), "created_ms: "),
    "body missing": (remove_field("body"), "header"),
    "body nothing": (set_field("body", None), "must be a map"),
    "body list": (set_field("body", []), "must be a map"),
    "body empty": (set_field("body", {}), "unknown or missing field"),
    "field unknown": (set_field("extra", 1), "header"),
}


@pytest.mark.parametrize(("change", "reason"), HEADER_FAULTS.values(), ids=HEADER_FAULTS)
def test_a_faulty_header_is_refused_though_signed(
    change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    with pytest.raises(WireError, match=reason):
        open_envelope(resigned(ADMIT, change), swarm=SWARM)


@pytest.mark.parametrize("created_ms", [-1, limits.TIME_MS_MAX + 1, True, 1.5, None])
def test_a_time_out_of_bounds_is_our_own_fault(created_ms: Any) -> None:
    with pytest.raises(FieldError, match="created_ms"):
        seal(ADMIT.body, key=BOB, swarm=SWARM, created_ms=created_ms)


@pytest.mark.parametrize("swarm", [b"", bytes(31), bytes(33), "x" * 32], ids=len)
def test_a_swarm_of_another_length_is_our_own_fault(swarm: Any) -> None:
    with pytest.raises(FieldError, match="swarm"):
        seal(ADMIT.body, key=BOB, swarm=swarm, created_ms=0)
    with pytest.raises(FieldError, match="swarm"):
        seal_notice(CLAIM.body, key=BOB, swarm=swarm, created_ms=0)


def test_a_statement_of_our_own_that_is_too_large_is_not_sent() -> None:
    def size(bytes_max: int) -> int:
        data = seal_statement(
            "admit",
            to_map(ADMIT.body),
            key=BOB,
            swarm=SWARM,
            created_ms=0,
            tag=ids.RECORD_SIGNATURE_TAG,
            bytes_max=bytes_max,
        )
        return len(data)

    needed = size(limits.ENVELOPE_BYTES_MAX)
    assert size(needed) == needed
    with pytest.raises(FieldError, match=f"admit of {needed} bytes"):
        size(needed - 1)
