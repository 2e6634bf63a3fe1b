"""The files under `tests/vectors/` hold what this version, and every later one, must read."""

from typing import Any, get_args

import pytest

from protocol import ids
from protocol.canonical import decode, encode
from protocol.envelope import open_envelope, peek_id, seal
from protocol.errors import WireError
from protocol.keys import SigningKey, verify
from protocol.notices import NOTICE_TYPES, NoticeBody, open_notice, seal_notice
from protocol.records import BODY_TYPES, Body, kind_of
from protocol.schema import from_map, to_map
from tests.protocol import vectors

RECORDS = vectors.load("records.json")
NOTICES = vectors.load("notices.json")
HASHES = vectors.load("hashes.json")
CANONICAL = vectors.load("canonical.json")

each_record = pytest.mark.parametrize("vector", RECORDS, ids=[v["name"] for v in RECORDS])
each_notice = pytest.mark.parametrize("vector", NOTICES, ids=[v["name"] for v in NOTICES])


def _swarm(vector: Any) -> bytes | None:
    return None if vector["swarm"] is None else bytes.fromhex(vector["swarm"])


def test_every_kind_has_a_vector() -> None:
    assert {vector["kind"] for vector in RECORDS} == BODY_TYPES.keys()
    assert {vector["kind"] for vector in NOTICES} == NOTICE_TYPES.keys()


def test_the_registries_hold_the_whole_unions() -> None:
    assert set(BODY_TYPES.values()) == set(get_args(Body))
    assert set(NOTICE_TYPES.values()) == set(get_args(NoticeBody))


@pytest.mark.parametrize("name", sorted(vectors.build()))
def test_files_are_what_the_samples_give(name: str) -> None:
    assert (vectors.FOLDER / name).read_text(encoding="utf-8") == vectors.build()[name], (
        "the wire format changed; see tests/protocol/vectors.py before rewriting any vector"
    )


@each_record
def test_record_is_written_as_in_the_vector(vector: Any) -> None:
    key = SigningKey.from_seed(bytes.fromhex(vector["key_seed"]))
    body: Body = from_map(BODY_TYPES[vector["kind"]], vectors.from_json(vector["body"]))
    envelope = seal(body, key=key, swarm=_swarm(vector), created_ms=vector["created_ms"])
    assert envelope.hex() == vector["envelope"]
    assert peek_id(envelope).hex() == vector["id"]


@each_record
def test_record_is_read_as_in_the_vector(vector: Any) -> None:
    record = open_envelope(bytes.fromhex(vector["envelope"]), swarm=_swarm(vector))
    assert record.id.hex() == vector["id"]
    assert record.swarm.hex() == (vector["swarm"] or vector["id"])
    key = SigningKey.from_seed(bytes.fromhex(vector["key_seed"]))
    assert record.author == key.public
    assert record.created_ms == vector["created_ms"]
    assert kind_of(record.body) == vector["kind"]
    assert vectors.to_json(to_map(record.body)) == vector["body"]


@each_record
def test_record_is_a_signature_and_a_canonical_map(vector: Any) -> None:
    """Read the vector without any of our structs, as another implementation would."""
    envelope = bytes.fromhex(vector["envelope"])
    signature, signed = envelope[:64], envelope[64:]
    key = SigningKey.from_seed(bytes.fromhex(vector["key_seed"]))
    assert decode(signed) == {
        "v": 1,
        "swarm": _swarm(vector) or bytes(32),
        "kind": vector["kind"],
        "author": key.public,
        "created_ms": vector["created_ms"],
        "body": vectors.from_json(vector["body"]),
    }
    verify(key.public, signature, b"swarm-node/record-signature/1\0" + signed)


@each_notice
def test_notice_is_written_and_read_as_in_the_vector(vector: Any) -> None:
    key = SigningKey.from_seed(bytes.fromhex(vector["key_seed"]))
    body: NoticeBody = from_map(NOTICE_TYPES[vector["kind"]], vectors.from_json(vector["body"]))
    swarm = bytes.fromhex(vector["swarm"])
    data = seal_notice(body, key=key, swarm=swarm, created_ms=vector["created_ms"])
    assert data.hex() == vector["envelope"]
    notice = open_notice(data, swarm=swarm)
    assert (notice.author, notice.created_ms) == (key.public, vector["created_ms"])
    assert notice.body == body


def test_hashes() -> None:
    blob = HASHES["blob"]
    assert ids.blob_digest(bytes.fromhex(blob["bytes"])).hex() == blob["digest"]
    for entry in HASHES["entry"]:
        parents = tuple(bytes.fromhex(parent) for parent in entry["parents"])
        assert ids.entry_id(parents, bytes.fromhex(entry["source"])).hex() == entry["id"]
    rendezvous = HASHES["rendezvous"]
    assert (
        ids.rendezvous(
            bytes.fromhex(rendezvous["hypothesis"]), bytes.fromhex(rendezvous["member"])
        ).hex()
        == rendezvous["hash"]
    )
    records = HASHES["records_digest"]
    listed = [bytes.fromhex(item) for item in records["ids"]]
    assert ids.records_digest(listed).hex() == records["digest"]
    assert ids.records_digest(listed[::-1]).hex() == records["digest"]
    assert ids.records_digest([]).hex() == records["digest_of_none"]


def test_transfer_seeds() -> None:
    vector = HASHES["transfer"]
    key = SigningKey.from_seed(bytes.fromhex(vector["key_seed"]))
    entry = bytes.fromhex(vector["entry"])
    assert ids.transfer_challenge(entry, vector["scale"]).hex() == vector["challenge"]
    proof = key.prove_transfer(entry, vector["scale"])
    assert proof.hex() == vector["seed_proof"]
    assert [ids.transfer_seed(proof, number) for number in range(3)] == vector["seeds"]


def test_seed() -> None:
    seed = HASHES["seed"]
    key = SigningKey.from_seed(bytes.fromhex(seed["key_seed"]))
    hypothesis = bytes.fromhex(seed["hypothesis"])
    challenge = ids.seed_challenge(hypothesis, seed["pair"])
    assert challenge.hex() == seed["challenge"]
    assert challenge == b"swarm-node/seed-challenge/1\0" + hypothesis + bytes([0, 0, 1, 2])
    proof = key.prove_seed(hypothesis, seed["pair"])
    assert proof.hex() == seed["seed_proof"]
    verify(key.public, proof, challenge)
    assert ids.seed_from_proof(proof) == seed["seed"]


def test_canonical_vectors() -> None:
    for case in CANONICAL["valid"]:
        data = bytes.fromhex(case["hex"])
        assert encode(vectors.from_json(case["value"])) == data, case["name"]
        assert decode(data) == vectors.from_json(case["value"]), case["name"]
    for case in CANONICAL["invalid"]:
        with pytest.raises(WireError):
            decode(bytes.fromhex(case["hex"]))
