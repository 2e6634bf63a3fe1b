"""Late liars: what a merge that more verifiers signed than may lie is worth (`swarm.standing`).

Three questions, for seven verifiers of whom two lie. Does a gain stay on the lineage when the liars
report only after its merge? How often could honest verifiers sign something worthless, if each set
of trials that is ever there is judged? And how often could *one* merger find a citation, if it
might leave out up to two verifiers of its choice? For the last two the liars get all that they
could wish for: evidence has to stand without them, whatever the other exclusions would say.
"""

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.report import Figure, figure
from benchmarks.verdict_float import Array, Sums, log_e_value, log_mixture
from benchmarks.verdict_pairs import TAU
from protocol.ids import rendezvous
from protocol.policy import LAB
from protocol.records import Arm, Merge, Metric, Record, Trial
from swarm.counting import counted_pairs
from swarm.evidence import scale_floor_micro
from swarm.standing import Standing
from swarm.verdict import VerdictStatus, conclude

HYPOTHESIS: Final = bytes(32)
BITS_PER_BYTE: Final = Metric("val_bpb", "bits/byte", "min")
PARENT_MICRO: Final = 10**9
HONEST: Final = LAB.max_verifiers - LAB.liars
SCHEDULES: Final = 20
"""Orders of arrival for each of which a share of the hypotheses is drawn."""

Counts = tuple[int, ...]
"""Pairs by honest verifier."""
ByVerifier = dict[bytes, dict[int, tuple[bytes, Trial]]]


def late_line(name: str, mean: float, liar_mean: float, real: int, seed: int) -> list[Figure]:
    """Liars that wait until a gain is merged, through the real code."""
    drawn = (late_liars(f"{seed} {name} {number}", mean, liar_mean) for number in range(real))
    started = [outcome for outcome in drawn if outcome is not None]
    share = 100 / len(started)
    refuted = sum(status == "refuted" for status, _ in started)
    verified = sum(status == "verified" for status, _ in started)
    stays = sum(status == "verified" or stands for status, stands in started)
    return [
        figure(f"{name}: refuted", share * refuted, "%", at_most=0),
        figure(f"{name}: still verified", share * verified, "%"),
        figure(f"{name}: still on the lineage", share * stays, "%", at_least=100),
    ]


def late_liars(seed: str, mean: float, liar_mean: float) -> tuple[VerdictStatus, bool] | None:
    """What becomes of a verified gain when two liars report only afterwards.

    Returns:
        What all trials then say, and whether the signed merges stand; None when it was not verified
        before.
    """
    rng = random.Random(seed)
    keys = [rng.randbytes(32) for _ in range(LAB.max_verifiers)]
    liars = rng.sample(keys, LAB.liars)
    honest = [key for key in keys if key not in liars]
    trials: ByVerifier = {key: {} for key in honest}
    order = sorted(honest, key=lambda key: rendezvous(HYPOTHESIS, key))
    for pair, key in _rounds(order, 5):
        trials[key][pair] = _trial(rng, pair, rng.gauss(mean, 1))
        verdict = _conclude(trials)
        if verdict[0] == "verified":
            break
    else:
        return None
    merges = [_merge(signer, verdict[1], number) for number, signer in enumerate(honest)]
    for pair, key in _rounds(liars, 4):
        trials.setdefault(key, {})[pair] = _trial(rng, pair, rng.gauss(liar_mean, 1))
    proof = Standing().verdict(
        HYPOTHESIS, merges, trials, metric=BITS_PER_BYTE, policy=LAB, liars=LAB.liars
    )
    status, _ = _conclude(trials)
    return status, status != "refuted" and proof is not None


def _conclude(
    trials: Mapping[bytes, Mapping[int, tuple[bytes, Trial]]],
) -> tuple[VerdictStatus, tuple[bytes, ...]]:
    pairs = counted_pairs(HYPOTHESIS, trials, metric=BITS_PER_BYTE, policy=LAB)
    verdict = conclude(pairs, LAB, LAB.liars)
    return verdict.status, verdict.trials


def _rounds(keys: Sequence[bytes], count: int) -> Iterator[tuple[int, bytes]]:
    return ((pair, key) for pair in range(count) for key in keys)


