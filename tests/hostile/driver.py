"""Runs attacks one after another, each in a forked child: what a worker's parent does with jobs.

Run as a script: ``driver.py FD MODE WORLD``. Descriptor ``FD`` receives one JSON line for each
attack: its name, what it got and how it ended. Modes: ``job`` tightens each child as a job's, as
in the product; ``outer`` leaves only the outer sandbox around it; ``control`` is for no sandbox at
all, where both halves of a trace run in this one process.
"""

import json
import os
import signal
import sys
import types
from pathlib import Path

if __name__ == "__main__":
    # Beside the script lie ``confinement`` and the attacks, and nothing else of their packages.
    for _name in ("trainer", "tests"):
        _package = types.ModuleType(_name)
        _package.__path__ = [str(Path(__file__).parent)]
        sys.modules[_name] = _package

from tests.hostile import (  # noqa: F401  (importing registers the attacks)
    bombs_attacks,
    kernel_attacks,
    processes_attacks,
    secrets_attacks,
    sockets_attacks,
    traces_attacks,
)
from tests.hostile.world import ATTACKS, Run, World
from trainer.confinement.tightening import TightLimits, tighten

LIMIT_S = 30
CPU_S = 20
FILE_BYTES = 1 << 20


def attempt(run: Run, world: World) -> tuple[str, str]:
    """Run half an attack; return what it got and how it was stopped."""
    try:
        return run(world), "got nothing"
    except MemoryError:
        return "", "out of memory"
    except OSError as error:
        return "", error.strerror or str(error)
    except RuntimeError as error:
        return "", str(error)


def in_child(run: Run, world: World, mode: str) -> tuple[str, str]:
    """Run half an attack in a forked child."""
    reading, writing = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            signal.alarm(LIMIT_S)
            if mode == "job":
                limits = TightLimits(
                    memory_bytes=world.memory_bytes,
                    file_bytes=FILE_BYTES,
                    open_files=world.open_files,
                    cpu_s=CPU_S,
                )
                keep = (0, 1, 2, writing, world.witness_fd)
                tighten(limits, parent_pid=parent, keep_fds=keep)
            result = attempt(run, world)
            os.write(writing, json.dumps(result).encode() + b"\n")
        except BaseException as error:  # noqa: BLE001  (an attack may not end the driver)
            os.write(writing, json.dumps((f"unforeseen {error!r}", "")).encode() + b"\n")
        finally:
            os._exit(0)
    os.close(writing)
    answer = b""
    # To the end of the line, not of the pipe: a survivor may hold its other end.
    while not answer.endswith(b"\n") and (part := os.read(reading, 65536)):
        answer += part
    os.close(reading)
    _, status = os.waitpid(pid, 0)
    if not answer:
        return "", f"ended by signal {os.WTERMSIG(status)}"
    got, how = json.loads(answer)
    return str(got), str(how)


def run_all(world: World, mode: str, names: list[str]) -> None:
    """Run the attacks in ``names`` and report each."""
    report = int(sys.argv[1])
    for name in names:
        item = ATTACKS[name]
        if item.later is None:
            got, how = in_child(item.run, world, mode)
        elif mode == "control":
            attempt(item.run, world)
            got, how = attempt(item.later, world)
        else:
            got, how = in_child(item.run, world, mode)
            if not got:
                got, later_how = in_child(item.later, world, mode)
                how = later_how if how == "got nothing" else how
        os.write(report, json.dumps([name, got, how]).encode() + b"\n")


def main() -> None:
    """Run what the command line says."""
    # A stray signal of an attack must not end the driver: the control has nothing to stop it.
    signal.signal(signal.SIGURG, signal.SIG_IGN)
    run_all(World.from_text(sys.argv[3]), sys.argv[2], json.loads(sys.argv[4]))


if __name__ == "__main__":
    main()
