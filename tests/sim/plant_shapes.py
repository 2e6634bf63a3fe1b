"""Plans that are about what a planted bug breaks.

Errors that only show in the sum of many runs, or under the right attacker, would need hundreds of
ordinary plans.
"""

from dataclasses import replace

from tests.sim.plan import POLICIES, Event, Plan, begins_alone


def _calm(plan: Plan) -> Plan:
    """Honest nodes on a network that loses nothing and never breaks."""
    return replace(plan, events=(), hostile=(), loss=0.0, latency_s=0.02)


def only_worthless(plan: Plan) -> Plan:
    """Honest nodes that try one worthless idea after the other, with noise that screens let by."""
    tau_micro = plan.policy.tau_micro
    return replace(
        _calm(plan),
        nodes=5,
        policy=POLICIES[0],
        noise_micro=2 * tau_micro,
        effects_micro=(0,) * 16,
        bad_s=120.0,
    )


def liars_against_gains(plan: Plan) -> Plan:
    """As many liars as the policy allows, who run down everything, and clear gains."""
    tau_micro = plan.policy.tau_micro
    return replace(
        _calm(plan),
        nodes=9,
        policy=POLICIES[3],
        noise_micro=tau_micro // 2,
        effects_micro=(6 * tau_micro,) * 6,
        hostile=((1, "liar_down"), (2, "liar_down")),
        bad_s=120.0,
    )


def late_liars_against_gains(plan: Plan) -> Plan:
    """As many liars as the policy allows, who wait for the merge of a gain that barely shows."""
    tau_micro = plan.policy.tau_micro
    return replace(
        liars_against_gains(plan),
        nodes=6,
        policy=POLICIES[2],
        noise_micro=tau_micro,
        effects_micro=(2 * tau_micro,) * 6,
        hostile=((1, "late_liar"),),
        bad_s=150.0,
    )


def few_worthless(plan: Plan) -> Plan:
    """Few ideas in a small swarm: work that never ends is seen without much of it."""
    return replace(only_worthless(plan), effects_micro=(0,) * 4, bad_s=60.0)


def many_gains(plan: Plan) -> Plan:
    """Both sides of a partition find gains, so that one side's are left behind."""
    tau_micro = plan.policy.tau_micro
    return replace(
        _calm(plan),
        nodes=9,
        policy=POLICIES[0],
        noise_micro=tau_micro // 5,
        effects_micro=(20 * tau_micro,) * 8,
        events=(Event(15.0, "partition", (0, 1, 2, 3), 80.0),),
        latency_s=0.1,
        bad_s=95.0,
    )


def with_an_equivocator(plan: Plan) -> Plan:
    """Those who could show that it contradicts itself hear nothing of it until it has verified."""
    return replace(
        many_gains(plan),
        nodes=8,
        hostile=((1, "equivocator"),),
        events=(Event(1.0, "partition", (0, 1, 2, 4, 6), 70.0),),
        bad_s=150.0,
    )


def with_a_hider(plan: Plan) -> Plan:
    """A founder that began alone, and one that joins with entries whose scripts nobody gets."""
    return replace(begins_alone(replace(plan, hostile=())), hostile=((1, "hider"),))


def with_a_garbler(plan: Plan) -> Plan:
    return replace(plan, hostile=((1, "garbler"),), bad_s=120.0)