def _trial(rng: random.Random, pair: int, gain: float) -> tuple[bytes, Trial]:
    """A trial with a gain given in units of tau, and an id."""
    arms = [
        Arm(
            status="ok",
            metric_micro=metric_micro,
            train_cpu_ms=1,
            score_cpu_ms=0,
            wall_ms=1,
            peak_memory_kib=1,
            steps=1,
            tokens=1,
        )
        for metric_micro in (PARENT_MICRO, PARENT_MICRO - round(gain * TAU))
    ]
    trial = Trial(
        hypothesis=HYPOTHESIS,
        purpose="verify",
        pair=pair,
        seed=0,
        seed_proof=b"",
        parent=arms[0],
        child=arms[1],
        genesis_cpu_ms=1,
        genesis_wall_ms=1,
        genesis_memory_kib=1,
        genesis_tokens=1,
        device="",
        runtime="",
    )
    return rng.randbytes(32), trial


def _merge(signer: bytes, trials: tuple[bytes, ...], number: int) -> Record:
    return Record(
        id=number.to_bytes(32, "big"),
        swarm=bytes(32),
        author=signer,
        created_ms=0,
        body=Merge(HYPOTHESIS, trials),
    )


def any_set_line(name: str, count: int, seed: int) -> list[Figure]:
    """Worthless changes that honest verifiers of unlike speed could sign at some moment."""
    rng = np.random.default_rng(seed)
    false = 0
    for _ in range(SCHEDULES):
        speeds = rng.uniform(0.1, 1, HONEST)
        arrivals = rng.choice(HONEST, size=LAB.cap_pairs, p=speeds / speeds.sum())
        gains = rng.normal(0, TAU, (count // SCHEDULES, HONEST, LAB.cap_pairs))
        false += int(_reached(gains, _sets_ever_there(arrivals)).sum())
    share = 100 * false / (count // SCHEDULES * SCHEDULES)
    return [figure(f"{name}: verified", share, "%", at_most=0.1)]


def holes_line(name: str, count: int, seed: int) -> list[Figure]:
    """Worthless changes for which one merger finds a citation without up to two verifiers."""
    rng = np.random.default_rng(seed)
    rounds = -(-LAB.cap_pairs // HONEST)
    gains = rng.normal(0, TAU, (count, HONEST, rounds))
    everybody = range(HONEST)
    sizes = range(HONEST - LAB.liars, HONEST + 1)
    cited = [kept for size in sizes for kept in combinations(everybody, size)]
    full = tuple(rounds - (number >= LAB.cap_pairs % HONEST) for number in everybody)
    sets = {
        prefix
        for kept in cited
        for prefix in _prefixes([full[n] if n in kept else 0 for n in everybody])
    }
    share = 100 * float(_reached(gains, sets).mean())
    return [figure(f"{name}: verified", share, "%")]


def _sets_ever_there(arrivals: npt.NDArray[np.int64]) -> set[Counts]:
    """Every prefix, in canonical order, of every set of trials that is there at some moment."""
    sets: set[Counts] = set()
    for number in range(1, len(arrivals) + 1):
        sets.update(_prefixes(np.bincount(arrivals[:number], minlength=HONEST).tolist()))
    return sets


def _prefixes(counts: Sequence[int]) -> Iterator[Counts]:
    """The prefixes, in canonical order, of some pairs by verifier."""
    taken = [0] * len(counts)
    for number in range(max(counts)):
        for verifier, count in enumerate(counts):
            if number < count:
                taken[verifier] += 1
                yield tuple(taken)


def _reached(gains: Array, sets: Iterable[Counts]) -> npt.NDArray[np.bool_]:
    """Which hypotheses some set of trials verifies when the liars are left out.

    Args:
        gains: (hypotheses, honest verifiers, pairs), in micro-units.
        sets: Pairs by verifier.
    """
    floor = float(scale_floor_micro(TAU))
    threshold = math.log(1_000_000 / LAB.alpha_ppm)
    sums, squares = gains.cumsum(2), (gains**2).cumsum(2)
    reached = np.zeros(len(gains), dtype=bool)
    for counts in sets:
        kept = [verifier for verifier, count in enumerate(counts) if count]
        if len(kept) < LAB.min_verifiers:
            continue
        last = [counts[verifier] - 1 for verifier in kept]
        totals, squared = sums[:, kept, last], squares[:, kept, last]
        count = sum(counts)
        # Alternatives cannot make much of pairs that together speak against a gain.
        together = log_e_value(count, totals.sum(1), squared.sum(1), floor)
        rows = np.flatnonzero((together > 0) & ~reached)
        some = Sums(np.array([counts[verifier] for verifier in kept]), totals[rows], squared[rows])
        reached[rows] = log_mixture(some, range(len(kept)), floor) >= threshold
    return reached
