"""Bodies that break a bound or contradict themselves, refused on both sides of the wire."""

from dataclasses import replace
from typing import Any

import pytest

from protocol import ids, limits
from protocol.envelope import open_envelope, seal
from protocol.errors import FieldError, SignatureError, WireError
from protocol.notices import Claim, open_notice, seal_notice
from protocol.policy import POLICIES
from protocol.records import (
    STATUSES,
    Admit,
    DataRef,
    Genesis,
    Hypothesis,
    Merge,
    Transfer,
    Trial,
)
from protocol.schema import to_map
from tests.protocol.resign import resigned, set_field
from tests.protocol.samples import (
    ADMIT,
    ALICE,
    CREATED_MS,
    GENESIS,
    HYPOTHESIS,
    MERGE,
    NOTICES,
    POLICY,
    RECORDS,
    SWARM,
    TRANSFER,
    TRIAL_CRASHED,
    TRIAL_SCREEN,
    TRIAL_VERIFY,
    RecordSample,
)

_genesis, _hypothesis, _merge, _admit = GENESIS.body, HYPOTHESIS.body, MERGE.body, ADMIT.body
_screen, _verify, _crashed = TRIAL_SCREEN.body, TRIAL_VERIFY.body, TRIAL_CRASHED.body
assert isinstance(_genesis, Genesis)
assert isinstance(_hypothesis, Hypothesis)
assert isinstance(_merge, Merge)
assert isinstance(_admit, Admit)
assert isinstance(_screen, Trial)
assert isinstance(_verify, Trial)
assert isinstance(_crashed, Trial)
assert isinstance(TRANSFER.body, Transfer)
_transfer, _ended = TRANSFER.body, TRANSFER.body.runs[1]


def _ending(**changes: Any) -> Transfer:
    """The transfer with another last run."""
    return replace(_transfer, runs=(_transfer.runs[0], replace(_ended, **changes)))


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
    "a replay that goes on after a failure": _ending(metrics=(None, 5)),
    "a replay that failed without a failure": _ending(metrics=(5, 5)),
    "a replay that failed before it ran": _ending(metrics=()),
    "a failure in a replay that is ok": _ending(status="ok"),
    "one entry replayed twice": _ending(entry=_transfer.runs[0].entry),
    "two splits of one name": replace(_genesis, data=(_split, replace(_split, size_bytes=2))),
    "fewer verifiers asked than needed": replace(
        _genesis, policy=replace(POLICY, min_verifiers=3, max_verifiers=2)
    ),
    "liars only": replace(
        _genesis, policy=replace(POLICY, liars=2, min_verifiers=2, max_verifiers=2)
    ),
    "more liars and verifiers than are asked": replace(
        _genesis, policy=replace(POLICY, liars=2, min_verifiers=2, max_verifiers=3, cap_pairs=12)
    ),
    "a verifier without a pair": replace(
        _genesis,
        policy=replace(POLICY, min_verifiers=3, max_verifiers=3, cap_pairs=2, park_pairs=2),
    ),
    "parking after the cap": replace(_genesis, policy=replace(POLICY, park_pairs=5, cap_pairs=4)),
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
    "no scale": replace(_transfer, scale=""),
    "a replay of the genesis alone": replace(_transfer, runs=_transfer.runs[:1]),
    "too many runs": replace(
        _transfer,
        runs=tuple(
            replace(_ended, entry=bytes([i]) * 32) for i in range(limits.TRANSFER_RUNS_MAX + 1)
        ),
    ),
    "too many seeds": _ending(status="ok", metrics=(5,) * (limits.TRANSFER_SEEDS_MAX + 1)),
    "a replay's metric as a float": _ending(status="ok", metrics=(1.5,)),
    "a replay without a proof": replace(_transfer, seed_proof=b""),
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
    "tau zero": replace(_genesis, policy=replace(POLICY, tau_micro=0)),
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
    envelope = resigned(sample, set_field("body", to_map(body)))
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


def test_a_map_is_no_list_though_both_are_empty() -> None:
    with pytest.raises(WireError, match="must be a list"):
        open_envelope(resigned(MERGE, lambda value: value["body"].update(trials={})), swarm=SWARM)


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
