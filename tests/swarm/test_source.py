"""The digest ignores form and nothing else; hostile text raises only SourceError."""

import ast
import concurrent.futures
import gc
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import limits
from swarm.source import (
    TEXT_GROWTH_BYTES_MAX,
    SourceError,
    check_source,
    decode_source,
    normalise,
    source_digest,
)

SCRIPT = '''"""A script."""
WIDTH = 64
RATE = 1e-3


def build_model(run):
    """Builds."""
    return run.model(WIDTH, "a")  # a comment


def train(run, model):
    for x in run.batches(8):
        model(x, -RATE)
'''

SAME = {
    "comments": SCRIPT.replace("  # a comment", ""),
    "docstrings": SCRIPT.replace('    """Builds."""\n', "").replace("A script.", "Another"),
    "spacing": SCRIPT.replace("WIDTH, ", "WIDTH  ,\n        "),
    "literal": SCRIPT.replace("1e-3", "0.001"),
    "quotes": SCRIPT.replace('"a"', "'a'"),
    "order": SCRIPT.replace("WIDTH = 64\nRATE = 1e-3\n", "RATE = 1e-3\nWIDTH = 64\n"),
    "unicode prefix": SCRIPT.replace('"a"', 'u"a"'),
}

DIFFERENT = {
    "value": SCRIPT.replace("64", "65"),
    "type": SCRIPT.replace("64", "64.0"),
    "bool": SCRIPT.replace("batches(8)", "batches(True)"),
    "sign": SCRIPT.replace("-RATE", "+RATE"),
    "string": SCRIPT.replace('"a"', '"b"'),
    "bytes": SCRIPT.replace('"a"', 'b"a"'),
    "name": SCRIPT.replace("x in", "y in"),
    "statement": SCRIPT + "train = None\n",
    "constants bound twice": SCRIPT.replace("RATE = 1e-3", "RATE = 1e-3\nWIDTH = 1"),
    "kind of function": SCRIPT.replace("def train", "async def other():\n    pass\n\n\ndef train"),
}


@pytest.mark.parametrize("name", SAME)
def test_form_does_not_change_the_digest(name: str) -> None:
    assert SAME[name] != SCRIPT
    assert source_digest(SAME[name]) == source_digest(SCRIPT)


@pytest.mark.parametrize("name", DIFFERENT)
def test_meaning_changes_the_digest(name: str) -> None:
    assert source_digest(DIFFERENT[name]) != source_digest(SCRIPT)


def test_all_different_scripts_differ_from_each_other() -> None:
    digests = {source_digest(text) for text in DIFFERENT.values()}
    assert len(digests) == len(DIFFERENT)


def test_the_order_of_a_name_bound_twice_counts() -> None:
    first = SCRIPT.replace("RATE = 1e-3", "RATE = 1e-3\nRATE = 2e-3")
    second = SCRIPT.replace("RATE = 1e-3", "RATE = 2e-3\nRATE = 1e-3")
    assert source_digest(first) != source_digest(second)


def test_the_digest_never_changes_silently() -> None:
    # Peers on other machines and Python versions look duplicates up under the same bytes.
    assert source_digest(SCRIPT).hex() == (
        "2a49617cf1aebd5954fe5b15a871d5a98e7c992152e1b7f411c199435cca738b"
    )


def test_sizes_leave_out_comments_and_docstrings() -> None:
    bare = normalise(SCRIPT)
    padded = normalise(SCRIPT.replace('"""Builds."""', f'"""{"b" * 300}"""') + f"# {'c' * 300}\n")
    assert abs(padded.size_bytes - bare.size_bytes) < 10
    assert padded.text_bytes > bare.text_bytes + 590


def bulk(size_bytes: int) -> str:
    line = "x = 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'\n"
    return SCRIPT + line * (size_bytes // len(line))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (bulk(limits.SOURCE_BYTES_MAX), "over 49152 bytes"),
        (SCRIPT + f"x = '{'a' * 257}'\n", "literal"),
        (SCRIPT + f"x = b'{'a' * 257}'\n", "literal"),
        (SCRIPT + f"x = '{'é' * 129}'\n", "literal"),
        (SCRIPT + f"x = 0x{'f' * 514}\n", "literal"),
        (SCRIPT + f"x = 0x{'f' * 30000}\n", "literal"),
        (SCRIPT + f"x = {'9' * 5000}\n", "valid Python"),
        (SCRIPT + f"x = f'{'a' * 200}{{WIDTH}}{'b' * 100}'\n", "literal"),
        (SCRIPT + f"x = ('{'a' * 200}'\n    '{'b' * 100}')\n", "literal"),
        (SCRIPT + f"{'a' * 257} = 1\n", "literal"),
        (SCRIPT + f"import {'a' * 257}\n", "literal"),
        (SCRIPT + "x = (\n", "valid Python"),
        (SCRIPT + "x = 1\0\n", "null byte"),
        (SCRIPT + "x = '\ud800'\n", "Unicode"),
    ],
)
def test_limits(text: str, word: str) -> None:
    with pytest.raises(SourceError, match=r".") as caught:
        normalise(text)
    assert word in caught.value.reason


def test_literals_at_the_limit_pass() -> None:
    normalise(SCRIPT + f"x = '{'a' * 256}'\ny = 0x{'f' * 512}\n")


def test_growth_is_bounded_normalised_and_as_written() -> None:
    check_source(bulk(4000), SCRIPT)
    check_source(bulk(8000), bulk(4500))
    with pytest.raises(SourceError, match="grows by over 4096 bytes"):
        check_source(bulk(5000), SCRIPT)
    comments = SCRIPT + "# comment\n" * 800
    check_source(comments, SCRIPT)
    with pytest.raises(SourceError, match=f"grows by over {TEXT_GROWTH_BYTES_MAX} bytes"):
        check_source(comments + "# comment\n" * 100, SCRIPT)
    check_source(SCRIPT, comments)


