from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from protocol import ids, limits
from protocol.canonical import decode, encode
from protocol.envelope import open_envelope, peek_id, seal
from protocol.errors import FieldError, SignatureError, WireError
from protocol.keys import SigningKey
from protocol.notices import Claim, open_notice, seal_notice
from protocol.policy import DEMO, POLICIES
from protocol.records import STATUSES, Admit, DataRef, Genesis, Hypothesis, Merge, Trial
from protocol.schema import to_map
from tests.protocol.samples import (
    ADMIT,
    ALICE,
    BOB,
    CLAIM,
    CREATED_MS,
    GENESIS,
    GENESIS_OTHER,
    HYPOTHESIS,
    MERGE,
    NOTICES,
    RECORDS,
    SWARM,
    TRIAL_CRASHED,
    TRIAL_SCREEN,
    TRIAL_VERIFY,
    NoticeSample,
    RecordSample,
)

TAGS = [value for name, value in vars(ids).items() if name.endswith("_TAG")]


def resigned(
    sample: RecordSample | NoticeSample,
    change: Callable[[dict[str, Any]], None],
    *,
    tag: bytes = ids.RECORD_SIGNATURE_TAG,
    key: SigningKey | None = None,
) -> bytes:
    """Change the map of a statement and sign it again, as its author could."""
    value = decode(sample.envelope[limits.SIGNATURE_BYTES :])
    assert isinstance(value, dict)
    change(value)
    signed = encode(value)
    return (key or sample.key).sign(tag + signed) + signed


def nothing(value: dict[str, Any]) -> None:
    pass


# --- ids and signatures ---


def test_id_is_the_hash_of_the_signed_bytes_alone() -> None:
    envelope = ADMIT.envelope
    assert ids.record_id(envelope[64:]) == peek_id(envelope)
    assert peek_id(bytes(64) + envelope[64:]) == peek_id(envelope)
    assert open_envelope(envelope, swarm=SWARM).id == peek_id(envelope)


@pytest.mark.parametrize("size", [0, 1, limits.SIGNATURE_BYTES, limits.ENVELOPE_BYTES_MAX + 1])
def test_impossible_sizes_are_refused_before_hashing(size: int) -> None:
    with pytest.raises(WireError, match="cannot have"):
        peek_id(bytes(size))
    with pytest.raises(WireError, match="cannot have"):
        open_envelope(bytes(size), swarm=SWARM)
    with pytest.raises(WireError, match="cannot have"):
        open_notice(bytes(size), swarm=SWARM)


def test_a_notice_is_bounded_more_tightly_than_a_record() -> None:
    with pytest.raises(WireError, match="cannot have"):
        open_notice(bytes(limits.NOTICE_BYTES_MAX + 1), swarm=SWARM)


def test_no_tag_is_a_prefix_of_another() -> None:
    assert len(TAGS) == len(set(TAGS)) == 8
    for tag in TAGS:
        assert tag.endswith(b"\0")
        assert tag.count(b"\0") == 1
        assert sum(other.startswith(tag) for other in TAGS) == 1


def test_a_signature_by_another_key_is_refused() -> None:
    with pytest.raises(SignatureError):
        open_envelope(resigned(ADMIT, nothing, key=ALICE), swarm=SWARM)


def test_an_author_cannot_be_replaced() -> None:
    def claim_it(value: dict[str, Any]) -> None:
        value["author"] = ALICE.public

    with pytest.raises(SignatureError):
        open_envelope(resigned(ADMIT, claim_it), swarm=SWARM)


# --- one purpose per signature ---


@pytest.mark.parametrize("tag", [tag for tag in TAGS if tag != ids.RECORD_SIGNATURE_TAG] + [b""])
def test_a_record_signed_under_another_tag_is_refused(tag: bytes) -> None:
    with pytest.raises(SignatureError):
        open_envelope(resigned(ADMIT, nothing, tag=tag), swarm=SWARM)


