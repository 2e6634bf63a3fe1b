"""SSH signatures (OpenSSH's PROTOCOL.sshsig) by an Ed25519 key, as git puts them into commits.

Format: the ASCII magic `SSHSIG`, version 1, then length-prefixed strings: the public key blob, the
namespace, a reserved empty string, the hash's name and the signature blob; in Base64 between two
marker lines. What is signed is the magic, namespace, reserved string, hash name and the message's
digest, so such a signature can be taken for no record, notice or seed proof.

Source: https://cvsweb.openbsd.org/src/usr.bin/ssh/PROTOCOL.sshsig (OpenSSH 8.0 and later);
key and signature blobs: RFC 8709.
"""

import base64
import hashlib
import textwrap
from typing import Final

from protocol.keys import SigningKey

GIT_NAMESPACE: Final = "git"
"""The namespace under which git signs and verifies."""

_MAGIC: Final = b"SSHSIG"
_VERSION: Final = 1
_KEY_TYPE: Final = b"ssh-ed25519"
_HASH: Final = b"sha512"
_LINE_CHARS: Final = 70


def public_key_line(public: bytes) -> str:
    """A public key as `authorized_keys` and allowed-signers files write it."""
    return f"{_KEY_TYPE.decode()} {base64.b64encode(_key_blob(public)).decode()}"


def allowed_signer(principal: str, public: bytes) -> str:
    """One line of an allowed-signers file, valid for git alone."""
    assert not set(principal) & set(' "\n,*?!')
    return f'{principal} namespaces="{GIT_NAMESPACE}" {public_key_line(public)}\n'


def sign_ssh(key: SigningKey, message: bytes, namespace: str = GIT_NAMESPACE) -> str:
    """Sign a message; the armoured signature, the same each time, ending in a line break."""
    domain = namespace.encode()
    signed = (
        _MAGIC
        + _string(domain)
        + _string(b"")
        + _string(_HASH)
        + _string(hashlib.sha512(message).digest())
    )
    blob = (
        _MAGIC
        + _VERSION.to_bytes(4, "big")
        + _string(_key_blob(key.public))
        + _string(domain)
        + _string(b"")
        + _string(_HASH)
        + _string(_string(_KEY_TYPE) + _string(key.sign(signed)))
    )
    lines = textwrap.wrap(base64.b64encode(blob).decode(), _LINE_CHARS)
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""])


def _key_blob(public: bytes) -> bytes:
    return _string(_KEY_TYPE) + _string(public)


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data
