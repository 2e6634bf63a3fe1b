"""The preferred backend: bubblewrap's namespaces around our own filter and entry program.

This file decides the mounts and namespaces, for an ordinary user and for root. It refuses to know
what runs inside.

What the program sees: the interpreter view and the spec's files, read-only, ``/dev/null`` and
``/dev/urandom``, three files about the processor. No procfs (so no other process, no
``/proc/*/mem``), no writable directory at all, no network interface but a dead loopback.

An ordinary user gets a user namespace. Root does not: a namespaced root would still be root to the
files outside. Root's bubblewrap keeps just the capabilities to change user, and ``enter``
becomes an otherwise unused uid, one per launch, so that two sandboxes cannot signal each other
and process limits count one sandbox only. Binding is done by root before that, so an interpreter
that only root can reach (``/root/.pyenv``) works.
"""

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from node.sandbox.interpreter import KERNEL_FACTS, Interpreter, interpreter_view
from node.sandbox.model import SandboxError, SandboxSpec
from node.sandbox.starting import CONFINEMENT, entry_command, entry_plan, start, write_memfd
from node.sandbox.users import next_sandbox_uid
from trainer.confinement.bpf import outer_filter

ENTRY_HOME: Final = Path("/.swarm-node")
"""Where the entry program appears inside; our installed packages stay masked."""


DEVICES: Final = ("/dev/null", "/dev/urandom")


class Bubblewrap:
    """Starts programs under bubblewrap."""

    name: Final = "bubblewrap"
    second_wall: Final = True

    def __init__(self, program: Path | None = None, interpreter: Interpreter | None = None) -> None:
        """Find the program; nothing is started yet.

        Args:
            program: the bubblewrap to use, found on PATH if left out.
            interpreter: the Python to show inside, this one if left out.

        Raises:
            SandboxError: when bubblewrap is not installed.
        """
        found = program or shutil.which("bwrap")
        if found is None:
            raise SandboxError("bubblewrap (the program bwrap) is not installed")
        self._program = Path(found)
        self._interpreter = interpreter or Interpreter.current()
        self._view = interpreter_view(self._interpreter)
        self._can_disable_userns = _understands(self._program, "--disable-userns")

    def popen(self, spec: SandboxSpec) -> subprocess.Popen[bytes]:
        """Start a program confined; see ``Sandbox.popen``."""
        root = os.geteuid() == 0
        uid = next_sandbox_uid() if root else None
        filter_fd = write_memfd(
            "filter",
            outer_filter(own_processes_only=True, may_change_user=root, gpu=bool(spec.devices)),
        )
        plan_fd = write_memfd("plan", entry_plan(spec, uid=uid, processes=spec.limits.processes))
        try:
            argv = [
                str(self._program),
                *(_root_namespaces() if root else _user_namespaces(self._can_disable_userns)),
                *self._mounts(spec),
                *(part for k, v in spec.env.items() for part in ("--setenv", k, v)),
                *("--seccomp", str(filter_fd), "--chdir", "/", "--"),
                *entry_command(self._interpreter, ENTRY_HOME, plan_fd),
            ]
            # bubblewrap's own environment would stay readable in its process: it gets none.
            return start(argv, spec, env={}, extra_fds=(filter_fd, plan_fd))
        finally:
            os.close(filter_fd)
            os.close(plan_fd)

    def _mounts(self, spec: SandboxSpec) -> list[str]:
        trees = self._view.trees
        extras = [Path(p) for p in (*KERNEL_FACTS, *DEVICES)]
        arguments = _parents([*trees, *extras, ENTRY_HOME / "confinement", *spec.read_only])
        arguments += _parents(spec.devices)
        for tree in trees:
            real = tree.resolve()
            if tree.is_symlink() and any(t == real or t in real.parents for t in trees):
                arguments += ["--symlink", str(real), str(tree)]
                continue
            arguments += ["--ro-bind", str(tree), str(tree)]
            for masked in self._view.masked:
                if real in masked.parents and masked.is_dir():
                    arguments += ["--tmpfs", str(tree / masked.relative_to(real))]
                    arguments += ["--remount-ro", str(tree / masked.relative_to(real))]
        for fact in KERNEL_FACTS:
            arguments += ["--ro-bind-try", fact, fact]
        for device in (*DEVICES, *map(str, spec.devices)):
            arguments += ["--dev-bind", device, device]
        arguments += ["--ro-bind", str(CONFINEMENT), str(ENTRY_HOME / "confinement")]
        for path in spec.read_only:
            arguments += ["--ro-bind", str(path), str(path)]
        return [*arguments, "--remount-ro", "/"]


def _understands(program: Path, switch: str) -> bool:
    try:
        helped = subprocess.run([program, "--help"], capture_output=True, text=True, check=False)
    except OSError as error:
        raise SandboxError(f"cannot run {program}: {error}") from error
    return switch in helped.stdout + helped.stderr


def _parents(paths: Iterable[Path]) -> list[str]:
    """Return arguments that create every directory above ``paths``, passable for all.

    Left to itself, bubblewrap gives a parent that only its owner may enter outside (``/root``) the
    same mode inside, and the ordinary user that root becomes could not pass.
    """
    above = {parent for path in paths for parent in path.parents} - {Path("/")}
    return [p for d in sorted(above) for p in ("--perms", "0755", "--dir", str(d))]


def _common_namespaces() -> list[str]:
    return [
        *(
            "--unshare-pid",
            "--unshare-net",
            "--unshare-ipc",
            "--unshare-uts",
            "--unshare-cgroup-try",
        ),
        *("--die-with-parent", "--new-session", "--hostname", "sandbox", "--clearenv"),
        *("--cap-drop", "ALL"),
    ]


def _user_namespaces(disable_userns: bool) -> list[str]:
    # Versions before 0.8 lack the switch; the filter refuses new namespaces in any case.
    switch = ["--disable-userns"] if disable_userns else []
    return ["--unshare-user", *switch, *_common_namespaces()]


def _root_namespaces() -> list[str]:
    # SETPCAP empties the bounding set; all three go with the change of user.
    keep = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP")
    return [*_common_namespaces(), *(part for c in keep for part in ("--cap-add", c))]