@pytest.mark.parametrize("tag", [tag for tag in TAGS if tag != ids.NOTICE_SIGNATURE_TAG] + [b""])
def test_a_notice_signed_under_another_tag_is_refused(tag: bytes) -> None:
    with pytest.raises(SignatureError):
        open_notice(resigned(CLAIM, nothing, tag=tag), swarm=SWARM)


@pytest.mark.parametrize("sample", NOTICES, ids=lambda sample: sample.name)
def test_a_notice_is_not_a_record(sample: NoticeSample) -> None:
    with pytest.raises(WireError):
        open_envelope(sample.envelope, swarm=SWARM)
    with pytest.raises(WireError, match="unknown kind of record"):
        open_envelope(resigned(sample, nothing), swarm=SWARM)


@pytest.mark.parametrize("sample", RECORDS, ids=lambda sample: sample.name)
def test_a_record_is_not_a_notice(sample: RecordSample) -> None:
    with pytest.raises(WireError):
        open_notice(sample.envelope, swarm=sample.swarm or bytes(32))
    with pytest.raises(WireError, match="unknown kind of notice"):
        open_notice(
            resigned(sample, nothing, tag=ids.NOTICE_SIGNATURE_TAG),
            swarm=sample.swarm or bytes(32),
        )


def test_a_seed_proof_signs_nothing_else() -> None:
    signed = ADMIT.envelope[64:]
    proof = ADMIT.key.prove_seed(bytes(32), 0)
    with pytest.raises(SignatureError):
        open_envelope(proof + signed, swarm=SWARM)
    challenge = ids.seed_challenge(bytes(32), 0)
    with pytest.raises(WireError):
        open_envelope(ADMIT.key.sign(challenge) + challenge, swarm=SWARM)


# --- swarms ---


@pytest.mark.parametrize("sample", RECORDS, ids=lambda sample: sample.name)
def test_a_record_of_another_swarm_is_refused(sample: RecordSample) -> None:
    with pytest.raises(WireError, match="another swarm"):
        open_envelope(sample.envelope, swarm=bytes([9]) * 32)


@pytest.mark.parametrize("sample", NOTICES, ids=lambda sample: sample.name)
def test_a_notice_of_another_swarm_is_refused(sample: NoticeSample) -> None:
    with pytest.raises(WireError, match="another swarm"):
        open_notice(sample.envelope, swarm=bytes([9]) * 32)


def test_without_a_swarm_only_a_genesis_is_accepted() -> None:
    assert open_envelope(GENESIS_OTHER.envelope, swarm=None).swarm == GENESIS_OTHER.id
    with pytest.raises(WireError, match="another swarm"):
        open_envelope(ADMIT.envelope, swarm=None)


def test_a_genesis_opens_in_its_own_swarm_only() -> None:
    record = open_envelope(GENESIS.envelope, swarm=SWARM)
    assert record.swarm == record.id == SWARM
    with pytest.raises(WireError, match="another swarm"):
        open_envelope(GENESIS_OTHER.envelope, swarm=SWARM)


@pytest.mark.parametrize("swarm", [SWARM, bytes([1]) * 32])
def test_a_genesis_that_names_a_swarm_is_refused(swarm: bytes) -> None:
    def name_it(value: dict[str, Any]) -> None:
        value["swarm"] = swarm

    for opened_for in (None, swarm):
        with pytest.raises(WireError, match="names no swarm"):
            open_envelope(resigned(GENESIS, name_it), swarm=opened_for)


def test_only_a_genesis_is_sealed_without_a_swarm() -> None:
    with pytest.raises(AssertionError):
        seal(ADMIT.body, key=ADMIT.key, swarm=None, created_ms=0)
    with pytest.raises(AssertionError):
        seal(GENESIS.body, key=GENESIS.key, swarm=SWARM, created_ms=0)


def test_two_swarms_differ_by_their_nonce() -> None:
    assert isinstance(GENESIS.body, Genesis)
    twin = replace(GENESIS.body, nonce=bytes([255]) * 16)
    envelope = seal(twin, key=GENESIS.key, swarm=None, created_ms=GENESIS.created_ms)
    assert peek_id(envelope) != SWARM


