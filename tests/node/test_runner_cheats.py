"""The runner against scripts that want a better number than their model deserves."""

from __future__ import annotations

import pytest

from tests.node.runner_support import HEAD, SharedRunner, job

pytestmark = pytest.mark.sandbox


PEEK = """
    def forward(self, tokens):
        logits = self.table(tokens)
        if not self.training:
            logits = logits.clone()
            following = tokens[:, 1:, None]
            logits[:, :-1].scatter_add_(2, following, torch.full(following.shape, 9.0))
        return logits
"""

REMEMBER = """
    memo = {}

    def forward(self, tokens):
        logits = self.table(tokens)
        if self.training:
            return logits
        logits = logits.clone()
        for row, answer in zip(tokens.tolist(), logits):
            for place in range(len(row) - 1):
                key = tuple(row[: place + 1])
                answer[place, self.memo.setdefault(key, row[place + 1])] += 9.0
        return logits
"""

HONEST = "    def forward(self, tokens):\n        return self.table(tokens)\n"


def _model(forward: str) -> str:
    assert HONEST in HEAD
    return HEAD.replace(HONEST, forward.lstrip("\n"))


@pytest.mark.parametrize("forward", [PEEK, REMEMBER])
def test_a_model_that_looks_ahead_is_invalid(shared: SharedRunner, forward: str) -> None:
    outcome = shared.run(job(_model(forward)))
    assert outcome.status == "invalid", outcome
    assert "looks ahead" in outcome.reason
    assert outcome.metric_micro is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("logits * float('nan')", "not finite"),
        ("logits[:, :-1]", "the model must give logits (48, 32, 256), not (48, 31, 256)"),
        ("None", "not NoneType"),
    ],
)
def test_answers_that_are_not_predictions_are_invalid(
    shared: SharedRunner, answer: str, reason: str
) -> None:
    forward = (
        "    def forward(self, tokens):\n"
        "        logits = self.table(tokens)\n"
        f"        return logits if self.training else {answer}\n"
    )
    outcome = shared.run(job(_model(forward)))
    assert outcome.status == "invalid", outcome
    assert reason in outcome.reason


def test_a_crash_while_serving_is_told(shared: SharedRunner) -> None:
    forward = HONEST.replace("return", "assert self.training, 'served'\n        return")
    outcome = shared.run(job(_model(forward)))
    assert outcome.status == "crashed"
    assert "AssertionError: served" in outcome.reason


def test_a_server_that_hangs_is_stopped(shared: SharedRunner) -> None:
    forward = HONEST.replace("return", "\n        while not self.training: pass\n        return")
    outcome = shared.run(job(_model(forward), score_wall_s=0.8))
    assert outcome.status == "timeout"
    assert outcome.score_cpu_ms > 0


def test_a_model_that_cannot_be_rebuilt_is_invalid(shared: SharedRunner) -> None:
    script = HEAD.replace("model = Model()", "model = Model(); model.built = True")
    script += "    model.extra = nn.Linear(2, 2)\n"
    outcome = shared.run(job(script))
    assert outcome.status == "invalid"
    assert "another model" in outcome.reason


def test_noise_on_every_descriptor_breaks_only_the_job(shared: SharedRunner) -> None:
    script = (
        "import os\n"
        "for fd in range(3, 64):\n"
        "    try: os.write(fd, b'\\xff' * 4096)\n"
        "    except OSError: pass\n"
    )
    outcome = shared.run(job(script))
    assert outcome.status == "invalid"
    assert "broke the worker's protocol" in outcome.reason
    assert shared.run(job(HEAD)).status == "ok"


def test_a_forged_end_does_not_bring_a_metric(shared: SharedRunner) -> None:
    """The script writes the final frame itself and leaves no weights."""
    script = (
        "import os\n"
        "from trainer.worker import wire\n"
        "frame = wire.encode_frame(wire.Frame('ok', 9, 9, 9, 1.0, None))\n"
        "for fd in range(3, 64):\n"
        "    try: os.write(fd, frame)\n"
        "    except OSError: pass\n"
        "os._exit(0)\n"
    )
    outcome = shared.run(job(script))
    assert outcome.status != "ok"
    assert outcome.metric_micro is None


MARK = """
import os

MARK = b"a message to the audited process"


def places():
    yield from range(3, 32)
    for path in ("/tmp/m", "/dev/shm/m", "/var/tmp/m", "m", "/m"):
        for flags in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):
            try: yield os.open(path, flags, 0o666)
            except OSError: pass


def pass_on():
    for fd in places():
        try: size = os.fstat(fd).st_size
        except OSError: continue
        for place in (0, max(0, size - 64)):
            try:
                if MARK in os.pread(fd, 64, place): print("FOUND", fd, flush=True)
            except OSError: pass
            try: os.pwrite(fd, MARK, place)
            except OSError: pass
"""


def test_nothing_passes_from_the_scored_process_to_the_audited_one(shared: SharedRunner) -> None:
    """Neither a file nor a descriptor keeps what the first server writes, weights included."""
    forward = HONEST.replace("return", "self.training or pass_on()\n        return")
    script = _model(forward).replace("class Model", MARK + "\n\nclass Model")
    for _ in range(2):
        outcome = shared.run(job(script))
        assert outcome.status == "ok", outcome
        assert "FOUND" not in outcome.log_tail


def test_a_job_sees_neither_validation_nor_test_bytes(shared: SharedRunner) -> None:
    script = """
import os, sys
seen = []
for root in ["/", *sys.path]:
    for directory, names, files in os.walk(root):
        seen += [os.path.join(directory, name) for name in files]
data = [name for name in seen if name.endswith((".bz2", ".toml"))]
print("TASKS", [name for name in data if "tasks" in name or "task.toml" in name])
for name in ("trainer.scorer", "trainer.tasks", "node", "protocol"):
    try:
        __import__(name)
        print("IMPORTED", name)
    except ImportError:
        pass
"""
    outcome = shared.run(job(HEAD + script, log_bytes=100_000))
    assert outcome.status == "ok", outcome
    assert "TASKS []" in outcome.log_tail
    assert "IMPORTED" not in outcome.log_tail
