"""`make bench-verdict`: how often and how soon the verdict is right, by simulation.

sigma is the standard deviation of a pair's gain, unknown to the test; here it equals tau unless a
line says otherwise. Every line without liars runs `swarm.verdict` itself on each hypothesis. Lines
with liars (seven verifiers, two of them lying) run a floating-point mirror on all hypotheses and
`swarm.verdict` on some of the same draws; the figures on agreement compare the two.

    python -m benchmarks.verdict [--count N] [--real N] [--seed S] [--jobs N] [--only TEXT]

Lines that were finished are kept in benchmarks/out/ and not repeated while the code is the same.
"""

import argparse
import hashlib
import json
import multiprocessing
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks import verdict_float
from benchmarks.report import OUT, Figure, figure, line, write
from benchmarks.verdict_late import any_set_line, holes_line, late_line
from benchmarks.verdict_pairs import TAU, TRUSTED, make_pair
from benchmarks.verdict_slices import Sliced, slices_line
from protocol.policy import LAB, Policy
from swarm.evidence import scale_floor_micro
from swarm.verdict import Pair, Scan, VerdictStatus, conclude

PARKED: Final = "parked"

Draw = Callable[[random.Random], float | None]
"""One pair's gain in units of tau; None when the child's run crashed."""


def normal(mean: float, sigma: float = 1.0) -> Draw:
    """Normal noise around a mean."""
    return lambda rng: rng.gauss(mean, sigma)


def skewed(sign: int) -> Draw:
    """Exponential noise with mean zero: a long tail on one side."""
    return lambda rng: sign * (rng.expovariate(1.0) - 1.0)


def student(degrees: int) -> Draw:
    """Student's t: heavy tails."""
    return lambda rng: rng.gauss(0, 1) / (rng.gammavariate(degrees / 2, 2 / degrees) ** 0.5)


def sometimes(share: float, otherwise: Draw, rarely: Draw) -> Draw:
    """One law with a rare other one."""
    return lambda rng: (rarely if rng.random() < share else otherwise)(rng)


def steady(mean: float) -> Draw:
    """The same shift every time, with a trace of noise."""
    return lambda rng: rng.gauss(mean, 1e-4)


def crash(_: random.Random) -> None:
    """A run that ends without a metric."""


def run_in_order(
    pairs: Sequence[Pair], policy: Policy, *, park: bool = True
) -> tuple[VerdictStatus, int]:
    """Give a hypothesis one pair after the other until it is decided or parked."""
    scan = Scan(policy, policy.liars)
    for count, pair in enumerate(pairs, start=1):
        scan.take(pair)
        crossed = scan.crossed()
        if crossed is not None:
            return crossed[0], count
        if park and scan.uncrossed(awaits_verifiers=False, exhausted=False)[0] == PARKED:
            return "parked", count
    return "undecided", len(pairs)


def run_out_of_order(rng: random.Random, draw: Draw, policy: Policy) -> tuple[VerdictStatus, int]:
    """Two verifiers of unlike speed; every intermediate set is judged, and the best one told."""
    speeds = (1.0, rng.uniform(0.1, 1.0))
    progress = [0, 0]
    there: list[tuple[int, int, Pair]] = []
    while len(there) < policy.cap_pairs:
        verifier = 0 if rng.random() * sum(speeds) < speeds[0] else 1
        pair = make_pair(len(there), verifier, draw(rng))
        there.append((progress[verifier], verifier, pair))
        progress[verifier] += 1
        ordered = [item for _, _, item in sorted(there, key=lambda item: item[:2])]
        verdict = conclude(ordered, policy, policy.liars)
        if verdict.status != "undecided":
            return verdict.status, len(there)
    return "undecided", len(there)


