"""Whether a policy can ever verify anything: asked before a swarm is founded on it.

The fields alone show some contradictions (`protocol.envelope` refuses those on the wire). Others
only show when the verdict itself is asked about the clearest gain that there is: so few pairs may
count that no evidence reaches 1/alpha, however large the gain.
"""

from typing import Final

from protocol import limits
from protocol.policy import Policy
from swarm.verdict import Pair, conclude

_CLEAR_TAUS: Final = 1_000
"""A gain of so many tau on every pair leaves no doubt that pairs could remove."""


def pairs_for_a_clear_gain(policy: Policy) -> int | None:
    """Pairs after which the clearest gain is verified; None when the cap is below that."""
    gain_micro = min(_CLEAR_TAUS * policy.tau_micro, limits.METRIC_MICRO_MAX)
    verifiers = [bytes([number]) * 32 for number in range(policy.max_verifiers)]
    pairs = [
        Pair(
            trial=number.to_bytes(32, "big"),
            verifier=verifiers[number % len(verifiers)],
            seat=verifiers[number % len(verifiers)],
            gain_micro=gain_micro,
            failure=None,
            child_micro=-gain_micro,
            cost_permille=None,
        )
        for number in range(policy.cap_pairs)
    ]
    verdict = conclude(pairs, policy, policy.liars)
    return verdict.decided_at if verdict.status == "verified" else None


def why_unsatisfiable(policy: Policy) -> str:
    """Why nothing could ever be verified under a policy; empty when something can."""
    if policy.verify_share_permille == 0:
        return "verify_share_permille is 0: nobody would verify anything"
    if pairs_for_a_clear_gain(policy) is None:
        return (
            f"at most {policy.cap_pairs} pairs count (cap_pairs), and even the clearest gain needs"
            f" more for alpha = {policy.alpha_ppm} ppm with {policy.liars} liars left out"
        )
    return ""
