"""What counts as the same change where several files, or other than Python, are edited."""

import pytest

from protocol.limits import SOURCE_GROWTH_BYTES_MAX
from protocol.sources import join_files
from swarm.source import SourceError, check_source, normalise, source_digest

PAGE = '[page]\ntitle = "Hello"\nfields = 3\nwide = true\nprices = [1, 2.5]\n'
EMAIL = "Subject: Hi\n\nDear reader,\n\nlook.\n"


def pack(toml: str = PAGE, email: str = EMAIL) -> str:
    return join_files({"variants.toml": toml, "email.md": email})


@pytest.mark.parametrize(
    "same",
    [
        pack('[page]\nwide=true\ntitle = """Hello""" # a comment\nfields = 0x3\nprices=[1,2.5]\n'),
        pack('page = { title = "Hello", fields = 3, wide = true, prices = [1, 2.5] }\n'),
        pack(email="Subject: Hi  \n\n\n\nDear reader,\n\n<!-- a\nnote -->look.\n\n"),
    ],
)
def test_form_and_comments_mean_nothing(same: str) -> None:
    assert source_digest(same) == source_digest(pack())


@pytest.mark.parametrize(
    "other",
    [
        pack(PAGE.replace("Hello", "hello")),
        pack(PAGE.replace("3", "3.0")),
        pack(PAGE.replace("true", '"true"')),
        pack(PAGE.replace("[1, 2.5]", "[2.5, 1]")),
        pack(PAGE.replace("[page]", "[sheet]")),
        pack(email=EMAIL.replace("look", "Look")),
        pack(email=EMAIL.replace("\n\nlook", "\nlook")),
        join_files({"variants.toml": PAGE, "letter.md": EMAIL}),
    ],
)
def test_meaning_counts(other: str) -> None:
    assert source_digest(other) != source_digest(pack())


def test_values_cannot_pass_for_other_values() -> None:
    texts = ['a = "1"\nb = 2\n', "a = 1\nb = 2\n", 'a = "1\\nint:2"\n', "[a]\nb = 2\n", "a = [2]\n"]
    texts += ["a = []\nb = 2\n", "a = {}\nb = 2\n", "a = 2020-01-01\n", 'a = "2020-01-01"\n']
    assert len({source_digest(pack(text)) for text in texts}) == len(texts)


def test_python_among_several_files_is_python() -> None:
    one = join_files({"a.py": "X = 1\n", "b.txt": "x\n"})
    assert source_digest(one) == source_digest(one.replace("X = 1", "X   =   1  # same"))
    with pytest.raises(SourceError, match="not valid Python"):
        normalise(join_files({"a.py": "X = \n"}))
    with pytest.raises(SourceError, match="literal or name over"):
        normalise(join_files({"a.py": f"X = '{'a' * 300}'\n"}))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("=== b ===\n=== a ===\n", "one form"),
        (pack("a = "), "not valid TOML"),
        (pack("a = 1\na = 2\n"), "not valid TOML"),
        (pack("a = " + "[" * 150 + "]" * 150 + "\n"), "nested"),
        (pack("a = " + "[" * 5000 + "\n"), "brackets and braces|over 2000 bytes"),
        (pack("a = [\n" + "[\n" * 5000), "brackets and braces"),
        (pack(".".join("a" * 500) + " = 1\n"), "nested"),
        (pack(f"a = {'9' * 1900}\nb = {'9' * 1900}\n" * 3), "not valid TOML"),
        (pack(email="a" * 2001), "a line is over 2000 bytes"),
        (pack(email="line\n" * 20_000), "over 49152 bytes"),
        (pack(email="\0"), "null byte"),
    ],
)
def test_hostile_texts_are_refused(text: str, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        normalise(text)


def test_a_child_has_its_parents_files() -> None:
    parent = pack()
    assert check_source(pack(PAGE.replace("3", "4")), parent).files == ("email.md", "variants.toml")
    for child in ("X = 1\n", join_files({"email.md": EMAIL})):
        with pytest.raises(SourceError, match="must keep the files"):
            check_source(child, parent)
        with pytest.raises(SourceError, match="must keep the files"):
            check_source(parent, child)


def test_growth_is_bounded_over_all_files() -> None:
    line = "some words of a longer text\n"
    half = line * (SOURCE_GROWTH_BYTES_MAX // (2 * len(line)) + 2)
    note = "".join(f'k{i} = "{line.strip()}"\n' for i in range(80))
    check_source(pack(email=EMAIL + half), pack())
    with pytest.raises(SourceError, match="grows by over"):
        check_source(pack(PAGE + note, EMAIL + half), pack())