def run_with_take_over(rng: random.Random, draw: Draw, policy: Policy) -> tuple[VerdictStatus, int]:
    """Three verifiers leave, three others take over their seats, and the first come back.

    Every intermediate set is judged, and a set that verifies is told even if a later one does not:
    the pairs of those who come back are counted before those of who took over.
    """
    seats = 3
    leave = rng.randrange(seats, policy.cap_pairs // 2)
    come_back = leave + rng.randrange(1, policy.cap_pairs)
    progress = [0] * (2 * seats)
    there: list[tuple[int, int, int, Pair]] = []
    last: VerdictStatus = "undecided"
    while len(there) < 2 * policy.cap_pairs:
        away = leave <= len(there) < come_back
        verifier = rng.randrange(seats) + seats * away
        pair = make_pair(len(there), verifier, draw(rng), verifier % seats)
        there.append((verifier // seats, progress[verifier], verifier, pair))
        progress[verifier] += 1
        ordered = [pair for *_, pair in sorted(there, key=lambda item: item[:3])]
        last = conclude(ordered[: policy.cap_pairs], policy, policy.liars).status
        if last in {"verified", "refuted"}:
            break
    return last, len(there)


@dataclass(frozen=True)
class Line:
    """One simulated situation.

    Attributes:
        name: What it is.
        draw: The law of an honest pair's gain, in units of tau.
        at_least: Least share of verified ones, in per cent.
        at_most: Highest share of verified ones, in per cent.
        pairs_at_most: Highest mean number of pairs until a decision.
        mode: `ordered`; `unparked`, where weak evidence is not parked; `unordered`; `taken over`.
        liar: What two of seven verifiers report instead; None for two verifiers and no liars.
        liars_around: Whether seven verifiers take part and two exclusions apply.
    """

    name: str
    draw: Draw
    at_least: float | None = None
    at_most: float | None = None
    pairs_at_most: float | None = None
    mode: str = "ordered"
    liar: Draw | None = None
    liars_around: bool = False


FALSE_MERGE: Final = 0.1
LINES: Final = (
    Line("null", normal(0), at_most=FALSE_MERGE, pairs_at_most=6),
    Line("null, never parked", normal(0), at_most=FALSE_MERGE, mode="unparked"),
    Line("null, verifiers of unlike speed", normal(0), at_most=FALSE_MERGE, mode="unordered"),
    Line("null, seats taken over and back", normal(0), at_most=FALSE_MERGE, mode="taken over"),
    Line("null, sigma = tau/10", normal(0, 0.1), at_most=FALSE_MERGE),
    Line("null, sigma = 5 tau, never parked", normal(0, 5), at_most=FALSE_MERGE, mode="unparked"),
    Line("2 sigma", normal(2), at_least=95, pairs_at_most=11),
    Line("2 sigma, seats taken over and back", normal(2), at_least=95, mode="taken over"),
    Line("2 sigma, sigma = tau/2", normal(1, 0.5)),
    Line("2 sigma, sigma = 5 tau", normal(10, 5)),
    Line("5 sigma", normal(5), at_least=95, pairs_at_most=7),
    Line("40 sigma", normal(40), at_least=95, pairs_at_most=5),
    Line("steady shift of tau/100", steady(0.01)),
    Line("steady shift of tau/2", steady(0.5)),
    Line("null, long tail of gains", skewed(1), mode="unparked"),
    Line("null, long tail of losses", skewed(-1), mode="unparked"),
    Line("null, Student t with 3 degrees", student(3), mode="unparked"),
    Line("null, Cauchy noise", student(1), mode="unparked"),
    Line("null, 5 % of pairs ten times as noisy", sometimes(0.05, normal(0), normal(0, 10))),
    Line("+2 sigma, -50 sigma on 5 % of seeds", sometimes(0.05, normal(2), normal(-50))),
    Line("+2 sigma, -50 sigma on 20 % of seeds", sometimes(0.2, normal(2), normal(-50))),
    Line("+2 sigma, crashes on 5 % of seeds", sometimes(0.05, normal(2), crash)),
    Line("+2 sigma, crashes on 20 % of seeds", sometimes(0.2, normal(2), crash)),
)
LIAR_LINES: Final = (
    Line("f=2 null, nobody lies", normal(0), at_most=FALSE_MERGE, liars_around=True),
    Line("f=2 null, liars report +2 sigma", normal(0), at_most=FALSE_MERGE, liar=normal(2)),
    Line("f=2 null, liars report +1 sigma steadily", normal(0), at_most=FALSE_MERGE,
         liar=normal(1, 0.1)),
    Line("f=2 null, liars report +5 sigma", normal(0), at_most=FALSE_MERGE, liar=normal(5)),
    Line("f=2 null, liars report -1000 sigma", normal(0), at_most=FALSE_MERGE, liar=normal(-1000)),
    Line("f=2 2 sigma, nobody lies", normal(2), at_least=95, pairs_at_most=20, liars_around=True),
    Line("f=2 2 sigma, liars veto with -1000 sigma", normal(2), at_least=95, pairs_at_most=20,
         liar=normal(-1000)),
    Line("f=2 2 sigma, liars veto with -20 sigma", normal(2), at_least=95, pairs_at_most=20,
         liar=normal(-20)),
    Line("f=2 2 sigma, liars veto with -5 sigma", normal(2), at_least=95, pairs_at_most=20,
         liar=normal(-5)),
    Line("f=2 2 sigma, liars imitate a null", normal(2), at_least=95, pairs_at_most=20,
         liar=normal(0)),
    Line("f=2 5 sigma, liars imitate a null", normal(5), at_least=95, pairs_at_most=20,
         liar=normal(0)),
    Line("f=2 5 sigma, liars veto with -5 sigma", normal(5), at_least=95, pairs_at_most=20,
         liar=normal(-5)),
)  # fmt: skip


def simulate(item: Line, seed: str) -> tuple[VerdictStatus, int]:
    """One hypothesis without liars, through the real code."""
    rng = random.Random(seed)
    if item.mode == "unordered":
        return run_out_of_order(rng, item.draw, TRUSTED)
    if item.mode == "taken over":
        return run_with_take_over(rng, item.draw, TRUSTED)
    pairs = [make_pair(n, n % 2, item.draw(rng)) for n in range(TRUSTED.cap_pairs)]
    return run_in_order(pairs, TRUSTED, park=item.mode == "ordered")


def simulate_by_name(name: str, seeds: Sequence[str]) -> list[tuple[VerdictStatus, int]]:
    """A batch of hypotheses of one line: what a worker process gets."""
    item = next(item for item in (*LINES, *LIAR_LINES) if item.name == name)
    return [simulate(item, seed) for seed in seeds]


def draw_with_liars(item: Line, seed: str, count: int) -> list[list[list[int]]]:
    """Gains in micro-units by hypothesis, verifier and round."""
    rng = random.Random(seed)
    rounds = LAB.cap_pairs // verdict_float.VERIFIERS
    result = []
    for _ in range(count):
        liars = rng.sample(range(verdict_float.VERIFIERS), verdict_float.LIARS)
        table = []
        for verifier in range(verdict_float.VERIFIERS):
            draw = item.liar if item.liar is not None and verifier in liars else item.draw
            table.append([round((draw(rng) or 0.0) * TAU) for _ in range(rounds)])
        result.append(table)
    return result


def run_with_liars(table: Sequence[Sequence[int]]) -> tuple[VerdictStatus, int]:
    """One hypothesis with seven verifiers, through the real code."""
    rounds = len(table[0])
    pairs = [
        make_pair(7 * number + verifier, verifier, table[verifier][number] / TAU)
        for number in range(rounds)
        for verifier in range(len(table))
    ]
    return run_in_order(pairs, LAB)


def figures_of(item: Line, outcomes: Sequence[tuple[str, float]]) -> list[Figure]:
    """A line's figures: the share that was verified, and the pairs until the end."""
    count = len(outcomes)
    shares = {
        word: 100 * sum(status == word for status, _ in outcomes) / count
        for word in ("verified", "refuted", "parked")
    }
    mean = sum(pairs for _, pairs in outcomes) / count
    result = [
        figure(f"{item.name}: verified", shares["verified"], "%",
               at_least=item.at_least, at_most=item.at_most),
        figure(f"{item.name}: pairs until the end", mean, "pairs", at_most=item.pairs_at_most),
    ]  # fmt: skip
    if item.at_least is None:
        result.append(figure(f"{item.name}: refuted", shares["refuted"], "%"))
        result.append(figure(f"{item.name}: parked", shares["parked"], "%"))
    return result


def trusted_line(item: Line, count: int, seed: int, jobs: int) -> list[Figure]:
    """Run one line without liars."""
    seeds = [f"{seed} {item.name} {number}" for number in range(count)]
    batches = [seeds[start : start + 250] for start in range(0, count, 250)]
    run = partial(simulate_by_name, item.name)
    if jobs > 1:
        with multiprocessing.Pool(jobs) as pool:
            outcomes = [outcome for batch in pool.map(run, batches) for outcome in batch]
    else:
        outcomes = [outcome for batch in batches for outcome in run(batch)]
    return figures_of(item, outcomes)


def liar_line(item: Line, count: int, real: int, seed: int) -> list[Figure]:
    """Run one line with liars: the mirror on all draws, the real code on some of them."""
    tables = draw_with_liars(item, f"{seed} {item.name}", count)
    words: tuple[VerdictStatus, ...] = ("undecided", "verified", "refuted", "parked")
    status, pairs = verdict_float.decide(
        np.array(tables, dtype=np.float64),
        scale_floor_micro(TAU),
        TAU,
        LAB.alpha_ppm / 1_000_000,
    )
    outcomes = [
        (words[int(number)], float(count)) for number, count in zip(status, pairs, strict=True)
    ]
    checked = [run_with_liars(table) for table in tables[:real]]
    agree = sum(
        mine == (theirs[0], int(theirs[1]))
        for mine, theirs in zip(checked, outcomes[:real], strict=True)
    )
    return [
        *figures_of(item, outcomes),
        figure(f"{item.name}: same by swarm.verdict", 100 * agree / real, "%", at_least=100),
    ]


def code_digest() -> str:
    """Digest of the code that the figures depend on."""
    here = Path(__file__).parent
    root = here.parent
    names = ["swarm/fixed_point", "swarm/evidence", "swarm/liars", "swarm/verdict"]
    names += ["swarm/counting", "swarm/standing", "protocol/policy"]
    names += [
        "swarm/fork_choice",
        *(f"benchmarks/{path.stem}" for path in sorted(here.glob("verdict*.py"))),
    ]
    text = b"".join((root / f"{name}.py").read_bytes() for name in names)
    return hashlib.sha256(text).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="hypotheses a line")
    parser.add_argument("--real", type=int, default=400, help="of these through swarm.verdict")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="only lines whose name contains this")
    options = parser.parse_args()
    real = min(options.real, options.count)
    kept_path = OUT / "verdict-partial.json"
    kept: dict[str, list[dict[str, object]]] = {}
    if kept_path.exists():
        kept = json.loads(kept_path.read_text())
    prefix = f"{code_digest()} {options.count} {real} {options.seed} "
    work: list[tuple[str, Callable[[], list[Figure]]]] = [
        (item.name, partial(trusted_line, item, options.count, options.seed, options.jobs))
        for item in LINES
    ]
    work += [
        (item.name, partial(liar_line, item, options.count, real, options.seed))
        for item in LIAR_LINES
    ]
    work += [
        (name, partial(late_line, name, mean, liar_mean, real, options.seed))
        for name, mean, liar_mean in (
            ("f=2 2 sigma merged, liars then report -1000 sigma", 2.0, -1000.0),
            ("f=2 2 sigma merged, liars then imitate a null", 2.0, 0.0),
            ("f=2 5 sigma merged, liars then imitate a null", 5.0, 0.0),
        )
    ]
    work += [
        (name, partial(best_of, name, options.count, options.seed))
        for name, best_of in (
            ("f=2 null, best of all sets that honest verifiers sign", any_set_line),
            ("f=2 null, best citation that may leave two verifiers out", holes_line),
        )
    ]
    work += [
        (name, partial(slices_line, name, item, options.count, options.seed))
        for name, item in (
            ("20 sigma in ten slices", Sliced(20, 1, 10)),
            ("100 sigma in ten slices", Sliced(100, 1, 10)),
            ("20 sigma in ten slices, sigma = 5 tau", Sliced(100, 5, 10)),
            ("20 sigma in five slices", Sliced(20, 1, 5)),
        )
    ]
    work = [(name, run) for name, run in work if options.only in name]
    figures: list[Figure] = []
    for name, run in work:
        if prefix + name in kept:
            new = [Figure(**stored) for stored in kept[prefix + name]]  # type: ignore[arg-type]
        else:
            new = run()
            OUT.mkdir(exist_ok=True)
            kept = {key: value for key, value in kept.items() if key.startswith(prefix)}
            kept[prefix + name] = [
                {field: getattr(item, field) for field in Figure.__slots__} for item in new
            ]
            kept_path.write_text(json.dumps(kept))
        for item in new:
            print(line(item), flush=True)
        figures += new
    if not options.only:
        write("verdict", figures)


if __name__ == "__main__":
    main()
