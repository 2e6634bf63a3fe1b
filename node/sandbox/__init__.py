"""The sandbox in which strangers' code runs, or does not run at all.

Use: ``select_sandbox()`` once at start, ``stage(...)`` the worker's code, then
``sandbox.popen(spec)`` from the main thread. The low-level half, which also runs inside, is
``trainer.confinement``.
"""

from node.sandbox.cgroup import MemoryGroup, make_group
from node.sandbox.model import (
    BackendReport,
    Promise,
    PromiseResult,
    Sandbox,
    SandboxError,
    SandboxLimits,
    SandboxReport,
    SandboxSpec,
    SandboxUnavailableError,
    minimal_environment,
)
from node.sandbox.selection import examine, select_sandbox
from node.sandbox.staging import stage, staging_home
from node.sandbox.supervision import (
    MemoryWatch,
    descendants,
    kill_tree,
    process_memory_bytes,
    tree_rss_bytes,
)

__all__ = [
    "BackendReport",
    "MemoryGroup",
    "MemoryWatch",
    "Promise",
    "PromiseResult",
    "Sandbox",
    "SandboxError",
    "SandboxLimits",
    "SandboxReport",
    "SandboxSpec",
    "SandboxUnavailableError",
    "descendants",
    "examine",
    "kill_tree",
    "make_group",
    "minimal_environment",
    "process_memory_bytes",
    "select_sandbox",
    "stage",
    "staging_home",
    "tree_rss_bytes",
]
