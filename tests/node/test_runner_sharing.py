"""Jobs of one warm worker share nothing: what a job does to its process is gone with it.

Every job is a fork of one image, so whatever a job could change in that image, or leave in the
sandbox around it, would reach the next. One job spoils all that it can reach; the jobs before and
after it, forked from the same worker, say what they find.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from node.sandbox import select_sandbox
from tests.node.runner_support import HEAD, SharedRunner, job

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.sandbox

LOOK = """
import builtins, ctypes, gc, hashlib, json, os, random, resource, signal, socket, sys, warnings
import numpy

libc = ctypes.CDLL(None, use_errno=True)
KEY, BYTES, FORM = 0x5157, 64, b"a mark of an earlier job"


def shared_memory():
    number = libc.shmget(KEY, BYTES, 0)
    if number < 0: return "none"
    libc.shmat.restype = ctypes.c_void_p
    at = libc.shmat(number, None, 0)
    return ctypes.string_at(at, BYTES).hex() if at != ctypes.c_void_p(-1).value else "unreadable"


def tried(what):
    try: return str(what())
    except Exception as error: return type(error).__name__


def look(run):
    gc.collect()
    return {
        "tokens": hashlib.sha256(run._tokens.numpy().tobytes()).hexdigest(),
        "torch": [str(torch.get_default_dtype()), torch.get_num_threads(),
                  torch.is_grad_enabled(), nn.functional.cross_entropy.__name__],
        "random": [torch.rand(1).item(), random.random(), numpy.random.rand()],
        "modules": [hasattr(sys, "mark"), hasattr(builtins, "mark"), "mark" in sys.modules],
        "environment": sorted(os.environ.items()),
        "path": sys.path[:],
        "filters": len(warnings.filters),
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "umask": [oct(mask := os.umask(0)), os.umask(mask)][0],
        "directory": tried(os.getcwd),
        "limits": [resource.getrlimit(resource.RLIMIT_CPU),
                   resource.getrlimit(resource.RLIMIT_NOFILE)],
        "signal": str(signal.getsignal(signal.SIGUSR1)),
        "blocked": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))),
        "shared memory": tried(shared_memory),
        "descriptors": [fd for fd in range(64) if tried(lambda: os.fstat(fd).st_mode).isdigit()],
    }
"""

SPOIL = """
def spoil(run):
    os.dup2(1, 40)
    run._tokens[:] = 7
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    nn.functional.cross_entropy = max
    torch.manual_seed(9), random.seed(9), numpy.random.seed(9)
    sys.mark = builtins.mark = FORM
    sys.modules["mark"] = sys
    os.environ["MARK"] = "1"
    sys.path.append("/mark")
    warnings.simplefilter("ignore")
    tried(lambda: os.setpriority(os.PRIO_PROCESS, 0, 19))
    os.umask(0o123)
    tried(lambda: os.chdir("/"))
    tried(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20)))
    tried(lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN))
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    number = libc.shmget(KEY, BYTES, 0o1666)
    if number >= 0:
        libc.shmat.restype = ctypes.c_void_p
        ctypes.memmove(libc.shmat(number, None, 0), FORM, len(FORM))
"""

TRAIN = """
_train = train


def train(run, model):
    {first}
    print("LOOK", json.dumps(look(run)), os.getppid(), flush=True)
    {then}
    _train(run, model)
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedRunner]:
    shared = SharedRunner(select_sandbox(), tmp_path_factory.mktemp("runner"))
    yield shared
    shared.close()


def _run(shared: SharedRunner, first: str = "", then: str = "") -> tuple[dict[str, object], str]:
    """What a job sees, and which process forked it."""
    text = HEAD + LOOK + SPOIL + TRAIN.format(first=first or "pass", then=then or "pass")
    outcome = shared.run(job(text, log_bytes=32_000))
    line = next(part for part in outcome.log_tail.splitlines() if part.startswith("LOOK "))
    seen, _, parent = line.removeprefix("LOOK ").rpartition(" ")
    return json.loads(seen), parent


def test_a_job_finds_nothing_of_the_job_before_it(shared: SharedRunner) -> None:
    before = _run(shared)
    _run(shared, then="spoil(run)")
    after = _run(shared)
    assert after == before, "the same image, as it was"


def test_the_same_job_would_have_seen_it(shared: SharedRunner) -> None:
    """The control: within one process the look sees nearly all that is spoilt."""
    clean, _ = _run(shared)
    spoilt, _ = _run(shared, first="spoil(run)")
    seen = {name for name in clean if clean[name] != spoilt[name]}
    # What the sandbox forbids anyway does not change: priority, limits and shared memory may not.
    assert seen >= {
        "tokens", "torch", "random", "modules", "environment", "path", "filters", "umask",
        "blocked", "descriptors",
    }  # fmt: skip


def test_the_same_seed_gives_the_same_numbers_after_any_job(shared: SharedRunner) -> None:
    first = shared.run(job(HEAD))
    _run(shared, then="spoil(run)")
    assert shared.run(job(HEAD)).metric_micro == first.metric_micro
