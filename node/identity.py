"""The node's identity: one Ed25519 key in a file that only its owner may read."""

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.errors import IdentityError
from protocol.keys import SigningKey

_FILE_BYTES_MAX = 4096


def load_identity(path: Path) -> SigningKey:
    """Read the key.

    Raises:
        IdentityError: Missing, unreadable, readable by others, or not an Ed25519 key. The text
            says what to do.
    """
    try:
        status = path.stat()
        if status.st_mode & 0o077:
            raise IdentityError(
                f"{path} can be read by other users; run: chmod 600 {path}"
                " (and, if others may have seen it, start with a new key)"
            )
        data = path.read_bytes()[:_FILE_BYTES_MAX]
    except FileNotFoundError as error:
        raise IdentityError(f"no identity key at {path}") from error
    except OSError as error:
        raise IdentityError(f"cannot read the identity key {path}: {error.strerror}") from error
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise IdentityError(
            f"{path} is not a private key in PEM form; restore it from a backup, or move it away"
            " to start as a new node"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise IdentityError(f"{path} is not an Ed25519 key")
    return SigningKey.from_seed(key.private_bytes_raw())


def load_or_create_identity(path: Path) -> SigningKey:
    """Read the key, or make one when there is none yet.

    Raises:
        IdentityError: See `load_identity`; or a new key cannot be written.
    """
    if path.exists():
        return load_identity(path)
    key = Ed25519PrivateKey.generate()
    data = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise IdentityError(f"cannot write {path}: {error.strerror}") from error
    return SigningKey.from_seed(key.private_bytes_raw())
