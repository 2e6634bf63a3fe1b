"""How a worker is put into a sandbox: which code, which settings, which files.

This file decides what a worker process gets to see. It refuses to know what confines it
(`node.sandbox`) and what it is told to do (`runner_worker.py`).
"""

from __future__ import annotations

import dataclasses
import pathlib
import site
import sys
from typing import TYPE_CHECKING, Final

import trainer
from node.sandbox import SandboxLimits, SandboxSpec, minimal_environment, stage

if TYPE_CHECKING:
    from collections.abc import Mapping

WORKSPACE: Final = "workspace"
"""Directory beside the worker's code; `trainer.worker.program` looks for it there."""

_WORKER_MEMORY_BYTES: Final = 2 << 30
"""What the warm zygote itself may hold beyond a job's own memory."""

_BOOTSTRAP: Final = (
    "import sys; count = int(sys.argv[1]); sys.path += sys.argv[2 : 2 + count]; "
    "from trainer.worker.zygote import main; main(sys.argv[2 + count :])"
)
"""The worker runs without `site`: no .pth file of the environment is executed in the sandbox."""


def stage_code(
    home: pathlib.Path, workspace: Mapping[str, pathlib.Path] | None = None
) -> pathlib.Path:
    """Copies the worker's code to a directory below home that a sandbox may see.

    Args:
        home: a directory of this program's.
        workspace: files that a program finds below its home directory, by their path there.

    Raises:
        SandboxError: it cannot be copied.
    """
    package = pathlib.Path(trainer.__file__).resolve().parent
    sources = [package / "__init__.py"]
    for part in ("worker", "confinement"):
        sources += sorted((package / part).glob("*.py"))
    files = {str(source.relative_to(package.parent)): source for source in sources}
    # Always there, so that a program that needs nothing has a home directory as well.
    files[f"{WORKSPACE}/.swarm-node"] = sources[0]
    files.update({f"{WORKSPACE}/{path}": file for path, file in (workspace or {}).items()})
    return stage(files, home)


@dataclasses.dataclass(frozen=True, slots=True)
class Passed:
    """What a worker gets beside its code.

    Attributes:
        control: descriptor of its end of the control socket.
        tokens: descriptor of the training tokens.
        token_bytes: how many there are: a sandbox may not let a file be asked for its size.
    """

    control: int
    tokens: int
    token_bytes: int


def specification(
    code: pathlib.Path,
    passed: Passed,
    errors: int,
    memory_bytes: int,
    *,
    group: int | None = None,
    devices: tuple[pathlib.Path, ...] = (),
    single_use: bool = False,
) -> SandboxSpec:
    """Describes the worker's sandbox: its code is all that it sees, two files all that it gets.

    Args:
        code: the worker's code, from `stage_code`.
        passed: its control socket and the training tokens.
        errors: where the worker's own complaints go.
        memory_bytes: most memory of a job.
        group: descriptor of the control group to run in, if there is one.
        devices: GPU devices, in GPU mode.
        single_use: whether the worker becomes its one job instead of forking.
    """
    paths = [str(code), *site.getsitepackages()]
    arguments = (*dataclasses.astuple(passed), "single" if single_use else "warm")
    flags = ("-S", "-s", "-P", "-B", "-c", _BOOTSTRAP)
    return SandboxSpec(
        argv=(sys.executable, *flags, str(len(paths)), *paths, *map(str, arguments)),
        limits=SandboxLimits(memory_bytes=memory_bytes + _WORKER_MEMORY_BYTES),
        env=minimal_environment({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}),
        read_only=(code,),
        pass_fds=(passed.control, passed.tokens),
        stderr_fd=errors,
        group_fd=group,
        devices=devices,
    )
