from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import ids
from protocol.errors import SignatureError, WireError
from protocol.keys import SigningKey, verify
from tests.protocol import vectors
from tests.protocol.samples import ALICE, BOB
from tests.protocol.strategies import SETTINGS

RFC_8032 = vectors.load("ed25519.json")
GROUP_ORDER = (1 << 252) + 27742317777372353535851937790883648493

each_rfc_vector = pytest.mark.parametrize("vector", RFC_8032, ids=[v["name"] for v in RFC_8032])


@each_rfc_vector
def test_rfc_8032_vector(vector: Any) -> None:
    key = SigningKey.from_seed(bytes.fromhex(vector["seed"]))
    message, signature = bytes.fromhex(vector["message"]), bytes.fromhex(vector["signature"])
    assert key.public.hex() == vector["public"]
    assert key.sign(message) == signature
    verify(key.public, signature, message)


@each_rfc_vector
def test_another_message_key_or_signature_is_refused(vector: Any) -> None:
    public, message, signature = (
        bytes.fromhex(vector[name]) for name in ("public", "message", "signature")
    )
    with pytest.raises(SignatureError):
        verify(public, signature, message + b"\0")
    with pytest.raises(SignatureError):
        verify(ALICE.public, signature, message)
    for position in range(64):
        changed = bytearray(signature)
        changed[position] ^= 1
        with pytest.raises(SignatureError):
            verify(public, bytes(changed), message)


def test_a_signature_with_its_scalar_beyond_the_group_order_is_refused() -> None:
    """RFC 8032 asks for it: else anyone could give a record a second valid envelope."""
    signature = ALICE.sign(b"message")
    scalar = int.from_bytes(signature[32:], "little") + GROUP_ORDER
    with pytest.raises(SignatureError):
        verify(ALICE.public, signature[:32] + scalar.to_bytes(32, "little"), b"message")


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        SigningKey.from_seed(bytes(length))
    with pytest.raises(SignatureError):
        verify(bytes(length), bytes(64), b"")


@pytest.mark.parametrize("length", [0, 1, 63, 65])
def test_a_signature_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(SignatureError):
        verify(ALICE.public, bytes(length), b"")


@SETTINGS
@given(public=st.binary(max_size=40), signature=st.binary(max_size=70), message=st.binary())
def test_arbitrary_keys_and_signatures_raise_nothing_else(
    public: bytes, signature: bytes, message: bytes
) -> None:
    with pytest.raises(SignatureError):
        verify(public, signature, message)


def test_a_bad_signature_is_the_senders_fault() -> None:
    assert issubclass(SignatureError, WireError)


def test_the_secret_is_not_shown() -> None:
    shown = f"{ALICE!r} {ALICE}"
    assert ALICE.seed.hex() not in shown
    assert repr(ALICE.seed) not in shown


def test_a_seed_proof_is_the_same_each_time_and_differs_by_everything_it_depends_on() -> None:
    hypothesis, other = bytes(32), bytes([1]) * 32
    proofs = [
        key.prove_seed(chosen, pair)
        for key in (ALICE, BOB)
        for chosen in (hypothesis, other)
        for pair in (0, 1)
    ]
    assert len(set(proofs)) == len(proofs)
    assert len({ids.seed_from_proof(proof) for proof in proofs}) == len(proofs)
    assert ALICE.prove_seed(hypothesis, 0) == proofs[0]


@SETTINGS
@given(proof=st.binary(min_size=64, max_size=64))
def test_a_seed_has_63_bits(proof: bytes) -> None:
    assert 0 <= ids.seed_from_proof(proof) < 1 << 63
