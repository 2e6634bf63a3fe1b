"""The real script, and a run object small enough to execute any change of it in a blink."""

from __future__ import annotations

import pathlib
import types
import zlib
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Iterator

    from node.agent.catalogue import Script

SOURCE = (
    pathlib.Path(__file__).parents[3] / "trainer" / "tasks" / "bytes_gpt" / "train.py"
).read_text()

# One thread, as in a worker: with tensors this small, more of them only wait for each other.
torch.set_num_threads(1)

CONTEXT = 16
STEPS = 2

_SMALL = {"TRAIN_CONTEXT": CONTEXT, "BATCH_SIZE": 2, "D_MODEL": 16, "N_LAYER": 1, "N_HEAD": 2}


class TinyRun:
    """A run of two steps on a text that repeats itself."""

    vocab_size = 256
    context = CONTEXT
    device = "cpu"

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.names: list[str] = []
        self._step = 0

    def generator(self, name: str) -> torch.Generator:
        self.names.append(name)
        return torch.Generator().manual_seed(zlib.crc32(name.encode()))

    def progress(self) -> float:
        return self._step / STEPS

    def batches(self, batch_size: int, context: int) -> Iterator[tuple[Any, Any]]:
        text = torch.tensor(list(b"the cat sat on the mat. " * (context // 8 + 2)))
        for self._step in range(STEPS):
            windows = torch.stack([text[i : i + context + 1] for i in range(batch_size)])
            yield windows[:, :-1], windows[:, 1:]
        self._step = STEPS

    def log(self, loss: Any) -> None:
        self.losses.append(float(loss.detach()))


def small(script: Script) -> Script:
    """Returns the script with a tiny model and batch, but every other constant as it is."""
    present = script.constants()
    for name, value in _SMALL.items():
        if name in present:
            script = script.with_constant(name, value)
    return script


def execute(source: str) -> tuple[TinyRun, Any]:
    """Builds and trains a script's model; checks what the trainer would check of the answer."""
    module = types.ModuleType("script")
    exec(compile(source, "train.py", "exec"), module.__dict__)  # noqa: S102 - our own edits
    run = TinyRun()
    model = module.build_model(run)
    before = [weight.clone() for weight in model.parameters()]
    module.train(run, model)
    assert len(run.losses) == STEPS
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    _check_answers(model)
    return run, model


def _check_answers(model: Any) -> None:
    model.eval()
    tokens = torch.randint(0, 256, (2, CONTEXT), generator=torch.Generator().manual_seed(1))
    other = tokens.clone()
    cut = CONTEXT // 2
    other[:, cut:] = (other[:, cut:] + 1) % 256
    with torch.inference_mode():
        logits, changed = model(tokens), model(other)
    assert logits.shape == (2, CONTEXT, 256)
    assert torch.isfinite(logits).all()
    # A prefix is answered alike whatever follows it, and what follows is not ignored.
    assert torch.allclose(logits[:, :cut], changed[:, :cut], atol=1e-5)
    assert not torch.equal(logits[:, cut:], changed[:, cut:])
    assert torch.isfinite(functional.cross_entropy(logits.flatten(0, 1), tokens.flatten()))
