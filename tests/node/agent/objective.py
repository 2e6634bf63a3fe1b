"""A swarm without training: what a script is worth is read off its text."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from typing import TYPE_CHECKING

from node.agent.catalogue import STRUCTURAL, NotApplicableError, Script, constant_edits
from node.agent.proposal import Experience, ResearchView
from swarm.source import source_digest
from tests.node.agent.scripts import SOURCE

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from node.agent.proposal import Proposal

TAU_MICRO = 10_000

Gains = dict[str, float]
"""Gain of a marker in a script's text, in the metric's unit."""

MEASURED: Gains = {
    # About what single changes bring on the smoke tier; see the task's own figures.
    "Muon(matrices)": 0.32,
    "rotate(q)": 0.33,
    "attention(shift(": 0.37,
    "mlp(shift(": 0.30,
    "F.relu(x).square()": 0.025,
    "self.gate(x)": 0.02,
    "EMBEDDING_FACTOR": 0.045,
    "self.head.weight = self.tokens.weight": -0.04,
    "rms_norm(q": 0.01,
    "0.5 * (1.0 + math.cos": -0.1,
    "warm * (1.0 - progress)": -0.1,
    "init_std(name": -0.05,
    "Lion(": -0.1,
    "torch.optim.SGD": -0.2,
    "torch.optim.RMSprop": -0.19,
    "torch.optim.NAdam": -0.15,
    'name == "head.weight"': -0.14,
}

OPTIMA = {"LEARNING_RATE": (0.004, 0.03), "INIT_STD": (0.06, 0.015), "BATCH_SIZE": (4, 0.03)}
"""Best value of a constant, and what each doubling away from it costs, squared."""


_CONSTANT = re.compile(r"^([A-Z][A-Z0-9_]+) = ([-\d.e]+)", re.MULTILINE)


_digest = functools.lru_cache(maxsize=64)(source_digest)


def worth(source: str, gains: Gains) -> float:
    """Returns what a script is worth: the sum of its parts, larger is better."""
    total = sum(gain for marker, gain in gains.items() if marker in source)
    constants = {name: float(value) for name, value in _CONSTANT.findall(source)}
    for name, (best, cost) in OPTIMA.items():
        total -= cost * math.log2(constants[name] / best) ** 2
    # Sizes cost steps: away from the first model everything gets a little worse.
    for name, start in (("D_MODEL", 64), ("N_LAYER", 2), ("TRAIN_CONTEXT", 128), ("MLP_RATIO", 4)):
        total -= 0.05 * abs(math.log2(constants[name] / start))
    return total


@dataclasses.dataclass
class Swarm:
    """Peers that share what they learn and merge whatever is worth more than τ."""

    gains: Gains
    noise: float = 0.006
    source: str = SOURCE
    merges: int = 0
    experiences: list[Experience] = dataclasses.field(default_factory=list)
    tried: set[bytes] = dataclasses.field(default_factory=set)
    merging: bool = True

    def view(self, claims: frozenset[bytes] = frozenset()) -> ResearchView:
        head = bytes([self.merges])
        return ResearchView(head, self.source, frozenset(self.tried), claims, self.experiences)

    def test(self, proposal: Proposal, rng: random.Random) -> float:
        """Tests one proposal, merges it if it is good, and returns its measured gain."""
        digest = _digest(proposal.source)
        assert digest not in self.tried
        assert digest != _digest(self.source)
        self.tried.add(digest)
        gain = worth(proposal.source, self.gains) - worth(self.source, self.gains)
        gain += rng.gauss(0.0, self.noise)
        good = gain * 1e6 > TAU_MICRO
        self.experiences.append(
            Experience(
                kind=proposal.kind,
                change=proposal.change,
                parent=bytes([self.merges]),
                on_head=True,
                status="verified" if good else "screened_out",
                gain_micro=round(gain * 1e6),
                tau_micro=TAU_MICRO,
            )
        )
        if good and self.merging:
            self.source = proposal.source
            self.merges += 1
            self.tried = set()
            self.experiences = [dataclasses.replace(e, on_head=False) for e in self.experiences]
        return gain


def random_change(source: str) -> Callable[[random.Random], str]:
    """Returns a chooser of one edit, uniformly among all that apply to a script."""
    script = Script.parse(source)
    edits = [*STRUCTURAL.values(), *constant_edits(script, 1)]

    def choose(rng: random.Random) -> str:
        while True:
            try:
                return rng.choice(edits).apply(script).code
            except NotApplicableError:
                continue

    return choose
