import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from protocol import limits
from protocol.canonical import _count_values, decode, encode
from protocol.envelope import open_envelope, peek_id, seal
from protocol.errors import FieldError, WireError
from protocol.notices import NOTICE_TYPES, NoticeBody, open_notice, seal_notice
from protocol.records import BODY_TYPES, Body, Genesis, kind_of
from protocol.schema import from_map, to_map
from tests.protocol.samples import ALICE, NOTICES, RECORDS, SWARM, NoticeSample, RecordSample
from tests.protocol.strategies import SETTINGS, largest_struct, of_struct

bodies = st.one_of([of_struct(struct) for struct in BODY_TYPES.values()])
notices = st.one_of([of_struct(struct) for struct in NOTICE_TYPES.values()])
times = st.integers(0, limits.TIME_MS_MAX)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.text(max_size=40)
    | st.binary(max_size=40)
)
# Lengths on both sides of each head, of bytes that look like heads themselves.
heads = st.sampled_from([0, 15, 16, 31, 32, 255, 256, 1_000])
long_scalars = heads.map(lambda length: b"\xdf" * length) | heads.map(lambda length: "ß" * length)
values = st.recursive(
    scalars | long_scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8), inner)
        | st.lists(st.none(), min_size=16, max_size=20)
        | st.dictionaries(st.text(max_size=8), st.none(), min_size=16, max_size=20)
    ),
    max_leaves=12,
)


def count(value: object) -> int:
    """Scalars, lists, maps and map keys of a value."""
    match value:
        case list():
            return 1 + sum(map(count, value))
        case dict():
            return 1 + len(value) + sum(map(count, value.values()))
    return 1


def encoded(value: object) -> bytes:
    """Encode what was drawn, or draw again when it nests too deep."""
    try:
        return encode(value)
    except FieldError:
        reject()


@SETTINGS
@given(value=values)
def test_canonical_round_trip(value: object) -> None:
    data = encoded(value)
    assert decode(data) == value
    assert encode(decode(data)) == data
    assert _count_values(data) == count(value)


@pytest.mark.parametrize("struct", BODY_TYPES.values(), ids=BODY_TYPES)
def test_every_record_type_round_trips(struct: type[Body]) -> None:
    @SETTINGS
    @given(body=of_struct(struct), created_ms=times)
    def check(body: Body, created_ms: int) -> None:
        swarm = None if struct is Genesis else SWARM
        envelope = seal(body, key=ALICE, swarm=swarm, created_ms=created_ms)
        record = open_envelope(envelope, swarm=swarm)
        assert record.body == body
        assert (record.author, record.created_ms) == (ALICE.public, created_ms)
        assert record.id == peek_id(envelope)
        assert record.swarm == (record.id if swarm is None else swarm)
        assert from_map(struct, decode(encode(to_map(body)))) == body

    check()


@pytest.mark.parametrize("struct", NOTICE_TYPES.values(), ids=NOTICE_TYPES)
def test_every_notice_type_round_trips(struct: type[NoticeBody]) -> None:
    @SETTINGS
    @given(body=of_struct(struct), created_ms=times)
    def check(body: NoticeBody, created_ms: int) -> None:
        data = seal_notice(body, key=ALICE, swarm=SWARM, created_ms=created_ms)
        notice = open_notice(data, swarm=SWARM)
        assert notice.body == body
        assert (notice.author, notice.created_ms) == (ALICE.public, created_ms)

    check()


@pytest.mark.parametrize("struct", BODY_TYPES.values(), ids=BODY_TYPES)
def test_no_record_within_its_bounds_is_too_large(struct: type[Body]) -> None:
    body: Body = largest_struct(struct)
    if isinstance(body, Genesis):
        assert len(body.data) == limits.DATA_SPLITS_MAX
    swarm = None if struct is Genesis else SWARM
    envelope = seal(body, key=ALICE, swarm=swarm, created_ms=limits.TIME_MS_MAX)
    assert open_envelope(envelope, swarm=swarm).body == body