def test_blobs_are_decoded_strictly() -> None:
    assert decode_source(b"x = 1\n") == "x = 1\n"
    with pytest.raises(SourceError, match="UTF-8"):
        decode_source(b"\xff")
    with pytest.raises(SourceError, match="over"):
        decode_source(b" " * (limits.SOURCE_BYTES_MAX + 1))


DEEP = {
    "not": "not " * 9000 + "1",
    "minus": "-" * 40000 + "1",
    "plus": "1+" * 20000 + "1",
    "power": "1**" * 12000 + "1",
    "attribute": "a" + ".b" * 20000,
    "call": "a" + "()" * 20000,
    "subscript": "a" + "[a]" * 12000,
    "lambda": "lambda:" * 6000 + "1",
    "conditional": "1 if 1 else " * 3900 + "1",
    "brackets": "(" * 20000 + ")" * 20000,
    "elif": "if a:\n pass\n" + "elif a:\n pass\n" * 2500,
    "indent": "".join(" " * i + "if 1:\n" for i in range(250)),
    "format": "f'{" * 12000,
    "compare": "a<" * 20000 + "a",
    "with": "with " + "a," * 20000 + "a: pass",
    "medium lambda": "lambda:" * 400 + "1",
    "medium minus": "-" * 900 + "1",
    "medium elif": "if a:\n pass\n" + "elif a:\n pass\n" * 99,
}


@pytest.mark.parametrize("name", DEEP)
def test_deep_nesting_is_refused_on_a_small_stack(name: str) -> None:
    # The parser recurses in C: past a depth it ends the whole process. A small thread stack makes
    # that depth as low as it gets on any platform; the crash would take the test run with it.
    outcome: list[BaseException | None] = []

    def check() -> None:
        try:
            normalise(SCRIPT + DEEP[name] + "\n")
            outcome.append(None)
        except BaseException as error:  # noqa: BLE001 - the test is about the type raised
            outcome.append(error)

    previous = threading.stack_size(512 * 1024)
    try:
        thread = threading.Thread(target=check)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(previous)
    assert [type(error) for error in outcome] == [SourceError]


def test_scripts_are_checked_from_several_threads_at_once() -> None:
    # Collecting garbage runs Python code in the middle of the parser, and with it other threads.
    # Doing so often makes a race that is rare in practice all but certain here.
    scripts = [bulk(4_000 + 100 * i) for i in range(16)]
    alone = [source_digest(text) for text in scripts]
    thresholds, interval = gc.get_threshold(), sys.getswitchinterval()

    def callback(phase: str, info: dict[str, int]) -> None:
        sum(range(50))

    gc.callbacks.append(callback)
    gc.set_threshold(50)
    sys.setswitchinterval(1e-6)
    try:
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            assert list(threads.map(source_digest, scripts)) == alone
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(callback)


def test_depth_does_not_depend_on_the_callers_stack() -> None:
    deepest = "x = " + "-" * 90 + "1\n"

    def nested(levels: int) -> bytes:
        return source_digest(SCRIPT + deepest) if levels == 0 else nested(levels - 1)

    assert nested(0) == nested(sys.getrecursionlimit() // 2)


@settings(max_examples=200)
@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_text_raises_only_source_errors(text: str) -> None:
    for hostile in (text, SCRIPT + text, text + SCRIPT):
        try:
            check_source(hostile, SCRIPT)
        except SourceError:
            continue


@settings(max_examples=200)
@given(st.integers(0, len(SCRIPT) - 1), st.integers(0, len(SCRIPT)), st.characters())
def test_mutated_scripts_raise_only_source_errors(at: int, to: int, character: str) -> None:
    text = SCRIPT[:at] + character + SCRIPT[to:]
    try:
        normalise(text)
    except SourceError:
        return
    ast.parse(text)


#: What Python 3.11 reads, with the size that every version must find: an f-string is one token.
FSTRINGS = {
    'x = f"a{b!r:>{c}}d" + "q"\n': 22,
    "x = f'''{a\n+b}'''\n": 16,
    'x = f"{a + 1:{w}.{p}f}{{}}"\n': 26,
    'y = rf"\\{a}"\n': 11,
    'x = f"""\\\nhello {a}\n"""': 21,
    "x = f'é{a}ü' + 'z'\n": 17,
    "x = f'''{a[\"b\"]!r:^{w}} it''s'''\n": 31,
    "f\"{f'{x}'}\"\n": 12,
    'f"{a}" if f"{b}"else c\n': 21,
}


@pytest.mark.parametrize("text", FSTRINGS, ids=range(len(FSTRINGS)))
def test_an_fstring_is_as_long_as_it_is_written(text: str) -> None:
    assert normalise(text).size_bytes == FSTRINGS[text]


NEWER = {
    "own quotes": 'x = f"{a["k"]}"\n',
    "a line's end": 'x = f"{\na}"\n',
    "a backslash": "x = f\"{'\\n'.join(a)}\"\n",
    "a comment": 'x = f"""{a  # why\n}"""\n',
    "deep formats": 'x = f"{x:{y:{z}}}"\n',
    "a type statement": "type Width = int\n",
    "type parameters": "def f[T](x: T): pass\n",
}


@pytest.mark.parametrize("name", NEWER)
def test_what_only_newer_pythons_read_is_refused_by_all(name: str) -> None:
    with pytest.raises(SourceError):
        normalise(NEWER[name])