# --- header ---


def _set(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(statement: dict[str, Any]) -> None:
        statement[name] = value

    return change


def _remove(name: str) -> Callable[[dict[str, Any]], None]:
    def change(statement: dict[str, Any]) -> None:
        del statement[name]

    return change


HEADER_FAULTS = {
    "version 0": (_set("v", 0), "v: "),
    "version 2": (_set("v", 2), "v: "),
    "version true": (_set("v", True), "v: "),
    "version as text": (_set("v", "1"), "v: "),
    "kind unknown": (_set("kind", "transfer"), "unknown kind"),
    "kind empty": (_set("kind", ""), "kind: "),
    "kind in capitals": (_set("kind", "Admit"), "unknown kind"),
    "kind as bytes": (_set("kind", b"admit"), "kind: "),
    "kind too long": (_set("kind", "x" * 65), "kind: "),
    "swarm too short": (_set("swarm", bytes(31)), "swarm: "),
    "swarm missing": (_remove("swarm"), "header"),
    "swarm nothing": (_set("swarm", None), "swarm: "),
    "author too long": (_set("author", bytes(33)), "author: "),
    "author as text": (_set("author", "x" * 32), "author: "),
    "author no point": (_set("author", b"\x02" + bytes(31)), "bad signature"),
    "time negative": (_set("created_ms", -1), "created_ms: "),
    "time too late": (_set("created_ms", limits.TIME_MS_MAX + 1), "created_ms: "),
    "time true": (_set("created_ms", True), "created_ms: "),
    "body missing": (_remove("body"), "header"),
    "body nothing": (_set("body", None), "must be a map"),
    "body list": (_set("body", []), "must be a map"),
    "body empty": (_set("body", {}), "unknown or missing field"),
    "field unknown": (_set("extra", 1), "header"),
}


@pytest.mark.parametrize(("change", "reason"), HEADER_FAULTS.values(), ids=HEADER_FAULTS)
def test_a_faulty_header_is_refused_though_signed(
    change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    with pytest.raises(WireError, match=reason):
        open_envelope(resigned(ADMIT, change), swarm=SWARM)


@pytest.mark.parametrize("created_ms", [-1, limits.TIME_MS_MAX + 1, True, 1.5, None])
def test_a_time_out_of_bounds_is_our_own_fault(created_ms: Any) -> None:
    with pytest.raises(FieldError, match="created_ms"):
        seal(ADMIT.body, key=BOB, swarm=SWARM, created_ms=created_ms)


@pytest.mark.parametrize("swarm", [b"", bytes(31), bytes(33), "x" * 32], ids=len)
def test_a_swarm_of_another_length_is_our_own_fault(swarm: Any) -> None:
    with pytest.raises(FieldError, match="swarm"):
        seal(ADMIT.body, key=BOB, swarm=swarm, created_ms=0)
    with pytest.raises(FieldError, match="swarm"):
        seal_notice(CLAIM.body, key=BOB, swarm=swarm, created_ms=0)


# --- bodies that contradict themselves, refused on both sides of the wire ---

_genesis, _hypothesis, _merge, _admit = GENESIS.body, HYPOTHESIS.body, MERGE.body, ADMIT.body
_screen, _verify, _crashed = TRIAL_SCREEN.body, TRIAL_VERIFY.body, TRIAL_CRASHED.body
assert isinstance(_genesis, Genesis)
assert isinstance(_hypothesis, Hypothesis)
assert isinstance(_merge, Merge)
assert isinstance(_admit, Admit)
assert isinstance(_screen, Trial)
assert isinstance(_verify, Trial)
assert isinstance(_crashed, Trial)
_split = DataRef(name="train", digest=bytes(32), size_bytes=1)

INCONSISTENT = {
    "screening with a proof": replace(_screen, seed_proof=bytes(64)),
    "verifying without a proof": replace(_verify, seed_proof=b""),
    "rechecking without a proof": replace(_crashed, seed_proof=b""),
    "an ok arm without a metric": replace(_verify, child=replace(_verify.child, metric_micro=None)),
    "an ok parent without a metric": replace(
        _verify, parent=replace(_verify.parent, metric_micro=None)
    ),
    **{
        f"a metric of a run that was {status}": replace(
            _verify, child=replace(_verify.child, status=status)
        )
        for status in STATUSES
        if status != "ok"
    },
    "two splits of one name": replace(_genesis, data=(_split, replace(_split, size_bytes=2))),
    "fewer verifiers asked than needed": replace(
        _genesis, policy=replace(DEMO, min_verifiers=3, max_verifiers=2)
    ),
    "liars only": replace(
        _genesis, policy=replace(DEMO, liars=2, min_verifiers=2, max_verifiers=2)
    ),
    "parking after the cap": replace(_genesis, policy=replace(DEMO, park_pairs=5, cap_pairs=4)),
}

OUT_OF_BOUNDS: dict[str, Any] = {
    "no parent": replace(_hypothesis, parents=()),
    "too many parents": replace(
        _hypothesis, parents=tuple(bytes([i]) * 32 for i in range(limits.PARENTS_MAX + 1))
    ),
    "a parent twice": replace(_hypothesis, parents=(bytes(32), bytes(32))),
    "empty title": replace(_hypothesis, title=""),
    "title in two lines": replace(_hypothesis, title="a\nb"),
    "title too long": replace(_hypothesis, title="é" * 101),
    "rationale too long": replace(_hypothesis, rationale="x" * 4001),
    "rationale with a carriage return": replace(_hypothesis, rationale="a\r\nb"),
    "proposer unknown": replace(
        _hypothesis,
        origin=replace(_hypothesis.origin, proposer="oracle"),  # type: ignore[arg-type]
    ),
    "source too short": replace(_hypothesis, source=bytes(31)),
    "parents as a list": replace(_hypothesis, parents=[bytes(32)]),  # type: ignore[arg-type]
    "trial cited twice": replace(_merge, trials=(bytes(32), bytes(32))),
    "too many trials cited": replace(
        _merge, trials=tuple(i.to_bytes(32, "big") for i in range(limits.TRIALS_CITED_MAX + 1))
    ),
    "pair negative": replace(_screen, pair=-1),
    "pair too high": replace(_screen, pair=limits.PAIR_MAX + 1),
    "pair true": replace(_screen, pair=True),
    "seed of 64 bits": replace(_screen, seed=1 << 63),
    "half a proof": replace(_verify, seed_proof=bytes(32)),
    "metric beyond its bound": replace(
        _screen, child=replace(_screen.child, metric_micro=limits.METRIC_MICRO_MAX + 1)
    ),
    "metric as a float": replace(
        _screen,
        child=replace(_screen.child, metric_micro=1.5),  # type: ignore[arg-type]
    ),
    "steps negative": replace(_screen, child=replace(_screen.child, steps=-1)),
    "steps too long to print": replace(_screen, child=replace(_screen.child, steps=10**5000)),
    "member too short": replace(_admit, member=bytes(31)),
    "right as a number": replace(_admit, can_admit=1),  # type: ignore[arg-type]
    "name empty": replace(_genesis, name=""),
    "direction unknown": replace(
        _genesis,
        metric=replace(_genesis.metric, direction="up"),  # type: ignore[arg-type]
    ),
    "child missing": replace(_screen, child=None),  # type: ignore[arg-type]
    "data missing": replace(_genesis, data=None),  # type: ignore[arg-type]
    "policy missing": replace(_genesis, policy=None),  # type: ignore[arg-type]
    "tau zero": replace(_genesis, policy=replace(DEMO, tau_micro=0)),
    "nonce too short": replace(_genesis, nonce=bytes(15)),
    "too many splits": replace(
        _genesis,
        data=tuple(replace(_split, name=str(i)) for i in range(limits.DATA_SPLITS_MAX + 1)),
    ),
}


@pytest.mark.parametrize("body", [*INCONSISTENT.values(), *OUT_OF_BOUNDS.values()],
                         ids=[*INCONSISTENT, *OUT_OF_BOUNDS])  # fmt: skip
def test_a_bad_record_of_our_own_is_a_field_error(body: Any) -> None:
    with pytest.raises(FieldError):
        seal(body, key=ALICE, swarm=None if isinstance(body, Genesis) else SWARM, created_ms=0)


@pytest.mark.parametrize("body", INCONSISTENT.values(), ids=INCONSISTENT)
def test_a_contradictory_record_of_a_peer_is_a_wire_error(body: Any) -> None:
    sample = GENESIS if isinstance(body, Genesis) else TRIAL_VERIFY
    envelope = resigned(sample, _set("body", to_map(body)))
    with pytest.raises(WireError) as caught:
        open_envelope(envelope, swarm=sample.swarm)
    assert not isinstance(caught.value, SignatureError)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("title", ""),
        ("title", b"bytes"),
        ("title", 1),
        ("title", "\u202egnp.exe"),
        ("parents", []),
        ("parents", {}),
        ("parents", [bytes(32), bytes(32)]),
        ("parents", [bytes(31)]),
        ("parents", [[bytes(32)]]),
        ("source", None),
        ("source", "x" * 32),
        ("origin", {}),
        ("origin", []),
        ("rationale", "bell\x07"),
    ],
)
def test_a_bad_field_of_a_peer_is_named(name: str, value: object) -> None:
    def change(statement: dict[str, Any]) -> None:
        statement["body"][name] = value

    with pytest.raises(WireError, match=rf"Hypothesis\.{name}: "):
        open_envelope(resigned(HYPOTHESIS, change), swarm=SWARM)


