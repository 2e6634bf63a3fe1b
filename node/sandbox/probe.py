"""The program of the self-test: runs the attacks inside a sandbox, for real.

Run as a script: ``probe.py FD PARAMETERS``. The second half of the attacks runs in a forked and
tightened child. Descriptor ``FD`` receives one JSON object: what each attack got, by the promise's
key. What is tried stands in `probe_attacks.py`; this file decides where it runs and how it is told.
It is staged into sandboxes and imports nothing but what is staged beside it.
"""

import json
import os
import sys
import threading
import types
from collections.abc import Mapping
from pathlib import Path

if __name__ == "__main__":
    # Beside the script lie the attacks and ``confinement``, and nothing else of their packages.
    for _name in ("trainer", "node", "node.sandbox"):
        _package = types.ModuleType(_name)
        _package.__path__ = [str(Path(__file__).parent)]
        sys.modules[_name] = _package

from node.sandbox.probe_attacks import (
    OUTER_ATTACKS,
    TIGHTENED_ATTACKS,
    WEAKER_ATTACKS,
    Attack,
    Parameters,
)
from trainer.confinement.tightening import TightLimits, tighten


def attack_all(attacks: Mapping[str, Attack], parameters: Parameters) -> dict[str, list[str]]:
    """Run attacks; one that fails in an unforeseen way counts as a success, to be looked at."""
    found: dict[str, list[str]] = {}
    for key, attack in attacks.items():
        try:
            found[key] = attack(parameters)
        except Exception as error:  # noqa: BLE001  (an attack must not end the probe)
            found[key] = [f"unforeseen {type(error).__name__}: {error}"]
    return found


def run_thread() -> bool:
    """Whether a thread starts and ends, which a tightened child must still be able to do."""
    thread = threading.Thread(target=lambda: None)
    try:
        thread.start()
        thread.join()
    except RuntimeError:
        return False
    return True


def attack_tightened(parameters: Parameters) -> dict[str, list[str]]:
    """Fork a child, tighten it, attack from there, and return what it got."""
    reading, writing = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            keep = (0, 1, 2, writing)
            if parameters.tighten:
                limits = TightLimits(memory_bytes=parameters.memory_bytes, file_bytes=1 << 20)
                tighten(limits, parent_pid=parent, keep_fds=keep)
            inside = Parameters(**{**vars(parameters), "inherited": keep})
            found = attack_all(TIGHTENED_ATTACKS, inside)
            found["job-threads"] = [] if run_thread() else ["a thread cannot be started"]
            os.write(writing, json.dumps(found).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answers:
        answer = answers.read()
    os.waitpid(pid, 0)
    if not answer:
        return {key: ["the tightened child failed"] for key in (*TIGHTENED_ATTACKS, "job-threads")}
    found = json.loads(answer)
    assert isinstance(found, dict)
    return found


def main(arguments: list[str]) -> None:
    """Run every attack and report on the descriptor given."""
    report_fd = int(arguments[0])
    fields = json.loads(arguments[1])
    for name in ("own_data", "inherited", "environment"):
        fields[name] = tuple(fields[name])
    parameters = Parameters(**fields)
    if parameters.weaker:
        found = attack_all(WEAKER_ATTACKS, parameters)
    else:
        found = attack_all(OUTER_ATTACKS, parameters) | attack_tightened(parameters)
    os.write(report_fd, json.dumps(found).encode())


if __name__ == "__main__":
    main(sys.argv[1:])
