"""Signed envelopes of records.

The id of a record is the hash of its body bytes alone, so whoever re-signs the same statement
makes the same record. The checks here are the first part of the order that every received record
passes, cheapest first: size, number of values, decode, canonical form, header, kind, swarm id,
fields, signature. `peek_id` lets a caller drop what it has already seen before any of the costly
ones.
"""

from typing import Final

from protocol import limits
from protocol.errors import FieldError, WireError
from protocol.ids import RECORD_SIGNATURE_TAG, record_id
from protocol.keys import SigningKey
from protocol.policy import Policy
from protocol.records import BODY_TYPES, Arm, Body, Genesis, Record, Transfer, Trial, kind_of
from protocol.schema import from_map, to_map
from protocol.signed import parse_statement, seal_statement

_NO_SWARM: Final = bytes(limits.ID_BYTES)


def peek_id(envelope: bytes) -> bytes:
    """Id that the envelope's bytes have, whether or not they are valid. Costs one hash.

    Raises:
        WireError: Longer than an envelope may be, or too short to hold anything.
    """
    if not limits.SIGNATURE_BYTES < len(envelope) <= limits.ENVELOPE_BYTES_MAX:
        raise WireError(f"an envelope cannot have {len(envelope)} bytes")
    return record_id(envelope[limits.SIGNATURE_BYTES :])


def seal(body: Body, *, key: SigningKey, swarm: bytes | None, created_ms: int) -> bytes:
    """Sign a record.

    Args:
        body: The content.
        key: The author.
        swarm: The swarm id; None exactly when founding it with a genesis.
        created_ms: The author's wall clock, in milliseconds since 1970.

    Raises:
        FieldError: A field is outside its bounds, or the record is too large.
    """
    assert (swarm is None) == isinstance(body, Genesis)
    fields = to_map(body)
    _check_consistent(body)
    return seal_statement(
        kind_of(body),
        fields,
        key=key,
        swarm=_NO_SWARM if swarm is None else swarm,
        created_ms=created_ms,
        tag=RECORD_SIGNATURE_TAG,
        bytes_max=limits.ENVELOPE_BYTES_MAX,
    )


def open_envelope(envelope: bytes, *, swarm: bytes | None) -> Record:
    """Check an envelope completely and return what it says.

    Args:
        envelope: Bytes from anywhere.
        swarm: The swarm that it must belong to; None accepts only a genesis, of any swarm.

    Raises:
        WireError: Any fault that the bytes prove; nothing else is raised.
    """
    identity = peek_id(envelope)
    statement = parse_statement(envelope, bytes_max=limits.ENVELOPE_BYTES_MAX)
    struct = next((item for kind, item in BODY_TYPES.items() if kind == statement.kind), None)
    if struct is None:
        raise WireError("unknown kind of record")
    if struct is Genesis and statement.swarm != _NO_SWARM:
        raise WireError("a genesis names no swarm")
    belongs_to = identity if struct is Genesis else statement.swarm
    if belongs_to != (identity if swarm is None else swarm):
        raise WireError("record of another swarm")
    body = from_map(struct, statement.body)
    try:
        _check_consistent(body)
    except FieldError as error:
        raise WireError(str(error)) from error
    statement.verify(RECORD_SIGNATURE_TAG)
    return Record(
        id=identity,
        swarm=belongs_to,
        author=statement.author,
        created_ms=statement.created_ms,
        body=body,
    )


def _check_consistent(body: Body) -> None:
    """Check rules that involve several fields of one record.

    Raises:
        FieldError: The fields contradict each other.
    """
    if isinstance(body, Trial):
        for arm in (body.parent, body.child):
            _check_arm(arm)
        expected = 0 if body.purpose == "screen" else limits.SIGNATURE_BYTES
        if len(body.seed_proof) != expected:
            raise FieldError(f"a {body.purpose} trial has a seed proof of {expected} bytes")
    if isinstance(body, Transfer):
        _check_transfer(body)
    if isinstance(body, Genesis):
        if len({item.name for item in body.data}) != len(body.data):
            raise FieldError("two data splits of one name")
        _check_policy(body.policy)


def _check_arm(arm: Arm) -> None:
    if (arm.metric_micro is None) == (arm.status == "ok"):
        raise FieldError("an arm has a metric exactly when its status is ok")


def _check_transfer(body: Transfer) -> None:
    if len({run.entry for run in body.runs}) != len(body.runs):
        raise FieldError("a transfer runs one entry twice")
    for run in body.runs:
        ended = run.metrics[:-1] if run.status != "ok" else run.metrics
        failed_last = run.status == "ok" or run.metrics[-1:] == (None,)
        if None in ended or not failed_last:
            raise FieldError("a run has no metric exactly when it is the last and failed")


def _check_policy(policy: Policy) -> None:
    """Refuse a policy under which nothing could ever be verified."""
    if policy.verifiers_needed > policy.max_verifiers:
        raise FieldError(
            f"policy: max_verifiers is {policy.max_verifiers}, but {policy.verifiers_needed} are"
            " needed: min_verifiers (one at least) beside the liars, who are left out"
        )
    if policy.verifiers_needed > policy.cap_pairs:
        raise FieldError("policy: cap_pairs leaves some of the needed verifiers without a pair")
    if policy.park_pairs > policy.cap_pairs:
        raise FieldError("policy: park_pairs is over cap_pairs")
