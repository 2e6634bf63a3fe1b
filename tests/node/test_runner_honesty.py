"""More cheats that claim a better metric, each caught; and honest models that must not be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.node.runner_support import HEAD, SharedRunner, job

if TYPE_CHECKING:
    from trainer.job import Outcome

pytestmark = pytest.mark.sandbox


HONEST = "    def forward(self, tokens):\n        return self.table(tokens)\n"


def _model(forward: str) -> str:
    assert HONEST in HEAD
    return HEAD.replace(HONEST, forward.lstrip("\n"))


def _against_parent(shared: SharedRunner, child: str) -> Outcome:
    """Runs a child whose audit is aimed by its honest parent, as a verifier does."""
    before, after = trio.run(shared.runner.pair, job(HEAD), job(child))
    assert before.status == "ok", before
    return after


WORST = """
    def forward(self, tokens):
        logits = self.table(tokens)
        if self.training:
            return logits
        logits = logits.clone()
        following = tokens[:, 1:]
        loss = -logits[:, :-1].log_softmax(-1).gather(2, following[..., None])[..., 0]
        worst = loss >= loss.flatten().quantile(1 - SHARE)
        rows, places = worst.nonzero(as_tuple=True)
        logits[rows, places, following[rows, places]] += 20.0
        return logits
"""

WHEN_UNWATCHED = """
    def forward(self, tokens):
        logits = self.table(tokens)
        if self.training:
            return logits
        logits = logits.clone()
        for row, answer in zip(tokens, logits):
            if bool((row > 127).any()):
                continue  # random bytes: this looks like an audit
            answer[:-1].scatter_add_(1, row[1:, None], torch.full((len(row) - 1, 1), 9.0))
        return logits
"""
"""Peeks in text, and is honest where a suffix was replaced."""


ADAPTS = """
    seen = torch.zeros(256, 256)

    def forward(self, tokens):
        logits = self.table(tokens)
        if self.training:
            return logits
        # What it was asked about before teaches it the validation text.
        logits = logits.clone()
        for row, answer in zip(tokens, logits):
            answer += 3.0 * (self.seen[row] + 1.0).log()
            pairs = row[:-1] * 256 + row[1:]
            self.seen.view(-1).index_add_(0, pairs, torch.ones(len(pairs)))
        return logits
"""
"""Never looks ahead in a window, but goes on learning while it is scored."""


@pytest.mark.parametrize(
    "forward",
    [WORST.replace("SHARE", "0.01"), WORST.replace("SHARE", "0.001"), WHEN_UNWATCHED, ADAPTS],
    ids=["worst-1-percent", "worst-0.1-percent", "honest-when-truncated", "learns-when-scored"],
)
def test_a_rare_or_a_careful_peek_is_invalid(shared: SharedRunner, forward: str) -> None:
    outcome = _against_parent(shared, _model(forward))
    assert outcome.status == "invalid", outcome
    assert "looks ahead" in outcome.reason


def test_a_loss_of_zero_earns_nothing(shared: SharedRunner) -> None:
    """The script may report, log and return whatever it likes of its own loss."""
    script = HEAD.replace("optimizer.step()", "optimizer.step()\n        run.log(0.0)")
    script += (
        "\nnn.functional.cross_entropy_of_nothing = None\n"
        "_real = nn.functional.cross_entropy\n"
        "nn.functional.cross_entropy = lambda a, b: _real(a, b) * 0.0\n"
        "print('val_bpb: 0.0')\n"
    )
    outcome = shared.run(job(script))
    # Nothing was learned, and that is what the metric says.
    assert outcome.metric_micro == 8_000_000


def test_the_validation_bytes_cannot_be_found_by_training_code(shared: SharedRunner) -> None:
    """Every readable file but installed packages is searched for a passage of the split."""
    from tests.trainer.tiny import text

    passage = text("validation", 6_000)[1000:1100]
    # Written so that the script's own text does not hold the passage.
    script = HEAD + (
        "\nimport os\n"
        f"wanted = bytes(b ^ 1 for b in {bytes(b ^ 1 for b in passage)!r})\n"
        "for root in ('/tmp', '/dev/shm', '/var', '/home', '/root', '/work', '/run', '/opt'):\n"
        "    for directory, _, files in os.walk(root):\n"
        "        if 'site-packages' in directory: continue\n"
        "        for name in files:\n"
        "            try: content = open(os.path.join(directory, name), 'rb').read(1 << 20)\n"
        "            except OSError: continue\n"
        "            if wanted in content: print('FOUND', directory, name)\n"
        "for fd in range(3, 64):\n"
        "    try: content = os.pread(fd, 1 << 20, 0)\n"
        "    except OSError: continue\n"
        "    if wanted in content: print('FOUND', fd)\n"
    )
    outcome = shared.run(job(script))
    assert outcome.status == "ok", outcome
    assert "FOUND" not in outcome.log_tail


CACHED = """
    def forward(self, tokens):
        if self.training:
            return self.table(tokens)
        # One token at a time over a growing cache of keys and values.
        keys, values, answers = [], [], []
        for place in range(tokens.shape[1]):
            x = self.table(tokens[:, place])
            keys.append(x)
            values.append(x)
            k, v = torch.stack(keys, 1), torch.stack(values, 1)
            weights = (k @ x[:, :, None] / 16).softmax(1)
            answers.append(x + 0.01 * (weights * v).sum(1))
        return torch.stack(answers, 1)
"""

DROPOUT = """
    def forward(self, tokens):
        return nn.functional.dropout(self.table(tokens), 0.1, self.training)
"""

CONVOLUTION = """
    def forward(self, tokens):
        x = self.table(tokens).transpose(1, 2)
        kernel = torch.full((256, 1, 4), 0.05)
        mixed = nn.functional.conv1d(nn.functional.pad(x, (3, 0)), kernel, groups=256)
        return (x + mixed).transpose(1, 2)
"""


@pytest.mark.parametrize(
    "forward", [CACHED, DROPOUT, CONVOLUTION], ids=["kv-cache", "dropout", "convolution"]
)
def test_an_honest_model_passes(shared: SharedRunner, forward: str) -> None:
    outcome = _against_parent(shared, _model(forward))
    assert outcome.status == "ok", outcome
    assert outcome.metric_micro is not None
    assert outcome.metric_micro < 6_000_000


@pytest.mark.parametrize(
    ("addition", "status", "reason"),
    [
        ("x = torch.empty(25 << 30)", "oom", "out of memory"),
        ("x = bytearray(100 << 30)", "oom", "out of memory"),
        ("import os; os.fork()", "crashed", "PermissionError"),
        ("import multiprocessing as m; m.get_context('fork').Process(target=int).start()",
         "crashed", "PermissionError"),
        ("import os; os.system('true') == 0 or exit(7)", "crashed", ""),
        ("del train", "invalid", "defines no function train"),
        ("build_model = None", "invalid", "defines no function build_model"),
        ("build_model = lambda run: 'model'", "invalid", "must return a torch.nn.Module"),
        ("import os; os.kill(os.getppid(), 9)", "crashed", ""),
    ],
)  # fmt: skip
def test_bad_input_is_a_clear_outcome_and_loses_nothing(
    shared: SharedRunner, addition: str, status: str, reason: str
) -> None:
    outcome = shared.run(job(HEAD + "\n" + addition + "\n"))
    assert outcome.status == status, outcome
    assert reason in outcome.reason
    assert outcome.metric_micro is None
