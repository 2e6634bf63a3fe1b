"""Pairs for the verdict's simulations, and the policy without liars that they are judged by."""

from dataclasses import replace
from typing import Final

from protocol.policy import DEMO
from swarm.verdict import Pair

TRUSTED: Final = replace(DEMO, cap_pairs=24)
TAU: Final = DEMO.tau_micro


def make_pair(number: int, verifier: int, gain: float | None, seat: int | None = None) -> Pair:
    """A counted pair with a gain given in units of tau, on the verifier's own seat or another."""
    gain_micro = None if gain is None else round(gain * TAU)
    return Pair(
        trial=number.to_bytes(32, "big"),
        verifier=verifier.to_bytes(32, "big"),
        seat=(verifier if seat is None else seat).to_bytes(32, "big"),
        gain_micro=gain_micro,
        failure="crashed" if gain is None else None,
        child_micro=None if gain_micro is None else -gain_micro,
        cost_permille=1000,
    )