@pytest.mark.parametrize("struct", NOTICE_TYPES.values(), ids=NOTICE_TYPES)
def test_no_notice_within_its_bounds_is_too_large(struct: type[NoticeBody]) -> None:
    body: NoticeBody = largest_struct(struct)
    data = seal_notice(body, key=ALICE, swarm=SWARM, created_ms=limits.TIME_MS_MAX)
    assert open_notice(data, swarm=SWARM).body == body


@SETTINGS
@given(data=st.binary(max_size=300))
def test_arbitrary_bytes_raise_only_wire_errors(data: bytes) -> None:
    for swarm in (None, SWARM):
        with pytest.raises(WireError):
            open_envelope(data, swarm=swarm)
    with pytest.raises(WireError):
        open_notice(data, swarm=SWARM)
    try:
        value = decode(data)
    except WireError:
        return
    assert encode(value) == data


@SETTINGS
@given(value=values, kind=st.sampled_from([*BODY_TYPES, *NOTICE_TYPES]))
def test_arbitrary_well_signed_bodies_raise_only_wire_errors(value: object, kind: str) -> None:
    """An author can sign anything: no body may get past the fields by being signed."""
    header = {"v": 1, "swarm": SWARM, "kind": kind, "author": ALICE.public, "created_ms": 0}
    signed = encoded({**header, "body": value})
    data = ALICE.sign(b"swarm-node/record-signature/1\0" + signed) + signed
    with pytest.raises(WireError):
        open_envelope(data, swarm=SWARM)
    with pytest.raises(WireError):
        open_notice(data, swarm=SWARM)


@SETTINGS
@given(sample=st.sampled_from(RECORDS), data=st.data())
def test_a_field_replaced_by_anything_raises_only_wire_errors(
    sample: RecordSample, data: st.DataObject
) -> None:
    body = to_map(sample.body)
    body[data.draw(st.sampled_from(sorted(body)))] = data.draw(scalars)
    header = {
        "v": 1,
        "swarm": sample.swarm or bytes(32),
        "kind": kind_of(sample.body),
        "author": sample.key.public,
        "created_ms": sample.created_ms,
    }
    signed = encode({**header, "body": body})
    envelope = sample.key.sign(b"swarm-node/record-signature/1\0" + signed) + signed
    try:
        record = open_envelope(envelope, swarm=sample.swarm)
    except WireError:
        return
    assert to_map(record.body) == body


@SETTINGS
@given(body=bodies, data=st.data())
def test_a_mutated_random_record_is_refused(body: Body, data: st.DataObject) -> None:
    swarm = None if isinstance(body, Genesis) else SWARM
    envelope = bytearray(seal(body, key=ALICE, swarm=swarm, created_ms=1))
    position = data.draw(st.integers(0, len(envelope) - 1))
    envelope[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(WireError):
        open_envelope(bytes(envelope), swarm=swarm)


@SETTINGS
@given(body=notices, data=st.data())
def test_a_mutated_random_notice_is_refused(body: NoticeBody, data: st.DataObject) -> None:
    notice = bytearray(seal_notice(body, key=ALICE, swarm=SWARM, created_ms=1))
    position = data.draw(st.integers(0, len(notice) - 1))
    notice[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(WireError):
        open_notice(bytes(notice), swarm=SWARM)


@SETTINGS
@given(first=st.sampled_from(RECORDS), second=st.sampled_from(NOTICES), data=st.data())
def test_splices_of_two_statements_are_refused(
    first: RecordSample, second: NoticeSample, data: st.DataObject
) -> None:
    one, other = first.envelope, second.envelope
    cut = data.draw(st.integers(1, min(len(one), len(other)) - 1))
    spliced = one[:cut] + other[cut:]
    if spliced in {one, other}:
        return
    with pytest.raises(WireError):
        open_envelope(spliced, swarm=SWARM)
    with pytest.raises(WireError):
        open_notice(spliced, swarm=SWARM)
