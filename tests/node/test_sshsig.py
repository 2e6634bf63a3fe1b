from node.sshsig import allowed_signer, public_key_line, sign_ssh
from protocol.keys import SigningKey

KEY = SigningKey.from_seed(bytes(range(32)))

# Made once with `ssh-keygen -Y sign -n git` of OpenSSH 9.2 over the message below.
OPENSSH = """\
-----BEGIN SSH SIGNATURE-----
U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgA6EHv/POEL4dcN0Y50vAmWfk1j
CbpQ1fHdyGZBJVMbgAAAADZ2l0AAAAAAAAAAZzaGE1MTIAAABTAAAAC3NzaC1lZDI1NTE5
AAAAQH7rx9iYqG6bxn24Mf0cOC2AOOalqwXaDbNWxy7zBEwMsSJLD1Z3XwUMDet0APnaea
I9ZBHgK8IsmNm0sXCAbAA=
-----END SSH SIGNATURE-----
"""


def test_the_signature_is_the_one_that_openssh_makes() -> None:
    assert sign_ssh(KEY, b"tree of knowledge\n") == OPENSSH


def test_message_namespace_and_key_all_matter() -> None:
    other = SigningKey.from_seed(bytes(32))
    made = {
        sign_ssh(KEY, b"tree of knowledge"),
        sign_ssh(KEY, b"tree of knowledge\n", "file"),
        sign_ssh(other, b"tree of knowledge\n"),
        OPENSSH,
    }
    assert len(made) == 4


def test_the_public_key_as_openssh_writes_it() -> None:
    line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
    assert public_key_line(KEY.public) == line
    assert allowed_signer("me@here", KEY.public) == f'me@here namespaces="git" {line}\n'
