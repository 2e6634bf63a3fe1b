import stat
from pathlib import Path

import pytest

from node.errors import IdentityError
from node.identity import load_identity, load_or_create_identity


def test_a_new_identity_is_private_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "identity.pem"
    created = load_or_create_identity(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_identity(path).public == created.public
    assert load_or_create_identity(path).seed == created.seed


def test_a_key_that_others_can_read_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "identity.pem"
    load_or_create_identity(path)
    path.chmod(0o644)
    with pytest.raises(IdentityError, match=r"chmod 600"):
        load_or_create_identity(path)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 5000])
def test_a_file_that_is_no_key_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "identity.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(IdentityError, match="not a private key"):
        load_or_create_identity(path)
    assert path.read_bytes() == content


def test_a_missing_or_unreadable_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="no identity key"):
        load_identity(tmp_path / "none.pem")
    directory = tmp_path / "directory"
    directory.mkdir(mode=0o700)
    with pytest.raises(IdentityError, match="cannot read"):
        load_identity(directory)


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    path = tmp_path / "identity.pem"
    path.write_bytes(
        X25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    path.chmod(0o600)
    with pytest.raises(IdentityError, match="not an Ed25519 key"):
        load_identity(path)