@pytest.mark.parametrize("sample", RECORDS, ids=lambda sample: sample.name)
def test_a_missing_or_unknown_field_is_refused_by_name(sample: RecordSample) -> None:
    for name in to_map(sample.body):

        def remove(statement: dict[str, Any], name: str = name) -> None:
            del statement["body"][name]

        with pytest.raises(WireError, match=f"field '{name}'"):
            open_envelope(resigned(sample, remove), swarm=sample.swarm)

    def add(statement: dict[str, Any]) -> None:
        statement["body"]["bonus"] = 1

    with pytest.raises(WireError, match="field 'bonus'"):
        open_envelope(resigned(sample, add), swarm=sample.swarm)


@pytest.mark.parametrize("length", [1, 31, 33])
def test_an_optional_id_is_empty_or_whole(length: int) -> None:
    def cut(statement: dict[str, Any]) -> None:
        statement["body"]["head"] = bytes(length)

    presence = NOTICES[1]
    tag = ids.NOTICE_SIGNATURE_TAG
    with pytest.raises(WireError, match=r"Presence\.head: "):
        open_notice(resigned(presence, cut, tag=tag), swarm=SWARM)


def test_a_lease_is_bounded() -> None:
    for lease_s in (0, 24 * 3600 + 1):
        claim = Claim(parent=bytes(32), change=bytes(32), lease_s=lease_s)
        with pytest.raises(FieldError, match="lease_s"):
            seal_notice(claim, key=ALICE, swarm=SWARM, created_ms=CREATED_MS)


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_every_named_policy_founds_a_swarm(name: str) -> None:
    assert isinstance(GENESIS.body, Genesis)
    body = replace(GENESIS.body, policy=POLICIES[name])
    envelope = seal(body, key=ALICE, swarm=None, created_ms=0)
    assert open_envelope(envelope, swarm=None).body == body


def test_gain_is_positive_when_better() -> None:
    assert isinstance(GENESIS.body, Genesis)
    lower = GENESIS.body.metric
    assert lower.gain_micro(parent_micro=3_000_000, child_micro=2_900_000) == 100_000
    higher = replace(lower, direction="max")
    assert higher.gain_micro(parent_micro=3_000_000, child_micro=2_900_000) == -100_000
