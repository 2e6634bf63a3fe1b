"""Ed25519 keys (RFC 8032): the one place that signs and the one verifier."""

from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocol.errors import SignatureError
from protocol.ids import seed_challenge, transfer_challenge
from protocol.limits import KEY_BYTES


@dataclass(frozen=True, slots=True, repr=False)
class SigningKey:
    """A node's identity. The public key is the node id, and the libp2p identity too.

    Attributes:
        seed: The 32 secret bytes. They are never logged: the class has no repr.
        public: The 32-byte public key.
    """

    seed: bytes
    public: bytes

    @classmethod
    def from_seed(cls, seed: bytes) -> "SigningKey":
        """Derive the key pair from its 32-byte seed.

        Raises:
            ValueError: The seed is not 32 bytes long.
        """
        if len(seed) != KEY_BYTES:
            raise ValueError(f"an Ed25519 seed has {KEY_BYTES} bytes, not {len(seed)}")
        private = Ed25519PrivateKey.from_private_bytes(seed)
        return cls(seed=seed, public=private.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """Sign a domain-tagged message; 64 bytes, the same each time."""
        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(message)

    def prove_seed(self, hypothesis: bytes, pair: int) -> bytes:
        """The proof from which this verifier's seed for one pair is derived."""
        return self.sign(seed_challenge(hypothesis, pair))

    def prove_transfer(self, entry: bytes, scale: str) -> bytes:
        """The proof from which the seeds of a replay up to an entry at a scale are derived."""
        return self.sign(transfer_challenge(entry, scale))


def verify(public: bytes, signature: bytes, message: bytes) -> None:
    """Check a signature over a domain-tagged message.

    Raises:
        SignatureError: The key is not a point, or the signature does not match.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise SignatureError("bad signature") from error
